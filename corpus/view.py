"""The view: who was kept, rejected or failed at a stage, and what the documents now are.

One table in id order: outcome columns, `of` (hash of the fields read), `text_hash`, and every small field known so far.
The text itself is not here: it is assembled from the shelves, stage by stage, when somebody reads documents. A view
knows the functions that made it (by name) and the view it came from, so its folder is all that is needed to read it.

A view's digest is over the kept rows in id order, so equal digests mean equal documents for whoever comes next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus import config as settings
from corpus.canonical import digest, digest_stream, plain
from corpus.document import Document
from corpus.naming import reference, resolve
from corpus.part import read_rows
from corpus.stage import DocumentStage
from corpus.store import Shelf, committed, read_record

OUTCOME = [
    pa.field("id", pa.string()),
    pa.field("status", pa.string()),
    pa.field("reason", pa.string()),
    pa.field("value", pa.float64()),
    pa.field("threshold", pa.float64()),
    pa.field("detail", pa.string()),
    pa.field("of", pa.string()),
    pa.field("text_hash", pa.string()),
]
BLOCK = 1024


def digests(table: pa.Table) -> dict[str, str]:
    """Hash of each column of the kept rows, whatever the chunking: all that can be asked of a view's identity later.

    What a view says of the rows that went (status, reason, number, threshold, detail) and `of` are nobody's input.
    """
    rows = table.filter(pc.equal(table["status"], "kept"))
    leave = {"status", "reason", "value", "threshold", "detail", "of"}
    return {name: _digest(rows[name]) for name in sorted(table.column_names) if name not in leave}


def _digest(column: pa.ChunkedArray) -> str:
    """Lengths (-1 for null) and bytes of the values, as strings."""
    values = pc.cast(pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type), pa.large_string())
    lengths = pc.fill_null(pc.cast(pc.binary_length(values), pa.int64()), -1)
    full = pc.fill_null(values, "")
    _, ends, data = full.buffers()
    first, last = np.frombuffer(ends, np.int64)[[full.offset, full.offset + len(full)]] if len(full) else (0, 0)
    return digest_stream([lengths.to_numpy().astype("<i8").tobytes(), memoryview(data)[first:last] if data is not None else b""])


def write_view(store: Path, target: Path, table: pa.Table, record: dict[str, Any], extra: dict[str, pa.Table] | None = None) -> None:
    """Commit a view; `extra` are tables that lie beside it (ingest's files and locators)."""
    with committed(store, target, record) as folder:
        pq.write_table(table, folder / "view.parquet", compression="zstd")
        for name, beside in (extra or {}).items():
            pq.write_table(beside, folder / f"{name}.parquet", compression="zstd")


def summary_of(table: pa.Table) -> list[tuple[str, int]]:
    """Documents by `status` or `status:reason`, most first."""
    counts: Counter[str] = Counter()
    for row in table.select(["status", "reason"]).group_by(["status", "reason"]).aggregate([([], "count_all")]).to_pylist():
        counts[f"{row['status']}:{row['reason']}" if row["reason"] else row["status"]] += row["count_all"]
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def touched(table: pa.Table, written: list[str]) -> pa.Array:
    """Which rows an election wrote something for: their text may differ."""
    some = pa.array([False] * table.num_rows, pa.bool_())
    for name in written:
        some = pc.or_(some, pc.is_valid(table[name]))
    return some


def describe(stage: DocumentStage, fingerprint: str, upstream: str | None) -> dict[str, Any]:
    """What a view's record says about the stage that made it, enough to read the documents again."""
    return {
        "kind": "view",
        "stage": stage.name,
        "fingerprint": fingerprint,
        "upstream": upstream,
        "text": reference(stage.text),
        "edits": stage.edits,
        "elected": stage.writes.names if stage.elect else [],
        "config": {"class": reference(type(stage.config)), "values": plain(stage.config)},
        "measures": stage.measures.names,
        "reads": list(stage.reads),
        "sensitive": stage.sensitive,
    }


class ViewReader:
    """Reads one view. Cheap to make, cheap to send to another process; everything is loaded when it is asked for."""

    def __init__(self, store: Path, folder: str) -> None:
        self.store = store
        self.folder = folder  # relative to the store

    @classmethod
    def of(cls, store: Path, record: dict[str, Any], table: pa.Table, upstream: ViewReader | None) -> ViewReader:
        """A view that is not on the disk (in a plan)."""
        reader = cls(store, "")
        reader.__dict__.update(record=record, _all=table, upstream=upstream)
        return reader

    def __reduce__(self) -> Any:
        return (ViewReader, (self.store, self.folder))

    @property
    def path(self) -> Path:
        return self.store / self.folder

    @cached_property
    def record(self) -> dict[str, Any]:
        record = read_record(self.path)
        if record is None:
            raise FileNotFoundError(f"there is no view at {self.folder}")
        return record

    @property
    def digest(self) -> str:
        return self.record["digest"]

    @property
    def name(self) -> str:
        return self.record["stage"]

    @property
    def sensitive(self) -> bool:
        return bool(self.record["sensitive"])

    @cached_property
    def upstream(self) -> ViewReader | None:
        folder = self.record["upstream"]
        return ViewReader(self.store, folder) if folder else None

    @cached_property
    def shelf(self) -> Shelf:
        return Shelf(self.store, self.record["stage"], self.record["fingerprint"])

    def outcomes(self) -> pa.Table:
        """All rows: outcome columns and small fields."""
        return self._all

    def beside(self, name: str) -> pa.Table:
        """A table that lies beside the view (ingest's `files` and `locators`)."""
        return pq.read_table(self.path / f"{name}.parquet")

    def summary(self) -> dict[str, int]:
        """Documents by `status` or `status:reason`, most first."""
        return dict(self.record.get("summary") or summary_of(self._all))  # an older record has none

    @cached_property
    def _kept(self) -> pa.Table:
        return self._all.filter(pc.equal(self._all["status"], "kept"))

    def table(self) -> pa.Table:
        """Kept documents: id, of, text_hash and every small field, in id order."""
        return self._kept.drop_columns(["status", "reason", "value", "threshold", "detail"])

    def digest_of(self, fields: Iterable[str]) -> str:
        """Digest of these fields of the kept documents: what a stage that reads only them depends on."""
        columns = self.record["columns"]
        wanted = {"id", *("text_hash" if f == "text" else f for f in fields)}
        return digest({name: columns[name] for name in wanted if name in columns})

    def measurements(self, columns: list[str] | None = None, ids: list[str] | None = None) -> pa.Table:
        """Kept (or the given) documents that were measured here: id and the measurements, in id order."""
        names = [c for c in (columns or self.record["measures"]) if c != "id"]
        rows = self._rows(ids)
        at = self._at.take(rows)
        rows, at = rows.filter(pc.is_valid(at)), at.drop_null()
        return self.shelf.take(at, names).add_column(0, "id", self._all["id"].take(rows))

    def documents(self, *fields: str, ids: list[str] | None = None) -> Iterator[Document]:
        """Kept (or the given) documents in id order: id and these fields, text as it is after this stage."""
        rows = self._all.take(self._rows(ids))
        small = [f for f in fields if f != "text"]
        for start in range(0, rows.num_rows, BLOCK):
            documents = rows.slice(start, BLOCK).select(["id", *small]).to_pylist()
            if "text" in fields:
                for document, text in zip(documents, self.texts([d["id"] for d in documents]), strict=True):
                    document["text"] = text
            yield from documents

    def parts(self) -> list[tuple[Path, pa.Table]]:
        """Each part's folder in use, with the kept rows that lie in it: their columns of `rows.parquet`."""
        at = self._at.take(self._rows(None)).drop_null()
        spots = self.shelf.index().select(["part", "row"]).take(at)
        numbers = spots["part"].to_numpy()
        found = []
        for number in sorted(set(numbers.tolist())):
            part = self.shelf.parts()[number]
            found.append((part, read_rows(part, spots["row"].to_numpy()[numbers == number])))
        return found

    def texts(self, ids: list[str]) -> list[str]:
        """Texts of these documents as they are after this stage, in the order asked for ('' before extraction)."""
        if self.record["text"] is None:
            return self.upstream.texts(ids) if self.upstream else [""] * len(ids)
        places, elected = self._places(ids), self.record.get("elected", [])
        spots = self._at.take(places).to_pylist()
        if elected:  # what the election wrote is part of what makes the text; nothing written, nothing changed
            rows = self._all.select(elected).take(places)
            written = dict(zip(ids, rows.to_pylist(), strict=True))
            spots = [spot if there else None for spot, there in zip(spots, touched(rows, elected).to_pylist(), strict=True)]
        measured = {i: spot for i, spot in zip(ids, spots, strict=True) if spot is not None}
        table = self.shelf.take(pa.array(measured.values(), pa.int32()), self.record["measures"])
        before = ids if self.record["edits"] else [i for i in ids if i not in measured]
        incoming = dict(zip(before, self.upstream.texts(before), strict=True)) if self.upstream and before else {}
        text, config = self._text
        result = {i: incoming.get(i, "") for i in ids}
        for i, m in zip(measured, table.to_pylist(), strict=True):
            result[i] = text(config, m | written[i] if elected else m, result[i])
        return [result[i] for i in ids]

    def text_after(self, id: str) -> str:
        """Text of one document after this stage."""
        return self.texts([id])[0]

    def text_before(self, id: str) -> str:
        """Text of one document before this stage."""
        return self.upstream.texts([id])[0] if self.upstream else ""

    @cached_property
    def _text(self) -> tuple[Callable[[Any, dict[str, Any], str], str], Any]:
        config = self.record["config"]
        return resolve(self.record["text"]), settings.load(resolve(config["class"]), config["values"], self.name)

    def _rows(self, ids: list[str] | None) -> pa.Array:
        """Row numbers of the kept, or of the given documents that are here, in id order."""
        if ids is None:
            return pc.indices_nonzero(pc.equal(self._all["status"], "kept"))
        wanted = sorted(set(ids))
        places = np.searchsorted(self._ids, np.array(wanted, "S32"))
        return pa.array(
            [p for i, p in zip(wanted, places.tolist(), strict=True) if p < len(self._ids) and self._ids[p] == i.encode()], pa.int64()
        )

    def _places(self, ids: list[str]) -> pa.Array:
        places = np.searchsorted(self._ids, np.array(ids, "S32"))
        return pa.array(places)

    @cached_property
    def _all(self) -> pa.Table:
        return pq.read_table(self.path / "view.parquet")

    @cached_property
    def _ids(self) -> np.ndarray:
        return np.array(self._all["id"].to_pylist(), "S32")

    @cached_property
    def _at(self) -> pa.Array:
        """Position on the shelf of every row, null where it was not measured."""
        return self.shelf.locate(self._all["id"], self._all["of"])
