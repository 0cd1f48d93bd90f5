"""What ingest measures of a file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa

from corpus.canonical import digest_bytes
from corpus.engine import Engine
from corpus.stage import Inputs
from corpus.view import ViewReader
from corpus.workspace import Workspace
from extractors import ingest

CONFIG = ingest.IngestConfig()


def test_members_fit_the_declared_columns(tmp_path: Path) -> None:
    path = tmp_path / "righe.jsonl"
    path.write_text('{"text": "uno"}\n{"text": "due"}\n')
    row = ingest.measure(CONFIG, Inputs())({"id": "x", "path": str(path)})
    table = pa.Table.from_pylist([row], schema=ingest.STAGE.measures)
    assert [m["inner"] for m in table["members"][0].as_py()] == ["1", "2"]
    assert ingest.decide(CONFIG, row).status == "kept"


def test_a_document_names_its_source_or_the_name_its_place_was_given(tmp_path: Path) -> None:
    for name in ("leggi/a.txt", "web/b.txt", "c.txt", "altre leggi/d.txt"):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).write_text(name)
    shutil.copy(tmp_path / "raw" / "web" / "b.txt", tmp_path / "raw" / "leggi" / "copia.txt")
    workspace = Workspace.create(tmp_path / "ws")
    workspace.add_source(tmp_path / "raw")
    stage = ingest.STAGE.with_config(ingest.IngestConfig(named={"codici": ("leggi/", "*leggi/*"), "pagine": ("web/",)}))
    Engine(workspace, (stage,), workers=0).run()
    view = ViewReader(workspace.store, workspace.last_stages()["ingest"]["folder"])
    source = dict(zip(view.table()["id"].to_pylist(), view.table()["source"].to_pylist(), strict=True))
    found = {n: source[digest_bytes(n.encode())] for n in ("leggi/a.txt", "web/b.txt", "c.txt", "altre leggi/d.txt")}
    assert found == {"leggi/a.txt": "codici", "web/b.txt": "codici", "c.txt": "raw", "altre leggi/d.txt": "codici"}, "b lies in both"
