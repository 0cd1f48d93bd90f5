"""The small commands around a workspace: its sources, its health, its size, its pages."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

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
    """Every file of the store against its recorded sha256; 1 when something is wrong."""
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
    """Remove what no kept run, pin or model needs."""
    workspace = Workspace.open(args.workspace)
    with workspace.locked("gc"):
        waste = collect(workspace, args.dry_run)
    out = sys.stderr if args.json else sys.stdout
    total = sum(w.bytes for w in waste)
    rows = [[str(w.path.relative_to(workspace.path)), tables.size(w.bytes), w.why] for w in sorted(waste, key=lambda w: (-w.bytes, w.path))]
    if rows:
        tables.show(("folder", "size", "why"), rows, out, right={"size"})
    print(f"{'Would remove' if args.dry_run else 'Removed'} {len(waste):,} folders, {tables.size(total)}.", file=out)
    if args.json:
        answer("gc", "planned" if args.dry_run else "done", bytes=total, removed=[{"folder": r[0], "why": r[2]} for r in rows])
    return 0


def ui(args: argparse.Namespace) -> int:
    """Prefect's pages, until Ctrl-C."""
    from flows.ui import serve

    serve(args.workspace, args.port)
    return 0
