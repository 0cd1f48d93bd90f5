"""Shards: raw tokens behind a header that says what they are.

    8 bytes   magic `ATHTOKEN`
    4 bytes   length of the header, unsigned, little-endian
    header    JSON: version, dtype (`uint16` or `uint32`), count (tokens), documents, bytes, tokenizer, vocab_size;
              padded with spaces so that the data begin at a multiple of 64
    data      count tokens, little-endian

A shard is opened as a map: no token is read before it is used. Whether its bytes are the ones once written is the
store's concern (it keeps their sha256); here the size is held against the header.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

MAGIC, VERSION, FILE = b"ATHTOKEN", 1, "tokens.bin"
DTYPES = {"uint16": "<u2", "uint32": "<u4"}
_LONGEST_HEADER = 1 << 16


@dataclass(frozen=True)
class Header:
    """What a shard says of itself."""

    version: int
    dtype: str
    count: int  # tokens
    documents: int
    bytes: int  # of text
    tokenizer: str  # hash
    vocab_size: int


def write_shard(
    folder: Path, tokens: pa.ChunkedArray, tokenizer: pa.ChunkedArray, vocab_size: pa.ChunkedArray, n_bytes: pa.ChunkedArray
) -> pa.Array:
    """Write `folder/tokens.bin` from the rows' tokens; returns the offset of each row (null where its tokens are null).

    ValueError when rows come from different tokenizers or a token is outside the vocabulary.
    """
    hashes, sizes = set(tokenizer.drop_null().to_pylist()), set(vocab_size.drop_null().to_pylist())
    if len(hashes) > 1 or len(sizes) > 1:
        raise ValueError("the rows of one shard must come from one tokenizer")
    size = sizes.pop() if sizes else 0
    dtype = "uint16" if size <= 1 << 16 else "uint32"
    lists = tokens.combine_chunks() if isinstance(tokens, pa.ChunkedArray) else tokens
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    if len(flat) and int(flat.max()) >= size:
        raise ValueError(f"token {int(flat.max())} is outside a vocabulary of {size}")
    lengths = np.array(lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), np.int64)
    offsets = np.concatenate(([0], np.cumsum(lengths)[:-1])) if len(lengths) else np.empty(0, np.int64)
    absent = lists.is_null().to_numpy(zero_copy_only=False)

    total = sum(value for value in n_bytes.to_pylist() if value is not None)
    header = Header(VERSION, dtype, len(flat), int((~absent).sum()), total, hashes.pop() if hashes else "", size)
    text = json.dumps(asdict(header)).encode()
    text += b" " * (-(len(MAGIC) + 4 + len(text)) % 64)
    with (folder / FILE).open("wb") as file:
        file.write(MAGIC + struct.pack("<I", len(text)) + text)
        flat.astype(DTYPES[dtype]).tofile(file)
    return pa.array(offsets, pa.int64(), mask=absent)


def read_header(path: Path) -> tuple[Header, int]:
    """The header, and where the data begin. ValueError, with what is wrong, when the file is no whole shard."""
    with path.open("rb") as file:
        start = file.read(len(MAGIC) + 4)
        if len(start) < len(MAGIC) + 4 or not start.startswith(MAGIC):
            raise ValueError(f"{path.name} is not a token shard: it does not begin with {MAGIC.decode()}")
        (length,) = struct.unpack("<I", start[len(MAGIC) :])
        if length > _LONGEST_HEADER:
            raise ValueError(f"{path.name} is damaged: its header would be {length} bytes long")
        try:
            header = Header(**json.loads(file.read(length)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path.name} is damaged: its header cannot be read") from error
    if header.version != VERSION or header.dtype not in DTYPES:
        raise ValueError(f"{path.name} has version {header.version} and dtype {header.dtype}; known are {VERSION} and {', '.join(DTYPES)}")
    begin = len(MAGIC) + 4 + length
    expected = begin + header.count * np.dtype(DTYPES[header.dtype]).itemsize
    found = path.stat().st_size
    if found != expected:
        raise ValueError(f"{path.name} is {found} bytes long and its header says {expected}")
    return header, begin


def open_shard(path: Path) -> np.ndarray:
    """The tokens of a shard, mapped read-only, (count,). ValueError as `read_header`."""
    header, begin = read_header(path)
    if not header.count:
        return np.empty(0, DTYPES[header.dtype])
    return np.memmap(path, DTYPES[header.dtype], "r", begin, (header.count,))
