"""`athanor ui`: Prefect's pages over the runs of one workspace, in the foreground, until Ctrl-C.

The pages come out of the installed wheel; a copy (17 MB) lies in WS/prefect/ui, since Prefect writes its base path into it.
A run may go on at the same time: each has a server of its own on the same database. Limits: loopback only; on another machine
forward the port under the same number.
"""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path

from corpus.outcome import Misuse, Stop
from flows.server import PrefectServer


def serve(workspace: Path | str, port: int | None = None, open_browser: bool = False) -> None:
    """Serve until Ctrl-C. Misuse when there is no workspace, Stop when the port is taken or the server does not start."""
    if not (Path(workspace) / "workspace.json").is_file():
        raise Misuse(f"There is no workspace at {workspace}. `athanor run RAW -w {workspace}` makes one.")
    server = PrefectServer(workspace, ui=True, port=port or 0)
    try:
        server.start()
    except OSError as error:
        raise Stop(f"Port {port} cannot be used ({error.strerror}). Leave out --port to take a free one.") from error
    try:
        if not server.wait():
            raise Stop("Prefect's server did not start; prefect/server.log in the workspace says more.")
        print(f"{server.url}  (Ctrl-C ends it)", flush=True)
        if open_browser:
            webbrowser.open(server.url)
        assert server.process is not None
        server.process.wait()
        raise Stop("Prefect's server ended by itself; prefect/server.log in the workspace says more.")
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        server.stop()
