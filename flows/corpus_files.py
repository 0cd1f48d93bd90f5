"""The files of an exported corpus: Parquet for prose and for chat, train and val, and the counts of what they hold.

Plain columns that DuckDB and Hugging Face `datasets` open. A row group holds about 8 MB of text, a file `shard` bytes of it,
before compression; both depend on the rows alone, so equal rows in equal order give equal bytes (with one version of pyarrow).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus import chatml

GROUP = 8 << 20  # bytes of text in a row group
SMALL = {  # small fields of documents that are exported where the corpus has them
    "lang": pa.string(),
    "title": pa.string(),
    "source": pa.string(),
    "kind": pa.string(),
    "family": pa.string(),
    "quality": pa.float64(),
}
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


class Written:
    """The Parquet files as they grow, and what they hold."""

    def __init__(self, folder: Path, there: Sequence[str], shard: int) -> None:
        """there: the small fields that the corpus has. shard: bytes of text in a file."""
        self.folder, self.shard, self.left_out = folder, shard, 0
        named = [pa.field(name, kind) for name, kind in SMALL.items() if name in there]
        held = [pa.field("held", pa.bool_())] if "held" in there else []
        numbers = [pa.field("licences", pa.list_(pa.string())), pa.field("n_chars", pa.int64()), pa.field("n_bytes", pa.int64()), *held]
        self.small = pa.schema([*named, *numbers])
        self._files: dict[tuple[str, str], Shards] = {}
        self._counts: dict[tuple[str, str], Counter[str]] = {}
        self._by: dict[str, dict[str, Counter[str]]] = {"languages": {}, "sources": {}, "licences": {}}

    @property
    def columns(self) -> list[str]:
        """The columns of the files, `text` and `messages` both."""
        return ["id", "text", "messages", "form", *self.small.names]

    def add(self, split: str, table: pa.Table) -> None:
        """Write these rows, in this order."""
        chat = pc.equal(table["form"], "chat")
        for form, rows in (("prose", table.filter(pc.invert(chat))), ("chat", table.filter(chat))):
            if rows.num_rows:
                self._count(form, split, rows)
                text: tuple[str, Any] = ("text", rows["text"])
                if form == "chat":
                    text = ("messages", pa.array([chatml.parse(t) for t in rows["text"].to_pylist()], MESSAGES))
                ready = pa.table({"id": rows["id"], text[0]: text[1], "form": rows["form"], **{n: rows[n] for n in self.small.names}})
                if (form, split) not in self._files:
                    name = split if form == "prose" else f"{form}-{split}"
                    self._files[form, split] = Shards(self.folder, name, ready.schema, self.shard)
                self._files[form, split].add(ready)

    def close(self) -> dict[str, Any]:
        """Finish the files; returns what was written."""
        for shards in self._files.values():
            shards.close()
        parts = [
            {"form": form, "split": split, "files": shards.count, **self._counts[form, split]}
            for (form, split), shards in sorted(self._files.items(), key=lambda item: (item[0][0] != "prose", item[0][1]))
        ]
        by = {
            what: {name: dict(c) for name, c in sorted(found.items(), key=lambda item: (-item[1]["documents"], item[0]))}
            for what, found in self._by.items()
        }
        return {"parts": parts, "left_out": self.left_out, **by}

    def _count(self, form: str, split: str, rows: pa.Table) -> None:
        chars, sizes = rows["n_chars"].to_pylist(), rows["n_bytes"].to_pylist()
        whole = [
            split == "train" or not held for held in (rows["held"].to_pylist() if "held" in rows.column_names else [False] * len(sizes))
        ]
        part = self._counts.setdefault((form, split), Counter())
        part.update(rows=len(sizes), documents=sum(whole), chars=sum(chars), bytes=sum(sizes))
        if "lang" in rows.column_names:
            self._add("languages", ([lang or "und"] for lang in rows["lang"].to_pylist()), whole, sizes)
        if "source" in rows.column_names:
            self._add("sources", ([name or ""] for name in rows["source"].to_pylist()), whole, sizes)
        self._add("licences", rows["licences"].to_pylist(), whole, sizes)

    def _add(self, what: str, names: Iterable[list[str]], whole: list[bool], sizes: list[int]) -> None:
        for found, counts, size in zip(names, whole, sizes, strict=True):
            for name in found:
                self._by[what].setdefault(name, Counter()).update(documents=int(counts), bytes=size)


class Shards:
    """Parquet files of one form and split: row groups of GROUP bytes of text, a new file after `limit` bytes of text."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema, limit: int) -> None:
        self._folder, self._name, self._schema, self._limit = folder, name, schema, limit
        self._writer: pq.ParquetWriter | None = None
        self._waiting, self._bytes, self.count = schema.empty_table(), 0, 0

    def add(self, table: pa.Table) -> None:
        """Append these rows."""
        table = pa.concat_tables([self._waiting, table])
        ends = np.cumsum(table["n_bytes"].to_numpy())
        start, before = 0, 0
        while (end := int(np.searchsorted(ends, before + GROUP))) < table.num_rows:
            self._group(table.slice(start, end + 1 - start))
            start, before = end + 1, int(ends[end])
        self._waiting = table.slice(start).combine_chunks()

    def close(self) -> None:
        """Write what waits, and give the files their final names."""
        if self._waiting.num_rows:
            self._group(self._waiting)
        self._next()
        for number in range(self.count):
            self._path(number).rename(self._folder / f"{self._name}-{number:05d}-of-{self.count:05d}.parquet")

    def _group(self, table: pa.Table) -> None:
        if self._writer is None:
            repeated = [n for n in ("form", "lang", "source", "kind") if n in self._schema.names]
            self._writer = pq.ParquetWriter(self._path(self.count), self._schema, compression="zstd", use_dictionary=repeated)
            self.count += 1
        self._writer.write_table(table.combine_chunks(), row_group_size=table.num_rows)
        self._bytes += pc.sum(table["n_bytes"]).as_py()
        if self._bytes >= self._limit:
            self._next()

    def _next(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._bytes = None, 0

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._name}-{number:05d}.parquet"
