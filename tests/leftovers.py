"""A search of a workspace that knows nothing of how it is built: every byte, every column, every token decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


def holding(workspace: Path, *needles: str) -> dict[str, list[str]]:
    """file -> the needles found in it (case does not count), in its bytes, its Parquet cells or its decoded tokens."""
    found: dict[str, list[str]] = {}
    wanted = [n.lower() for n in needles]
    for path in sorted(p for p in workspace.rglob("*") if p.is_file()):
        text = str(path) + "\n" + path.read_bytes().decode("utf-8", "replace")
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            text += "".join(f"{column.to_pylist()}\n" for column in table.columns) + str(table.schema.metadata)
        if path.name == "tokens.bin":
            text += decoded(workspace, path)
        if hits := [n for n in wanted if n in text.lower()]:
            found[str(path.relative_to(workspace))] = hits
    return found


def decoded(workspace: Path, shard: Path) -> str:
    """All tokens of a shard as one text, by the tokenizer it was made with."""
    from packer.bpe import Tokenizer
    from packer.shards import open_shard, read_header

    tokenizers = [Tokenizer.load(p.parent) for p in (workspace / "store").glob("tokenizer/*/tokenizer.json")]
    (tokenizer,) = [t for t in tokenizers if t.hash == read_header(shard)[0].tokenizer]
    return tokenizer.decode(np.asarray(open_shard(shard)).tolist())
