"""What ingest measures of a file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from corpus.stage import Inputs
from extractors import ingest

CONFIG = ingest.IngestConfig()


def test_members_fit_the_declared_columns(tmp_path: Path) -> None:
    path = tmp_path / "righe.jsonl"
    path.write_text('{"text": "uno"}\n{"text": "due"}\n')
    row = ingest.measure(CONFIG, Inputs())({"id": "x", "path": str(path)})
    table = pa.Table.from_pylist([row], schema=ingest.STAGE.measures)
    assert [m["inner"] for m in table["members"][0].as_py()] == ["1", "2"]
    assert ingest.decide(CONFIG, row).status == "kept"
