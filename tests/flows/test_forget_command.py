"""`athanor forget` and `athanor verify --forgotten`: what is meant, what is asked, what is left."""

from __future__ import annotations

import io
import json
import shutil
import zipfile

import house
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rawfolder
from leftovers import holding

from corpus.canonical import digest_bytes
from corpus.tombstones import KEY, STONES, Tombstones
from corpus.workspace import Workspace

STORY = "Il notaio dipinse la barca zirconiana di legno mentre fuori pioveva da tre giorni e nessuno lo vide mai più tornare"
NEAR = f"{STORY} a casa"
ROW = "Nel registro comunale la vedova vende il mulino quarzifero al cugino del farmacista e poi parte in treno"


@pytest.fixture
def at(tmp_path, monkeypatch, capsys):
    """The toy house, run once, with a story, a near copy of it, and a file of rows."""
    made = house.build(tmp_path, monkeypatch, capsys)
    (made.raw / "storia.txt").write_text(STORY)
    (made.raw / "righe").mkdir()
    (made.raw / "righe" / "molte.rows").write_text(f"prima riga del registro\n{ROW}\nterza riga del registro")
    made.run()
    return made


def answer(monkeypatch, text):
    """Somebody at a terminal who types this."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal(text))


def forget(at, *arguments):
    code, out, err = at.call("forget", *arguments, "-w", at.workspace, "--json")
    return code, json.loads(out.splitlines()[-1]), err


def ids(*texts):
    return [digest_bytes(t.encode()) for t in texts]


def test_a_file_is_forgotten_named_told_and_proved_and_the_next_run_is_idle(at):
    code, said, err = forget(at, at.raw / "storia.txt", "--yes")
    assert code == 0 and (said["status"], said["forgotten"], said["near"], said["tainted"]) == ("done", 1, 0, ["vocabulary"])
    assert said["parts_rewritten"] == 6 and said["views_removed"] == 6 and sum(s["calls"] for s in said["stages"]) == 0
    assert "--refit vocabulary" in said["renew"] and "RAW is untouched" in err and (at.raw / "storia.txt").is_file()
    assert holding(at.workspace, *ids(STORY), STORY, "zirconian", "storia.txt") == {}
    code, out, err = at.call("verify", "--forgotten", "-w", at.workspace)
    assert code == 0 and "1 forgotten, none of it is left" in out and "vocabulary" in out
    stages = at.ask("run", "--set", "run.prefect=false")["stages"]
    assert sum(s["calls"] for s in stages) == 0 and stages[0]["in"] == 8
    assert at.call("verify", "-w", at.workspace)[0] == 0


def test_every_way_to_name_a_document_finds_it(at, monkeypatch):
    (row,) = ids(ROW)
    monkeypatch.chdir(at.raw)
    for name in (
        at.raw / "righe/molte.rows!/1",
        "righe/molte.rows!/1",
        "raw:righe/molte.rows!/1",
        "./righe/../righe/molte.rows!/1",
        row[:8],
        row,
    ):
        code, said, _ = forget(at, name, "--dry-run")
        assert (code, said["status"], said["forgotten"]) == (0, "planned", 1), name
    for name in ("righe", at.raw / "righe", "righe/molte.rows"):
        assert forget(at, name, "--dry-run")[1]["forgotten"] == 3, name
    assert not (at.workspace / STONES).exists() and not (at.workspace / KEY).exists(), "a dry run leaves nothing"


def test_what_nobody_knows_is_refused_with_the_nearest(at):
    code, _, err = forget(at, "stroia.txt", "--yes")
    assert code == 2 and "Did you mean 'storia.txt'?" in err
    (at.raw / "nuovo.txt").write_text("arriva dopo")
    code, _, err = forget(at, at.raw / "nuovo.txt", "--yes")
    assert code == 2 and "has not been taken in yet" in err
    assert forget(at, ids(STORY)[0][:7], "--yes")[0] == 2, "fewer than eight digits are no id"


def test_a_member_of_a_container_goes_alone_or_the_container_whole(at):
    code, said, _ = forget(at, at.raw / "righe/molte.rows!/1", "--yes")
    assert code == 0 and said["forgotten"] == 1 and holding(at.workspace, *ids(ROW), ROW, "quarzifero") == {}
    assert holding(at.workspace, "terza riga del registro")
    code, said, _ = forget(at, "righe", "--yes")
    assert code == 0 and said["forgotten"] == 2 and holding(at.workspace, "riga del registro", "molte.rows") == {}
    assert forget(at, at.raw / "righe/molte.rows", "--yes")[1]["status"] == "cached"
    at.run()
    assert holding(at.workspace, "riga del registro", "molte.rows") == {}


def test_the_same_bytes_elsewhere_are_the_same_document(at):
    (at.raw / "copia.txt").write_text(STORY)
    at.run()
    code, said, err = forget(at, "copia.txt", "--yes")
    assert code == 0 and said["forgotten"] == 1 and "found in 2 places" in err and "and 1 more" in err
    assert holding(at.workspace, *ids(STORY), "storia.txt", "copia.txt") == {}


def test_what_lay_there_before_an_edit_is_forgotten_with_it(at):
    (at.raw / "storia.txt").write_text(OTHER := "una storia diversa che racconta soltanto di un prato verde e di mucche")
    at.run()
    code, said, _ = forget(at, "storia.txt", "--yes")
    assert code == 0 and said["forgotten"] == 2 and holding(at.workspace, *ids(STORY, OTHER), STORY, OTHER) == {}


def test_near_duplicates_are_listed_and_asked_about(at, monkeypatch):
    (at.raw / "quasi.txt").write_text(NEAR)
    (at.raw / "dentro.txt").write_text(f"{ROW} {ROW[::-1]} {ROW.upper()[::-1]} " + STORY)
    at.run()
    code, _, err = forget(at, "storia.txt", "--yes")
    assert code == 2 and "--near also or --near leave" in err and not (at.workspace / STONES).exists()
    answer(monkeypatch, "n\ny\n")
    code, said, err = forget(at, "storia.txt")
    assert code == 0 and "quasi.txt" in err and "dentro.txt" in err and "100%" in err
    assert [(n["similarity"] > 0.8, n["forgotten"]) for n in said["near_duplicates"]] == [(True, False), (False, False)]
    assert holding(at.workspace, *ids(NEAR)) and not holding(at.workspace, *ids(STORY))
    assert at.call("verify", "--forgotten", "-w", at.workspace)[0] == 0, "what was left on purpose is no trace"
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, said, _ = forget(at, ids(NEAR)[0], "--yes", "--near", "also")
    assert code == 0 and said["forgotten"] == 1


def test_near_duplicates_go_too_with_theirs(at):
    (at.raw / "quasi.txt").write_text(NEAR)
    (at.raw / "anche.txt").write_text(f"{NEAR} sua e ancora un po' di parole per allontanarsi dalla prima delle tre versioni")
    (at.raw / "rifiutata.txt").write_text(f"die {STORY}")
    at.run()
    code, said, _ = forget(at, "storia.txt", "--yes", "--near", "also")
    assert code == 0 and said["forgotten"] == 4 and all(n["forgotten"] for n in said["near_duplicates"])
    assert holding(at.workspace, "zirconian") == {}, "also what a stage had rejected"


def test_nothing_happens_without_a_yes(at, monkeypatch):
    code, _, err = forget(at, "storia.txt")
    assert code == 2 and "--yes" in err
    answer(monkeypatch, "\n")
    code, _, err = forget(at, "storia.txt")
    assert code == 1 and "Nothing was forgotten" in err and not (at.workspace / STONES).exists()


@pytest.mark.parametrize("next_command", ["verify", "forget", "run"])
def test_killed_between_tombstone_and_erasing_the_next_command_finishes(at, next_command):
    Tombstones.of(Workspace.open(at.workspace)).add(ids(STORY), {ids(STORY)[0]: [STORY]})
    assert holding(at.workspace, *ids(STORY), "zirconian")
    if next_command == "run":
        assert at.run()[0] == 0
    elif next_command == "verify":
        assert at.call("verify", "--forgotten", "-w", at.workspace)[0] == 0
    else:
        assert forget(at, "storia.txt", "--yes")[0] == 0
    assert holding(at.workspace, *ids(STORY), STORY, "zirconian") == {}
    at.run()
    assert at.ask("inspect")["stages"][0]["in"] == 8


def test_the_erasing_is_done_although_the_run_cannot_be(at):
    at.raw.rename(at.raw.with_name("unmounted"))
    code, said, _ = forget(at, "storia.txt", "--yes")
    assert code == 1 and said["status"] == "failed" and "is not at" in said["error"]
    assert holding(at.workspace, *ids(STORY), "zirconian") == {}
    at.raw.with_name("unmounted").rename(at.raw)
    assert at.run()[0] == 0 and at.ask("inspect")["stages"][0]["in"] == 8 and holding(at.workspace, *ids(STORY)) == {}


def test_while_somebody_reads_the_erasing_is_put_off(at):
    with Workspace.open(at.workspace).reading("chat"):
        code, _, err = forget(at, "storia.txt", "--yes")
        assert code == 1 and "is being read by `athanor chat`" in err
        assert at.call("verify", "--forgotten", "-w", at.workspace)[0] == 1
    assert at.call("verify", "--forgotten", "-w", at.workspace)[0] == 0 and holding(at.workspace, *ids(STORY), "zirconian") == {}


def test_an_old_run_stays_readable_as_far_as_it_goes(at):
    old = at.ask("inspect")["run"]
    forget(at, "storia.txt", "--yes")
    assert at.call("inspect", "-w", at.workspace, "--run", old)[0] == 0
    code, _, err = at.call("inspect", "length", "-w", at.workspace, "--run", old)
    assert code == 1 and "no longer in the store" in err and err.count("\n") == 1


def test_the_proof_finds_what_was_planted(at):
    forget(at, "storia.txt", "--yes")
    (run,) = [p for p in (at.workspace / "runs").iterdir()][:1]
    for path, text in {
        run / "log.jsonl": json.dumps({"said": ids(STORY)[0]}),
        run / "report.html": f"<p>{STORY.replace('più', 'pi&ugrave;')}</p>",
        at.workspace / "store" / "x.json": json.dumps({"text": STORY}),
        at.workspace / "nota.txt": " ".join(STORY.split()[3:17]),
    }.items():
        before = path.read_bytes() if path.is_file() else None
        path.write_text(text)
        code, out, _ = at.call("verify", "--forgotten", "-w", at.workspace)
        assert code == 1 and str(path.relative_to(at.workspace)) in out, path
        path.unlink() if before is None else path.write_bytes(before)
    said = at.ask("verify", "--forgotten")
    assert said["found"] == [] and said["forgotten"] == 1 and said["searched"]["tables"]["rows"] > 30


def test_the_real_way_up_to_the_shards_forgets_a_document_of_every_kind(tmp_path, monkeypatch, capsys):
    from flows.settings import RunConfig

    monkeypatch.setattr(RunConfig, "processes", property(lambda self: 0))
    raw = tmp_path / "raw"
    raw.mkdir()
    words = ("zirconiano", "quarzifero", "basaltino", "gneissico")  # one for each document to forget
    texts = [f"{rawfolder.prose(n)} Nel cortile resta un muro {word}. {rawfolder.prose(n + 50, 3)}" for n, word in enumerate(words)]
    (raw / "muro.txt").write_text(texts[0])
    (raw / "righe.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in [texts[1], *map(rawfolder.prose, range(100, 140))]))
    (raw / "posta.mbox").write_bytes(rawfolder.mbox([rawfolder.mail("Primo", rawfolder.prose(20)), rawfolder.mail("Secondo", texts[2])]))
    with zipfile.ZipFile(raw / "arca.zip", "w") as z:
        z.writestr("dentro/quarto.docx", rawfolder.docx(texts[3]))
        z.writestr("dentro/altro.txt", rawfolder.prose(30))
    at = house.House(raw, tmp_path / "ws", capsys)
    assert at.run("--until", "pack")[0] == 0
    workspace = Workspace.open(at.workspace)
    packed = workspace.last_stages()["pack"]["folder"]
    for word in words:
        places = holding(at.workspace, word)
        assert any(p.startswith("store/extract") for p in places) and any(p.endswith("tokens.bin") for p in places), word
    assert at.call("export", "corpus", "-w", at.workspace)[0] == 0

    known = {r["locators"][0]: r["id"] for r in at.ask("inspect", "ingest", "--limit", "99")["records"]}
    chosen = [place for place, id in known.items() if any(word in text_of(workspace, id) for word in words)]
    assert sorted(p.split("!/")[0] for p in chosen) == ["arca.zip", "muro.txt", "posta.mbox", "righe.jsonl"]
    (old,) = [shutil.copytree(p.parent, tmp_path / "old") for p in workspace.store.glob("pack/*/part-*/tokens.bin")]
    code, said, _ = forget(at, *chosen, "--yes", "--near", "leave")
    assert code == 0 and said["forgotten"] == 4
    assert said["tainted"] == [s for s in ("ngram", "tokenizer") if s in workspace.pins()]
    assert len(said["exports"]) == 1 and sum(s["calls"] for s in said["stages"]) == 0
    fitted = [f"store/{f}" for f in Tombstones.of(workspace).tainted]
    left = holding(at.workspace, *words, *(known[p] for p in chosen), *(p for p in chosen if "!/" not in p))
    assert {p for p in left if not p.startswith(tuple(fitted))} == set()
    assert at.call("verify", "--forgotten", "-w", at.workspace)[0] == 0 and at.call("verify", "-w", at.workspace)[0] == 0
    planted(at, workspace, old)
    again = at.ask("run", "--until", "pack", "--set", "run.prefect=false")["stages"]
    assert sum(s["calls"] for s in again) == 0 and workspace.last_stages()["pack"]["folder"] != packed
    at.run("--until", "pack", "--refit", "ngram", "--refit", "tokenizer")
    assert at.ask("verify", "--forgotten")["tainted"] == []


def planted(at, workspace, old):
    """A shard with tokens nobody owns, then one whose rows have other ids: the proof reads tokens, not labels."""
    (part,) = [p.parent for p in workspace.store.glob("pack/*/part-*/tokens.bin")]
    whole = (part / "tokens.bin").read_bytes()
    shutil.copy(old / "tokens.bin", part)
    code, out, _ = at.call("verify", "--forgotten", "-w", at.workspace)
    assert code == 1 and "tokens that belong to no document" in out
    (part / "tokens.bin").write_bytes(whole)
    rows = pq.read_table(old / "rows.parquet")
    for name in ("id", "of"):
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(["x"] * rows.num_rows))
    pq.write_table(rows, old / "rows.parquet")
    shutil.copytree(old, part.with_name("part-planted"))
    code, out, _ = at.call("verify", "--forgotten", "-w", at.workspace)
    assert code == 1 and "part-planted/tokens.bin: holds" in out and "rows.parquet: " not in out
    shutil.rmtree(part.with_name("part-planted"))


def text_of(workspace, id):
    """A document's text as it was extracted."""
    from corpus.view import ViewReader

    view = ViewReader(workspace.store, workspace.last_stages()["extract"]["folder"])
    return view.text_after(id) if id in view.table()["id"].to_pylist() else ""
