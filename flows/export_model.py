"""`athanor export hf|qwen3|llama|gguf`: the workspace's model as a folder that others open, with its tokenizer and a card.

    hf             any shape: transformers runs the source that lies in the folder (model/exports/exported.py)
    qwen3, llama   a plain shape, which transformers and many others know by themselves (model/exports/native.py)
    gguf           a plain shape for llama.cpp: one file, model.gguf (model/exports/gguf_file.py)

The chat-tuned model where there is one, else the base model. The card says what the runs recorded: figures, languages,
documents; a licence and a use only where they are given.

Limits: what is forgotten later does not leave a model that was exported before; a model that was trained on something
forgotten is refused here.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus.outcome import Misuse, Stop
from corpus.store import read_record
from corpus.taint import tainted
from corpus.workspace import Workspace
from flows import results, tables
from flows.cli import answer
from flows.export import exported
from flows.export_corpus import SPLIT
from flows.run import current

if TYPE_CHECKING:
    from model.exports.card import Facts

STAGES = {"base": "pretrain", "chat": "sft"}
OWN = ("decoder", "looping", "model_state_sha256", "params")  # of a model's config.json: written anew, not handed on
FIGURES = {
    "steps": "updates",
    "tokens": "tokens read",
    "epochs": "passes over the text",
    "conversations": "conversations",
    "loss": "training loss at the end, nats per token",
}


def export(args: argparse.Namespace) -> int:
    """The command."""
    workspace = Workspace.open(args.workspace)
    with workspace.locked(f"export {args.kind}", args.wait):
        run, stage, folders = chosen(workspace, args.model)
        out = args.out or workspace.path / "exports" / f"{args.kind}-{run}"
        found = write(workspace, run, stage, folders, out, args)
    shown = sys.stderr if args.json else sys.stdout
    for left in found["left_out"]:
        print(f"Left out: {left}.", file=shown)
    print(f"{tables.number(found['params'])} parameters of '{stage}', {tables.size(found['bytes'])}", file=shown)
    print(out, file=shown)
    if args.json:
        answer(f"export {args.kind}", "done", run, path=str(out), stage=stage, **found)
    return 0


def chosen(workspace: Workspace, model: str | None) -> tuple[str, str, dict[str, Path]]:
    """The run that made the current model, the stage asked for (the last one there is), the folders of all. Raises Stop."""
    now = current(workspace)
    if now is None:
        raise Stop(f"The workspace '{workspace.path}' has no model yet: `athanor run RAW -w {workspace.path}` trains one.")
    stage = STAGES[model] if model else "sft" if "sft" in now["artifacts"] else "pretrain"
    if stage not in now["artifacts"]:
        raise Stop("There is no chat model yet: it is made when there are conversations. `--model base` takes the base model.")
    folders = {name: workspace.store / folder for name, folder in now["artifacts"].items()}
    for name in (stage, "tokenizer"):
        if read_record(folders[name]) is None:
            raise Stop(f"The current model's '{name}' is no longer in the store: `athanor run -w {workspace.path}` makes it again.")
        if now["artifacts"][name] in tainted(workspace).get(name, ()):
            again = f"`athanor run -w {workspace.path} --refit {name}`"
            raise Stop(f"The current model's '{name}' was trained on documents that were forgotten: {again} makes it anew.")
    views = results.views(workspace.run(now["run"]))
    if SPLIT in views and results.sensitive(views[SPLIT]):
        raise Stop(f"The model of run {now['run']} learnt text that is not redacted, and only what is may leave.")
    return now["run"], stage, folders


def write(workspace: Workspace, run: str, stage: str, folders: dict[str, Path], out: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Write the folder `out`; returns what the command says of it."""
    import torch

    from model.exports import card
    from model.exports.exported import export_transformers
    from model.exports.gguf_file import export_gguf
    from model.exports.native import export_native
    from model.state import load

    about = json.loads((folders[stage] / "config.json").read_text("utf-8"))
    model, tokenizer = load(folders[stage]).eval(), folders["tokenizer"]
    dtype = getattr(torch, args.dtype) if args.dtype else None
    known = facts(workspace, run, stage, folders, args.name or out.name, args.licence)
    mark: str = about["model_state_sha256"]
    record = {"export": args.kind, "run": run, "stage": stage, "artifact": str(folders[stage].relative_to(workspace.store))}
    left_out: list[str] = []
    try:
        with exported(workspace, out, run, record | {"model_state_sha256": mark}) as made:
            if args.kind == "hf":
                more = {key: value for key, value in about.items() if key not in OWN}
                mark = export_transformers(model, made, tokenizer, dtype, known, **more)
            else:
                if args.kind == "gguf":
                    left_out = export_gguf(model, made / "model.gguf", tokenizer, dtype, drop_heads=args.drop_heads)
                else:
                    left_out = export_native(model, made, args.kind, dtype, tokenizer, args.drop_heads)
                written = card.Written(
                    args.kind,
                    args.dtype or str(model.embedding.weight.dtype).removeprefix("torch."),
                    mark,
                    True,
                    stage == "sft",
                    tuple(left_out),
                )
                (made / "README.md").write_text(card.card(model.config, known, written), "utf-8")
            size = sum(file.stat().st_size for file in made.iterdir())
    except ValueError as error:
        raise Misuse(f"{str(error)[:1].upper()}{str(error)[1:]}. {_remedy(args)}") from None
    return {"params": about["params"], "bytes": size, "left_out": left_out, "model_state_sha256": mark}


def facts(workspace: Workspace, run: str, stage: str, folders: dict[str, Path], name: str, licence: str | None) -> Facts:
    """What the runs recorded of this model, for its card."""
    from model.exports.card import Facts

    metrics = _read(folders[stage] / "eval.json")
    scores = _read(folders["evaluate"] / "evaluation.json") if "evaluate" in folders else {}
    bits: dict[str, float] = scores.get("bpb", {}).get(stage, {})
    languages = tuple(code for code in bits if code not in ("all", "und"))
    evaluation: dict[str, Any] = {}
    for found in (scores, metrics):
        if "val_documents" in found and not evaluation:
            evaluation["held-out text"] = f"{tables.number(found['val_documents'])} documents, {tables.size(found['val_bytes'])}"
    shown = bits or ({"all": metrics["val_bpb"]} if "val_bpb" in metrics else {})
    evaluation |= {f"bits per byte, {'all of it' if code == 'all' else code}": f"{value:.4f}" for code, value in shown.items()}
    if "val_loss" in metrics:
        evaluation["loss on held-out conversations, nats per token"] = f"{metrics['val_loss']:.4f}"
    data: dict[str, Any] = {"run": run}
    views = results.views(workspace.run(run))
    if SPLIT in views and SPLIT in (table := views[SPLIT].table()).column_names:
        splits = table[SPLIT].to_pylist()
        data |= {
            f"documents for {what}": tables.number(splits.count(code)) for code, what in (("train", "training"), ("val", "validation"))
        }
    training = {label: tables.number(metrics[key]) for key, label in FIGURES.items() if key in metrics}
    kind = "A chat-tuned decoder" if stage == "sft" else "A decoder that continues text, not tuned to answer"
    return Facts(name, f"{kind}, trained by Athanor.", languages, licence or "", "", (), data, training, evaluation)


def _remedy(args: argparse.Namespace) -> str:
    if args.kind == "hf":
        return f"See `athanor export {args.kind} --help`."
    return (
        "`athanor export hf` writes any shape" + ("" if args.drop_heads else "; --drop-heads leaves out what hangs beside the trunk") + "."
    )


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}  # type: ignore[no-any-return]
