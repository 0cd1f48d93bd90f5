"""The small commands around a workspace: its sources, its health, its size, its pages."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from corpus.compact import Merge
from corpus.keep import collect
from corpus.keep import verify as check
from corpus.outcome import Misuse
from corpus.workspace import Workspace
from flows import tables
from flows.cli import answer


def source(args: argparse.Namespace) -> int:
    """`source add|remove|list`: the raw folders a workspace remembers."""
    if args.action != "list" and not args.raw:
        raise Misuse(f"`athanor source {args.action}` needs a folder.")
    if args.action == "add":
        raw = Path(args.raw)
        if not raw.is_dir():
            raise Misuse(f"There is no folder '{raw}'. Check the path.")
        workspace = Workspace.create(args.workspace)
        if raw.resolve().is_relative_to(workspace.path):
            raise Misuse(f"The raw folder '{raw}' lies inside the workspace; keep it outside.")
        with workspace.locked("source"):
            name = workspace.add_source(raw, args.chat)
        print(f"Added '{name}'. `athanor run -w {args.workspace}` takes its documents in.", file=sys.stderr if args.json else sys.stdout)
    workspace = Workspace.open(args.workspace)
    if args.action == "remove":
        with workspace.locked("source"):
            name = _remove(workspace, args.raw)
        print(f"Removed '{name}'; its documents leave with the next run.", file=sys.stderr if args.json else sys.stdout)
    sources, chat = workspace.sources(), workspace.chat_sources()
    if args.action == "list" and not args.json:
        rows = [[name, str(path), "chat" if name in chat else "", "" if path.is_dir() else "not there"] for name, path in sources.items()]
        tables.show(("name", "folder", "", ""), rows) if rows else print("No source yet.")
    if args.json:
        answer("source", "done", sources=[{"name": n, "path": str(p), "chat": n in chat, "there": p.is_dir()} for n, p in sources.items()])
    return 0


def _remove(workspace: Workspace, given: str) -> str:
    sources = workspace.sources()
    named = [n for n, p in sources.items() if n == given or p == Path(given).resolve()]
    if not named:
        raise Misuse(f"'{given}' is no source of this workspace; it has {', '.join(sources) or 'none'}.")
    workspace.remove_source(named[0])
    return named[0]


def verify(args: argparse.Namespace) -> int:
    """Every file of the store against its recorded sha256, or a search for what was forgotten; 1 when something is wrong."""
    if args.forgotten:
        from flows.proof import forgotten

        return forgotten(args)
    count, wrong = check(Workspace.open(args.workspace))
    out = sys.stderr if args.json else sys.stdout
    for line in wrong:
        print(line, file=out)
    remedy = " Remove the folders named above; the next run makes them again."
    print(f"{count:,} folders checked, {len(wrong)} problems.{remedy if wrong else ''}", file=out)
    if args.json:
        answer("verify", "failed" if wrong else "done", checked=count, problems=wrong)
    return int(bool(wrong))


def gc(args: argparse.Namespace) -> int:
    """Remove what no kept run, pin or model needs, and merge small parts."""
    workspace = Workspace.open(args.workspace)
    with workspace.locked("gc", args.wait):
        done = collect(workspace, args.dry_run, wait=args.wait)
    told = args.dry_run or bool(done.put_off)  # nothing was done
    out = sys.stderr if args.json else sys.stdout
    shown = [(w.path, w.bytes, w.why) for w in sorted(done.removed, key=lambda w: (-w.bytes, w.path))]
    shown += [(m.shelf, m.bytes, f"{len(m.parts)} small parts, {m.rows:,} rows{_after(m)}") for m in done.merged]
    if shown:
        rows = [[str(path.relative_to(workspace.path)), tables.size(size), why] for path, size, why in shown]
        tables.show(("folder", "size", "why"), rows, out, right={"size"})
    parts = sum(len(m.parts) for m in done.merged)
    print(
        f"{'Would remove' if told else 'Removed'} {len(done.removed):,} folders, {tables.size(done.bytes)}; "
        f"{'would merge' if told else 'merged'} {parts:,} small parts into {len(done.merged):,}.",
        file=out,
    )
    if done.put_off:
        print(f"The workspace is being read by {done.put_off}: nothing is removed meanwhile. Let it finish, or add --wait.", file=out)
    if args.json:
        removed = [{"folder": str(w.path.relative_to(workspace.path)), "bytes": w.bytes, "why": w.why} for w in done.removed]
        merged = [
            {"folder": str(m.shelf.relative_to(workspace.path)), "parts": len(m.parts), "rows": m.rows, "bytes": m.bytes, "after": m.after}
            for m in done.merged
        ]
        status = "planned" if args.dry_run else "put_off" if done.put_off else "done"
        answer("gc", status, bytes=done.bytes, removed=removed, merged=merged, readers=done.put_off)
    return 0


def _after(merge: Merge) -> str:
    return "" if merge.after is None else f", {tables.size(merge.after)} now"


def ui(args: argparse.Namespace) -> int:
    """Prefect's pages, until Ctrl-C."""
    from flows.ui import serve

    serve(args.workspace, args.port)
    return 0
