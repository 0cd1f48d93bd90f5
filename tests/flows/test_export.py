"""The exported corpus: what other programs read agrees with the view, is the same every time, and holds nothing it must not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import house
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import rawfolder
import toys
import yaml

from corpus import chatml
from corpus.document import held_out
from corpus.outcome import kept
from corpus.stage import DocumentStage
from corpus.store import problems
from corpus.tombstones import Tombstones
from corpus.workspace import Workspace
from flows.cli import main
from flows.corpus_files import GROUP, Shards
from flows.export import export
from flows.settings import RunConfig

LICENCE = " Testo rilasciato con licenza CC BY-SA 4.0."


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workspace after a real run: short and long prose, one text twice, a name, a licence, a few conversations."""
    base = tmp_path_factory.mktemp("export")
    raw = base / "raw"
    (raw / "chat").mkdir(parents=True)
    texts = [rawfolder.prose(n) for n in range(60)] + [rawfolder.prose(100 + n, 45) for n in range(25)]
    texts[3] += LICENCE
    texts[4] += " La sindaca Maria Ferrari ha scritto a maria.ferrari@example.it."
    texts[5] = texts[6] + "\n"
    (raw / "righe.jsonl").write_text("".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts), "utf-8")
    talks = [[("user", f"Parlami di {e}."), ("assistant", f"Volentieri, ecco che cosa so di {e}: è utile.")] for e in rawfolder.EXTRAS]
    rows = [{"messages": [{"role": r, "content": c} for r, c in talk]} for talk in talks]
    (raw / "chat" / "dialoghi.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunConfig, "processes", property(lambda self: 0))
        options = ["--until", "split", "--set", "run.prefect=false", "--set", "quality.max_spam=0.6", "--set", "run.report=false"]
        assert main(["run", str(raw), "-w", str(base / "ws"), *options]) == 0
    return base


@pytest.fixture(scope="module")
def view(made):
    return Workspace.open(made / "ws").latest_run().view("split")


@pytest.fixture(scope="module")
def out(made):
    """The export of all of it."""
    assert main(["export", "corpus", str(made / "all"), "-w", str(made / "ws")]) == 0
    return made / "all"


@pytest.fixture
def call(made, capsys):
    """Exports the real workspace: (exit code, stdout, stderr)."""

    def once(*arguments):
        capsys.readouterr()
        code = main(["export", "corpus", *map(str, arguments), "-w", str(made / "ws")])
        said = capsys.readouterr()
        return code, said.out, said.err

    return once


def rows(out: Path, name: str) -> list[dict]:
    return duckdb.connect().sql(f"select * from '{out}/{name}-*.parquet'").to_arrow_table().to_pylist()


def content(out: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in out.iterdir()}


def test_what_is_read_is_what_the_view_keeps(out, view):
    documents = {d["id"]: d for d in view.documents("text", "form", "split", "held", "lang", "family", "source")}
    prose = {split: {r["id"]: r for r in rows(out, split)} for split in ("train", "val")}
    chat = {split: {r["id"]: r for r in rows(out, f"chat-{split}")} for split in ("train", "val")}
    held = [d for d in documents.values() if d["held"]]
    assert held and len(documents) == sum(map(len, (*prose.values(), *chat.values()))) - len(held)
    for d in documents.values():
        row = (chat if d["form"] == "chat" else prose)[d["split"]][d["id"]]
        assert {k: row[k] for k in ("form", "lang", "family", "source")} == {k: d[k] for k in ("form", "lang", "family", "source")}
        if d["form"] == "chat":
            assert row["messages"] == chatml.parse(d["text"])
        else:
            train, val = held_out(d["text"], d["held"])
            assert row["text"] == train and row["held"] == bool(val)
            assert not val or prose["val"][d["id"]]["text"] == val
    for row in (r for split in prose.values() for r in split.values()):
        assert (row["n_chars"], row["n_bytes"]) == (len(row["text"]), len(row["text"].encode()))


def test_arrow_opens_it_and_the_record_seals_it(out):
    table = ds.dataset(sorted(out.glob("train-*.parquet"))).to_table()
    assert table.schema.field("text").type == pa.string() and table.num_rows == len(rows(out, "train"))
    record = json.loads((out / "record.json").read_text("utf-8"))
    assert problems(out) == [] and set(record["files"]) == {f.name for f in out.iterdir()} - {"record.json"}
    assert {(p["form"], p["split"]): p["rows"] for p in record["counts"]["parts"]} == {
        (form, split): len(rows(out, ("chat-" if form == "chat" else "") + split))
        for form in ("prose", "chat")
        for split in ("train", "val")
    }


def test_no_family_is_in_train_and_val_but_for_held_blocks(out):
    for prefix in ("", "chat-"):
        train = {r["family"] for r in rows(out, f"{prefix}train")}
        assert not train & {r["family"] for r in rows(out, f"{prefix}val") if not r["held"]}


def test_nothing_personal_is_in_it_and_no_place(out, made):
    everything = " ".join(str(r) for name in ("train", "val", "chat-train", "chat-val") for r in rows(out, name))
    everything += (out / "README.md").read_text("utf-8") + (out / "record.json").read_text("utf-8")
    for word in ("Ferrari", "example.it", str(made), "righe.jsonl"):
        assert word not in everything
    assert "<EMAIL>" in everything


def test_the_same_corpus_seed_and_options_give_the_same_bytes_and_another_seed_another_order(out, call, tmp_path):
    assert call(tmp_path / "again")[0] == 0 and content(tmp_path / "again") == content(out)
    assert call(tmp_path / "again")[0] == 0 and content(tmp_path / "again") == content(out), "an earlier export is replaced"
    call(tmp_path / "other", "--seed", 1)
    one, other = ([r["id"] for r in rows(folder, "train")] for folder in (out, tmp_path / "other"))
    assert sorted(one) == sorted(other) and one != other


def test_a_smaller_sample_is_the_beginning_of_a_larger_one_and_val_is_whole(out, call, tmp_path):
    before: dict[str, list[str]] = {"train": [], "chat-train": []}
    for gb in ("2e-5", "9e-5", "1"):
        assert call(tmp_path / gb, "--max-gb", gb)[0] == 0
        parts = json.loads((tmp_path / gb / "record.json").read_text())["counts"]["parts"]
        assert sum(p["bytes"] for p in parts if p["split"] == "train") <= float(gb) * 1e9
        for name, known in before.items():
            ids = [r["id"] for r in rows(tmp_path / gb, name)]
            assert ids[: len(known)] == known and len(ids) > len(known)
            before[name] = ids
        assert content(tmp_path / gb)["val-00000-of-00001.parquet"] == content(out)["val-00000-of-00001.parquet"]
    assert before["train"] == [r["id"] for r in rows(out, "train")]


def test_the_data_card_has_a_head_that_loaders_read_and_tells_what_happened(out, made):
    text = (out / "README.md").read_text("utf-8")
    _, head, body = text.split("---\n", 2)
    values = yaml.safe_load(head)
    assert values["license"] == "other" and values["language"][0] == "it" and values["size_categories"] == ["n<1K"]
    assert [c["config_name"] for c in values["configs"]] == ["prose", "chat"] and values["configs"][0]["default"]
    for config in values["configs"]:
        assert [f["split"] for f in config["data_files"]] == ["train", "validation"]
        assert all(list(out.glob(f["path"])) for f in config["data_files"])
    run = Workspace.open(made / "ws").latest_run()
    count = run.stage("dedup")["rejected"]
    for line in (
        "| CC-BY-SA-4.0 | 1 |",
        "| `<EMAIL>` | e-mail address, certified or not | 1 |",
        f"| exact duplicate | {count} |",
        "| `quality.max_spam` | 0.6 | 0.5 |",
        f"athanor export corpus --run {run.id} --seed 0 --shard-mb 256\n",
        "| raw | ",
        "are missed",
        "was not compared with any evaluation set",
    ):
        assert line in body, line
    for name, stage in run.stages.items():
        assert stage["unit"] == "artifact" or f"| {name} | {stage['in']} | {stage['kept']} |" in body


def test_the_workspace_remembers_where_it_went_and_the_default_place_is_inside(call, made, tmp_path):
    code, said, _ = call("--json")
    answer = json.loads(said.splitlines()[-1])
    run = Workspace.open(made / "ws").latest_run().id
    assert (code, answer["command"], answer["status"], answer["run"]) == (0, "export corpus", "done", run)
    assert answer["path"] == str(made / "ws" / "exports" / f"corpus-{run}") and answer["counts"]["parts"]
    call(tmp_path / "out")
    call(tmp_path / "out")
    known = [e["path"] for e in Workspace.open(made / "ws").memory["exports"]]
    assert known.count(f"exports/corpus-{run}") == 1 and not any(Path(p).is_absolute() for p in known)
    assert [(made / "ws" / p).resolve() for p in known].count(tmp_path / "out") == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interruption_leaves_nothing_that_looks_finished(call, made, tmp_path, monkeypatch, error):
    def broken(self):
        raise error

    before = Workspace.open(made / "ws").memory["exports"]
    with monkeypatch.context() as patch:
        patch.setattr(Shards, "close", broken)
        assert call(tmp_path / "out")[0] in (1, 130)
    assert not list(tmp_path.iterdir()) and Workspace.open(made / "ws").memory["exports"] == before


def test_what_a_killed_export_left_is_swept_by_the_next(call, out, tmp_path):
    left = tmp_path / ".out.partial" / ".shuffle"
    left.mkdir(parents=True)
    (left / "train-00000.parquet").write_bytes(b"half")
    assert call(tmp_path / "out")[0] == 0
    assert [f.name for f in tmp_path.iterdir()] == ["out"] and content(tmp_path / "out") == content(out)


def test_a_place_that_is_taken_or_would_be_read_again_is_refused(call, out, made, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "tesi.txt").write_text("non toccare")
    shutil.copytree(out, tmp_path / "added")
    (tmp_path / "added" / "note.txt").write_text("mie")
    for place, said in (
        (tmp_path / "mine", "holds other things"),
        (tmp_path / "added", "holds other things"),
        (tmp_path / "mine" / "tesi.txt", "is a file"),
        (made / "raw" / "out", "the next run would take it in"),
        (made / "ws" / "store" / "out", "lies inside the workspace"),
    ):
        code, _, err = call(place)
        assert code == 2 and said in err and err.count("\n") == 1
    assert (tmp_path / "mine" / "tesi.txt").read_text() == "non toccare" and (tmp_path / "added" / "note.txt").exists()


@pytest.mark.parametrize("wrong", ["0", "-1", "nan"])
def test_a_limit_must_be_above_zero(call, tmp_path, wrong):
    code, _, err = call(tmp_path / "out", "--max-gb", wrong)
    assert code == 2 and "--max-gb takes a number above 0" in err


def test_a_limit_that_no_document_fits_in_still_gives_val(call, tmp_path):
    assert call(tmp_path / "out", "--max-gb", "1e-9")[0] == 0
    assert not list(tmp_path.glob("out/train-*")) and rows(tmp_path / "out", "val")


def test_a_forgotten_document_does_not_leave(made, view, tmp_path, capsys):
    shutil.copytree(made / "ws", tmp_path / "ws")
    shutil.copytree(made / "raw", tmp_path / "raw")
    Tombstones.of(Workspace.open(tmp_path / "ws")).add([view.table()["id"][0].as_py()], {})
    assert main(["export", "corpus", str(tmp_path / "out"), "-w", str(tmp_path / "ws")]) == 1
    assert "1 documents that were forgotten" in capsys.readouterr().err and not (tmp_path / "out").exists()


def divide(config, inputs):
    return lambda document: {"n": len(document["text"])}


def divided(config, m):
    return kept(split="val" if m["n"] < 5 else "train")


SPLIT = DocumentStage(
    name="split",
    version=1,
    config=toys.NothingConfig(),
    measures=pa.schema([("n", pa.int64())]),
    writes=pa.schema([("split", pa.string())]),
    measure=divide,
    decide=divided,
)


@pytest.fixture
def home(tmp_path, monkeypatch, capsys):
    found = house.build(tmp_path, monkeypatch, capsys)
    monkeypatch.setattr("flows.pipeline.WAY", (toys.INGEST, house.READ, house.HIDE, SPLIT))
    return found


def test_a_corpus_without_languages_or_families_is_exported_all_the_same(home):
    assert home.run()[0] == 0
    answer = home.ask("export", "corpus")
    out = Path(answer["path"])
    assert {r["text"] for name in ("train", "val") for r in rows(out, name)} == {
        "<PERSONA> abita <b>in</b> via Po, è perché",
        "il gatto dorme",
        "ab",
    }
    assert "license: unknown" in (out / "README.md").read_text("utf-8")


def test_a_corpus_that_is_not_redacted_is_refused(home, monkeypatch):
    monkeypatch.setattr("flows.pipeline.WAY", (toys.INGEST, house.READ, house.LOOK, SPLIT))
    assert home.run()[0] == 0
    code, _, err = home.call("export", "corpus", home.raw.parent / "out", "-w", home.workspace)
    assert code == 1 and "is not redacted" in err and not (home.raw.parent / "out").exists()


def test_without_a_clean_corpus_there_is_nothing_to_export(home, monkeypatch):
    code, _, err = home.call("export", "corpus", "-w", home.workspace)
    assert code == 2 and "There is no workspace" in err
    home.run("--until", "hide")
    code, _, err = home.call("export", "corpus", "-w", home.workspace)
    assert code == 2 and "No finished run of this workspace has a clean corpus" in err
    run = Workspace.open(home.workspace).latest_run()
    assert "has no stage 'split'" in home.call("export", "corpus", "--run", run.id, "-w", home.workspace)[2]
    home.run()
    last = Workspace.open(home.workspace).latest_run()
    shutil.rmtree(last.view("split").path)
    code, _, err = home.call("export", "corpus", "-w", home.workspace)
    assert code == 1 and "no longer in the store" in err


def test_a_kind_that_is_not_known_names_the_nearest(home):
    code, _, err = home.call("export", "corpsu")
    assert code == 2 and "There is no export 'corpsu'. Did you mean 'corpus'?" in err


def test_files_and_row_groups_have_the_size_that_was_asked_for(tmp_path):
    text = "parola " * 50_000
    table = pa.table({"id": [str(n) for n in range(200)], "text": [text] * 200, "n_bytes": pa.array([len(text)] * 200, pa.int64())})
    whole, pieces = Shards(tmp_path, "whole", table.schema, 30_000_000), Shards(tmp_path, "pieces", table.schema, 30_000_000)
    whole.add(table)
    for start in range(0, 200, 7):
        pieces.add(table.slice(start, 7))
    whole.close(), pieces.close()
    names = sorted(f.name for f in tmp_path.glob("whole-*"))
    assert names == [f"whole-{n:05d}-of-00003.parquet" for n in range(3)]
    for name in names:
        assert (tmp_path / name).read_bytes() == (tmp_path / name.replace("whole", "pieces")).read_bytes()
        metadata = pa.parquet.read_metadata(tmp_path / name)
        groups = [metadata.row_group(g).num_rows * len(text) for g in range(metadata.num_row_groups)]
        assert all(GROUP <= g < GROUP + len(text) for g in groups[:-1]) and groups[-1] < GROUP + len(text)
    assert pa.parquet.ParquetDataset(sorted(tmp_path.glob("whole-*"))).read()["id"].to_pylist() == table["id"].to_pylist()


def test_every_kind_of_the_command_line_is_known_to_the_command():
    from flows.cli import EXPORTS
    from flows.export import KINDS

    assert tuple(KINDS) == EXPORTS and callable(export)


def test_the_options_of_the_record_are_those_of_the_card(out):
    record = json.loads((out / "record.json").read_text("utf-8"))
    assert record["options"] == {"seed": 0, "max_gb": None, "shard_mb": 256}
    assert record["digest"] in (out / "README.md").read_text("utf-8")
