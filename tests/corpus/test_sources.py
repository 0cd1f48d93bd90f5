"""What a RAW folder holds: nothing disappears, nothing outside it is followed, and paths decide what is curated."""

from __future__ import annotations

import os

import pyarrow.parquet as pq
import pytest

from corpus.intake import lies_in
from corpus.sources import hashed, scan


@pytest.mark.parametrize(
    ("place", "path", "inside"),
    [
        ("chat/", "chat/a.jsonl", True),
        ("chat/", "chat/b/c.txt", True),
        ("chat/", "altra-chat/a.txt", False),
        ("chat/", "doc/chat/a.txt", False),
        ("*.chatml", "x/y.chatml", True),
        ("sft:", "qualunque.txt", True),
    ],
)
def test_a_place_is_a_folder_a_pattern_or_a_source(place, path, inside):
    assert lies_in("sft", path, (place,)) is inside


def test_everything_is_listed_once_with_its_reason(tmp_path):
    raw = tmp_path / "raw"
    (raw / "a").mkdir(parents=True)
    (raw / "a" / "uno.txt").write_text("uno")
    (raw / "a" / "~$bozza.docx").write_text("x")
    (raw / ".nascosto").mkdir()
    (raw / "fuori.txt").symlink_to(tmp_path / "altrove.txt")
    (tmp_path / "altrove.txt").write_text("fuori")
    (raw / "dentro.txt").symlink_to(raw / "a" / "uno.txt")
    os.mkfifo(raw / "tubo")
    found = {f.path: (f.status, f.reason) for f in scan("raw", raw, ignore=("~$*",))}
    assert found == {
        "a/uno.txt": ("kept", ""),
        "a/~$bozza.docx": ("rejected", "ignored"),
        ".nascosto": ("rejected", "hidden"),
        "fuori.txt": ("rejected", "link"),
        "dentro.txt": ("kept", ""),
        "tubo": ("rejected", "not_a_file"),
    }
    assert scan("raw", raw, hidden=True) and ".nascosto" not in {f.path for f in scan("raw", raw, hidden=True)}


def test_the_workspace_inside_is_passed_over_and_odd_names_are_shown(tmp_path):
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "x").write_text("x")
    (tmp_path / os.fsdecode(b"citt\xe0.txt")).write_text("x")
    assert [f.path for f in scan("raw", tmp_path, tmp_path / "ws")] == ["citt\\xe0.txt"]


def test_a_hash_is_remembered_until_the_file_changes(tmp_path):
    raw, cache = tmp_path / "raw", tmp_path / "stat.parquet"
    raw.mkdir()
    (raw / "f").write_text("uno")
    os.utime(raw / "f", (1_000_000, 1_000_000))
    first = hashed(scan("raw", raw), cache, remember=True)
    (raw / "f").write_text("due")
    os.utime(raw / "f", (1_000_000, 1_000_000))
    assert hashed(scan("raw", raw), cache, remember=False) == first, "the same size, time and inode are trusted"
    (raw / "f").write_text("tre!")
    assert hashed(scan("raw", raw), cache, remember=False)[0].file != first[0].file


def test_a_file_that_cannot_be_read_is_listed_as_failed_and_the_others_go_on(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a").write_text("uno")
    (raw / "b").write_text("due")
    files = scan("raw", raw)
    (raw / "b").unlink()
    found = {f.path: (f.status, f.reason, bool(f.file)) for f in hashed(files, tmp_path / "stat.parquet", remember=True)}
    assert found == {"a": ("kept", "", True), "b": ("failed", "unreadable", False)}


def test_a_file_that_grows_while_it_is_read_is_left_for_the_next_run(tmp_path):
    raw, cache = tmp_path / "raw", tmp_path / "stat.parquet"
    raw.mkdir()
    (raw / "log.txt").write_text("prima riga\n")
    listed = scan("raw", raw)
    with open(raw / "log.txt", "a") as f:
        f.write("seconda riga\n")
    (found,) = hashed(listed, cache, remember=True)
    assert (found.status, found.reason, found.file) == ("failed", "growing", "")
    (settled,) = hashed(scan("raw", raw), cache, remember=True)
    assert settled.status == "kept" and settled.file


def test_rehash_trusts_no_memory_and_nothing_forgotten_is_remembered(tmp_path):
    raw, cache = tmp_path / "raw", tmp_path / "stat.parquet"
    raw.mkdir()
    (raw / "f").write_text("uno")
    os.utime(raw / "f", (1_000_000, 1_000_000))
    (before,) = hashed(scan("raw", raw), cache, remember=True)
    (raw / "f").write_text("due")
    os.utime(raw / "f", (1_000_000, 1_000_000))  # same size, same time, other bytes: a memory cannot tell
    assert hashed(scan("raw", raw), cache, remember=False)[0].file == before.file
    assert hashed(scan("raw", raw), cache, remember=False, rehash=True)[0].file != before.file
    hashed(scan("raw", raw), cache, remember=True, forgotten=lambda id: id == before.file)
    assert pq.read_table(cache).num_rows == 0
