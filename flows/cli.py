"""The door: `athanor COMMAND`. This file reads the command line and turns errors into sentences; each command lives in a
module of its own, imported when it is asked for, so that `--help` is instant.

Exit codes: 0 done, 1 something failed, 2 wrong usage or configuration, 130 interrupted. With `--json` the last line of
stdout is one object and everything else goes to stderr.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

WORKSPACE = Path("workspace")
COMMANDS = {  # command -> the module whose function of that name does it
    "run": "flows.run",
    "plan": "flows.run",
    "inspect": "flows.inspect",
    "report": "flows.report",
    "source": "flows.upkeep",
    "generate": "flows.chat",
    "chat": "flows.chat",
    "doctor": "flows.doctor",
    "verify": "flows.upkeep",
    "gc": "flows.upkeep",
    "ui": "flows.upkeep",
    "export": "flows.export",
    "forget": "flows.forget",
    "model": "flows.model",
}
READERS = ("plan", "inspect", "report", "generate", "chat", "verify")  # commands that read and do not write
EXPORTS = ("corpus", "hf", "qwen3", "llama", "gguf")  # kinds of export
MODELS = ("show", "init")  # what is done with a model's shape


class Parser(argparse.ArgumentParser):
    """argparse, with one sentence for a mistake and the nearest known word."""

    def error(self, message: str) -> NoReturn:
        words = {"COMMAND": ("command '{}'", COMMANDS), "KIND": ("export '{}'", EXPORTS), "ACTION": ("command 'model {}'", MODELS)}
        place, wrong, rest = message.removeprefix("argument ").partition(": invalid choice: '")
        if wrong and place in words:
            given, (noun, known) = rest.split("'")[0], words[place]
            message = f"There is no {noun.format(given)}.{_nearest(given, known)}"
        else:
            message = message[:1].upper() + message[1:] + "."
        raise Usage(f"{message} See `{self.prog} --help`.")

    def surplus(self, given: str) -> NoReturn:
        """An argument that nobody asked for."""
        known = [option for action in self._actions for option in action.option_strings]
        what = "option" if given.startswith("-") else "place for an argument"
        raise Usage(f"There is no {what} '{given}' here.{_nearest(given.split('=')[0], known)} See `{self.prog} --help`.")


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), 1, 0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


class Usage(Exception):
    """The command line is wrong; the message says what is right."""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = Parser(prog="athanor", description="Raw documents in, a trained decoder out; feed it more and it goes on.", allow_abbrev=False)
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)

    def command(name: str, text: str, among: Any = commands, workspace: bool = True) -> argparse.ArgumentParser:
        p = among.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".", allow_abbrev=False)
        p.set_defaults(parser=p)
        if workspace:
            p.add_argument("-w", "--workspace", type=Path, default=WORKSPACE, metavar="WS", help="workspace folder (default: ./workspace)")
        p.add_argument("--json", action="store_true", help="print one JSON object as the last line of stdout")
        return p

    for name, text in (("run", "bring a workspace up to date with its raw folders"), ("plan", "what a run would do, and why")):
        p = command(name, text)
        p.add_argument("raw", nargs="?", type=Path, metavar="RAW", help="the raw folder; may be left out once the workspace remembers it")
        _settings(p)
        p.add_argument("--until", metavar="STAGE", help="stop after this stage")
        p.add_argument("--sample", type=_positive, metavar="N", help="only N documents, the same ones every time")
        p.add_argument("--refit", action="append", default=[], metavar="STAGE", help="fit or train this stage again on today's data")
        p.add_argument("--retry-failed", action="store_true", help="measure again what failed, whatever the reason")
        p.add_argument("--allow-removals", action="store_true", help="go on although many files are gone")
        p.add_argument("--rehash", action="store_true", help="read every file again, however little its size and time say that it changed")
        if name == "run":
            p.add_argument("--max-failed", type=_count, metavar="N", help="exit with 1 when more than N documents failed")
            p.add_argument("--pins", type=Path, metavar="WS", help="use what another workspace has fitted: n-gram, tokenizer, models")
            p.add_argument("--wait", action="store_true", help="wait for another run on this workspace to end")

    p = command("inspect", "the funnel of the latest run, or the records of a stage")
    p.add_argument("stage", nargs="?", metavar="STAGE")
    which = p.add_mutually_exclusive_group()
    for status in ("kept", "rejected", "failed"):
        which.add_argument(f"--{status}", dest="status", action="store_const", const=status, help=f"{status} documents only")
    p.add_argument("--reason", help="documents with this reason only")
    p.add_argument("--diff", action="store_true", help="what the stage changed in the text")
    p.add_argument("--limit", type=_positive, default=20, metavar="N", help="at most N records (default: 20)")
    p.add_argument("--raw", action="store_true", help="show text as it is, personal data too")
    p.add_argument("--sql", metavar="QUERY", help="query all records with DuckDB; tables: a view per stage, files, locators, runs, stages")
    p.add_argument("--run", metavar="RUN", help="a run's id (default: the latest)")

    p = command("report", "write one self-contained HTML file about a run")
    p.add_argument("run", nargs="?", metavar="RUN", help="a run's id (default: the latest)")
    p.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write it (default: beside the run's record)")

    p = command("source", "the raw folders of a workspace")
    p.add_argument("action", choices=("add", "remove", "list"))
    p.add_argument("raw", nargs="?", metavar="RAW", help="a folder to add; a folder or a name to remove")
    p.add_argument("--chat", action="store_true", help="with add: all of the folder is curated chat (ChatML or message lists)")

    p = command("generate", "continue a text with the trained model")
    p.add_argument("prompt", help="the text to continue; - reads it from stdin")
    _sampling(p)
    p = command("chat", "talk with the chat-tuned model")
    p.add_argument("--system", default="", metavar="TEXT", help="a system message")
    _sampling(p)

    p = command("doctor", "check this installation and the workspace")
    p.add_argument("--keys", action="store_true", help="list every configuration key with its default and meaning")
    _settings(p)
    p = command("verify", "check every file in the store against its recorded sha256")
    p.add_argument("--forgotten", action="store_true", help="search everything in the workspace for what was forgotten, instead")
    p = command("forget", "take documents out of a workspace for good")
    p.add_argument("what", nargs="+", metavar="PATH|ID", help="a file or folder of a source, a place in a container, or an id")
    p.add_argument("--near", choices=("ask", "also", "leave"), default="ask", help="near duplicates: ask, forget them too, or leave them")
    p.add_argument("--yes", action="store_true", help="do not ask whether it is meant")
    p.add_argument("--dry-run", action="store_true", help="only say what would be forgotten, rewritten and removed")
    p = command("gc", "remove results that nothing needs any more, and merge small parts")
    p.add_argument("--dry-run", action="store_true", help="only say what would be removed and merged")
    p.add_argument("--wait", action="store_true", help="wait until nobody runs on or reads this workspace")
    p = command("ui", "open Prefect's user interface on the workspace's runs")
    p.add_argument("--port", type=_positive, help="port on this machine (default: a free one)")

    text = "write what a workspace made as a folder that stands alone"
    p = commands.add_parser("export", help=text, description=text[:1].upper() + text[1:] + ".", allow_abbrev=False)
    p.set_defaults(parser=p)
    kinds = p.add_subparsers(dest="kind", metavar="KIND", required=True, parser_class=Parser)
    p = command("corpus", "the clean corpus: shuffled Parquet files and a data card", kinds)
    p.add_argument("out", nargs="?", type=Path, metavar="OUT", help="a new or empty folder (default: WS/exports/corpus-<run>)")
    p.add_argument("--max-gb", type=float, metavar="X", help="at most X GB (10^9 bytes) of training text, a nested random sample")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="another seed gives another order (default: 0)")
    p.add_argument("--shard-mb", type=_positive, default=256, metavar="MB", help="megabytes of text in a file (default: 256)")
    p.add_argument("--run", metavar="RUN", help="a run's id (default: the newest that finished)")
    p.add_argument("--wait", action="store_true", help="wait for another command on this workspace to end")

    for kind, what in (
        ("hf", "the model, whatever its shape: transformers opens it with trust_remote_code"),
        ("qwen3", "the model as transformers' Qwen3, where its shape is plain with norms of queries and keys"),
        ("llama", "the model as transformers' Llama, where its shape is plain without them"),
        ("gguf", "the model for llama.cpp, where its shape is plain"),
    ):
        p = command(kind, what, kinds)
        p.add_argument("out", nargs="?", type=Path, metavar="OUT", help=f"a new or empty folder (default: WS/exports/{kind}-<run>)")
        p.add_argument("--model", choices=("base", "chat"), help="which of the two (default: the chat model where there is one)")
        dtypes = ("float32", "bfloat16", *(["float16"] if kind == "gguf" else []))
        p.add_argument("--dtype", choices=dtypes, help="of the weights (default: as they were trained)")
        if kind != "hf":
            p.add_argument("--drop-heads", action="store_true", help="leave out what hangs beside the trunk: the text stays the same")
        p.add_argument("--name", help="the model's name on its card (default: the folder's)")
        p.add_argument("--licence", metavar="ID", help="under which it may be used, as the Hub spells it: apache-2.0 (default: not stated)")
        p.add_argument("--wait", action="store_true", help="wait for another command on this workspace to end")

    text = "what a model's shape costs, and a fresh model of it"
    p = commands.add_parser("model", help=text, description=text[:1].upper() + text[1:] + ".", allow_abbrev=False)
    p.set_defaults(parser=p)
    actions = p.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    p = command("show", "parameters, FLOPs and memory of a shape, and whether it fits; without one, all named shapes", actions, False)
    p.add_argument("shape", nargs="?", metavar="PRESET", help="a preset, the folder of a saved model, or a config.json")
    _shape(p)
    p.add_argument("--context", type=_positive, metavar="N", help="tokens of context in use (default: max_seq_len)")
    p.add_argument("--rows", type=_positive, default=1, metavar="N", help="rows of a micro-batch, and conversations at once (default: 1)")
    p.add_argument("--length", type=_positive, metavar="N", help="tokens of a training row (default: max_seq_len, at most 4096)")
    p.add_argument("--gpu", type=float, default=16.0, metavar="GB", help="memory it should fit on, in GB (default: 16)")
    p = command("init", "build a shape with fresh weights, the same bits for the same seed", actions, False)
    p.add_argument("shape", metavar="PRESET", help="a preset, or a config.json")
    _shape(p)
    p.add_argument("-o", "--output", type=Path, metavar="OUT", help="a new or empty folder (default: ./PRESET-seedN)")
    p.add_argument("--seed", type=_count, default=17, metavar="N", help="another seed gives other weights (default: 17)")
    p.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the file; bfloat16 halves it (default: float32)")
    return root


def _shape(p: argparse.ArgumentParser) -> None:
    p.add_argument("--set", action="append", default=[], dest="sets", metavar="FIELD=V", help="another value of one field; may be repeated")


def _settings(p: argparse.ArgumentParser) -> None:
    p.add_argument("-c", "--config", type=Path, metavar="FILE", help="settings as YAML")
    p.add_argument("--set", action="append", default=[], dest="sets", metavar="A.B=V", help="one setting; may be repeated")


def _sampling(p: argparse.ArgumentParser) -> None:
    p.add_argument("--temperature", type=float, default=0.8, help="0 always takes the likeliest token (default: 0.8)")
    p.add_argument("--top-p", type=float, default=0.95, metavar="P", help="sample among the likeliest tokens that sum to P (default: 0.95)")
    p.add_argument("--top-k", type=_count, default=0, metavar="K", help="sample among the K likeliest tokens; 0 among all (default: 0)")
    p.add_argument("--min-p", type=float, default=0.0, metavar="P", help="only tokens at least P times as likely as the best (default: 0)")
    p.add_argument("--max-tokens", type=_positive, default=200, metavar="N", help="at most N new tokens (default: 200)")
    p.add_argument("--seed", type=int, default=0, help="the same seed gives the same text (default: 0)")
    p.add_argument("--repetition-penalty", type=float, default=1.1, metavar="R", help="above 1 makes repeating less likely (default: 1.1)")
    p.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be repeated")
    text = (
        "who drafts tokens, several of which are checked at once: an 8-bit sketch of the model or its extra heads; the text stays the same"
    )
    p.add_argument("--speculative", default="auto", choices=("auto", "sketch", "heads", "off"), help=f"{text} (default: auto)")
    p.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where the model runs (default: auto)")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 0 or more")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    _own_house()
    arguments = list(sys.argv[1:] if argv is None else argv)
    command, as_json = next((a for a in arguments if not a.startswith("-")), ""), "--json" in arguments
    try:
        args, surplus = parser().parse_known_args(arguments)
        if surplus:
            args.parser.surplus(surplus[0])
        args.argv = arguments
        with _reading(args):
            return getattr(importlib.import_module(COMMANDS[args.command]), args.command)(args)
    except Usage as error:
        return _say(2, str(error), command, as_json)
    except BrokenPipeError:  # `athanor inspect | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as end:  # --help, or told to end
        code = int(end.code or 0)
        return _say(code, "Stopped. What was finished is kept: the same command goes on from here.", command, as_json, end) if code else 0
    except BaseException as error:
        from flows import faults

        known = faults.told(error)
        if known:
            if getattr(error, "__notes__", None):
                known = (known[0], known[1] + _kept(error, command))
            return _say(*known, command, as_json, error)
        return _say(1, f"'{command}' met a defect ({type(error).__name__}).{_kept(error, command)}", command, as_json, error)


def _reading(args: argparse.Namespace) -> AbstractContextManager[None]:
    """While a command reads a workspace, nothing is removed from it."""
    removes = getattr(args, "forgotten", False)  # `verify --forgotten` ends what an interrupted `forget` began
    if args.command not in READERS or removes or not (args.workspace / "workspace.json").is_file():
        return nullcontext()
    from corpus.workspace import Workspace

    return Workspace(args.workspace).reading(args.command)


def _kept(error: BaseException, command: str) -> str:
    from flows import faults

    path = faults.write_frames(error, getattr(error, "run_folder", None), f"athanor {command}")
    return f" Details: {path}" if path else ""


def _say(code: int, sentence: str, command: str, as_json: bool, error: BaseException | None = None) -> int:
    print(f"athanor: {sentence}", file=sys.stderr)
    if as_json:
        answer(command, "failed", error=sentence, **getattr(error, "account", {}))
    return code


def answer(command: str, status: str, run: str | None = None, stages: Sequence[dict[str, Any]] = (), **more: Any) -> None:
    """Print the contract's object as the last line of stdout."""
    shown = [{key: value for key, value in stage.items() if key != "identity"} for stage in stages]
    found = {"command": command, "status": status, "run": run, "stages": shown, "generation": None, **more}
    sys.stderr.flush()
    print(json.dumps(found, ensure_ascii=False, allow_nan=False), flush=True)


def _own_house() -> None:
    """Keep a user's own train.py or model.py out: the current folder is no place to import from, here and in children."""
    here, house = os.getcwd() if _exists() else "", str(Path(__file__).resolve().parent.parent)
    if os.path.realpath(here) != house:
        sys.path[:] = [p for p in sys.path if os.path.realpath(p or here) != os.path.realpath(here)]
        given = [p for p in os.environ.pop("PYTHONPATH", "").split(os.pathsep) if p]
        os.environ["PYTHONPATH"] = os.pathsep.join(p for p in given if os.path.realpath(p) != os.path.realpath(here))
    os.environ["PYTHONSAFEPATH"] = "1"


def _exists() -> bool:
    try:
        os.getcwd()
        return True
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main())
