"""What Prefect holds about the runs of a workspace, asked of its API after they have ended.

    python benchmarks/ui_proof.py WS [--seconds N]

Starts the workspace's own server, prints every flow run with its task runs (state, name, artifacts), says whether every state
is final, and how long the start took. With --seconds the server and its pages stay up that long, for a screenshot.
Exit code 1 when a state is not final.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flows.server import FINAL, Api, PrefectServer


def main() -> int:
    parser = argparse.ArgumentParser(description="What Prefect holds about the runs of a workspace.")
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--seconds", type=float, default=0.0, help="keep the pages up that long")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    with PrefectServer(given.workspace, ui=given.seconds > 0, port=given.port) as server:
        if server.api_url is None:
            print(server.warning)
            return 1
        api = Api(server.api_url)
        flows = sorted(api.all("flow_runs"), key=lambda row: row["created"])
        tasks = sorted(api.all("task_runs"), key=lambda row: row["start_time"] or row["created"])
        artifacts = Counter((row["task_run_id"], row["type"]) for row in api.all("artifacts"))
        print(f"server answered after {server.seconds:.1f} s")
        print(f"{len(flows)} flow runs, {len(tasks)} task runs, {sum(artifacts.values())} artifacts")
        for flow in flows:
            print(f"\n{flow['name']:<28} {flow['state_type']:<10} {flow['state_name']:<10} {flow['state']['message'] or ''}")
            for task in (row for row in tasks if row["flow_run_id"] == flow["id"]):
                here = ", ".join(f"{n} {type}" for (id, type), n in sorted(artifacts.items(), key=str) if id == task["id"])
                print(f"  {task['name']:<26} {task['state_type']:<10} {task['state_name']:<10} {task['total_run_time']:>8.2f} s  {here}")
        open_ = [row["name"] for row in [*flows, *tasks] if row["state_type"] not in FINAL]
        print(f"\nnot final: {', '.join(open_) or 'none'}")
        if given.seconds:
            print(server.url, flush=True)
            time.sleep(given.seconds)
    return 1 if open_ else 0


if __name__ == "__main__":
    raise SystemExit(main())
