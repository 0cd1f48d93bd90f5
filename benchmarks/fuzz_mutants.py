"""Real files damaged by the hundred, in ways that a seed makes again. See fuzz_extract.py for what is asked of them."""

from __future__ import annotations

import base64
import gzip
import io
import random
import re
import tarfile
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

LARGEST = 500_000  # bytes of a source; of a PDF 250,000, since time goes with pages
PER_KIND = 12  # sources of an extension


# --- sources -------------------------------------------------------------------------------------------------------------------


def sources(raw: Path, chance: random.Random) -> dict[str, list[bytes]]:
    """A few small files of each extension, and containers made of them."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(p for p in raw.rglob("*") if p.is_file()):
        kind = path.suffix[1:].lower() or "none"
        if 0 < path.stat().st_size <= (LARGEST // 2 if kind == "pdf" else LARGEST):
            found[kind].append(path)
    chosen = {kind: [p.read_bytes() for p in chance.sample(paths, min(PER_KIND, len(paths)))] for kind, paths in sorted(found.items())}
    return chosen | containers(chosen, chance)


def containers(files: dict[str, list[bytes]], chance: random.Random) -> dict[str, list[bytes]]:
    """Archives, compressed files, mailboxes, mails with an archive and tables, of these files."""
    made: dict[str, list[bytes]] = defaultdict(list)
    names = sorted(files)
    for _ in range(4):
        few = [(f"{n}.{kind}", chance.choice(files[kind])) for n, kind in enumerate(chance.sample(names, min(3, len(names))))]
        made["zip"].append(zipped(few))
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for name, data in few:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        made["tar"].append(out.getvalue())
        made["gz"].append(gzip.compress(few[0][1], mtime=0))
        mails = [chance.choice(files["eml"]) for _ in range(3)] if "eml" in files else [mail(few)]
        made["mbox"].append(b"".join(b"From a@b Mon Mar  2 10:00:00 2026\n" + m.replace(b"\nFrom ", b"\n>From ") + b"\n\n" for m in mails))
        made["eml"] = [*made["eml"], mail([("all.zip", made["zip"][-1])])]
    made["eml"] += files.get("eml", [])
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [data.decode("utf-8", "replace")[:3000] for data in files.get("txt", [b"testo"])]
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": texts, "n": list(range(len(texts)))}), buffer)
    made["parquet"].append(buffer.getvalue().to_pybytes())
    return made


def zipped(members: list[tuple[str, bytes]]) -> bytes:
    """A ZIP of these members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def mail(attached: list[tuple[str, bytes]]) -> bytes:
    """A mail with these attachments."""
    from email.message import EmailMessage

    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Invio", "ufficio@example.it", "archivio@example.it"
    message.set_content("In allegato.")
    for name, data in attached:
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    message.set_boundary("----=_ATHANOR")
    return message.as_bytes()


# --- damage --------------------------------------------------------------------------------------------------------------------


def flip(data: bytes, other: bytes, r: random.Random) -> bytes:
    """Some bits, anywhere."""
    out = bytearray(data)
    for _ in range(r.choice((1, 4, 16, 64))):
        out[r.randrange(len(out))] ^= 1 << r.randrange(8)
    return bytes(out)


def cut(data: bytes, other: bytes, r: random.Random) -> bytes:
    """The end is missing."""
    return data[: r.randrange(1, len(data) + 1)]


def splice(data: bytes, other: bytes, r: random.Random) -> bytes:
    """The beginning of one file, the end of another."""
    return data[: r.randrange(1, len(data) + 1)] + other[r.randrange(len(other)) :]


def zero(data: bytes, other: bytes, r: random.Random) -> bytes:
    """A block of zeros."""
    at, size = _block(data, r)
    return data[:at] + bytes(size) + data[at + size :]


def repeat(data: bytes, other: bytes, r: random.Random) -> bytes:
    """A block twice, or two hundred times."""
    at, size = _block(data, r)
    return data[: at + size] + data[at : at + size] * r.choice((1, 1, 8, 200 if size < 4000 else 2)) + data[at + size :]


def drop(data: bytes, other: bytes, r: random.Random) -> bytes:
    """A block is missing."""
    at, size = _block(data, r)
    return data[:at] + data[at + size :] or b"\0"


def _block(data: bytes, r: random.Random) -> tuple[int, int]:
    at = r.randrange(len(data))
    return at, min(len(data) - at, int(2 ** r.uniform(0, 15)))


DAMAGE: dict[str, Callable[[bytes, bytes, random.Random], bytes]] = {f.__name__: f for f in (flip, cut, splice, zero, repeat, drop)}


def inside(data: bytes, other: bytes, r: random.Random) -> bytes | None:
    """One part of a package, PDF, compressed file or mail is damaged and packed again; None when there is none."""
    damage = DAMAGE[r.choice(list(DAMAGE))]
    if data[:2] == b"\x1f\x8b":
        return gzip.compress(damage(gzip.decompress(data), other, r), mtime=0)
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(i.filename, archive.read(i)) for i in archive.infolist() if not i.is_dir()]
        weighty = [n for n, (_, content) in enumerate(members) if content]
        at = r.choice(weighty)
        name, content = members[at]
        members[at] = (name, (r.random() < 0.3 and inside(content, other, r)) or damage(content, other, r))
        return zipped(members)
    if data[:5] == b"%PDF-":
        streams = [m for m in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", data, re.S) if m[1][:1] == b"\x78"]
        for chosen in r.sample(streams, min(3, len(streams))):
            try:
                content = zlib.decompress(chosen[1])
            except zlib.error:
                continue
            packed = zlib.compress(damage(content or b" ", other, r), 9)
            return data[: chosen.start(1)] + packed.ljust(len(chosen[1]), b"\0") + data[chosen.end(1) :]
    blocks = list(re.finditer(rb"\r?\n\r?\n((?:[A-Za-z0-9+/=]{60,76}\r?\n){4,})", data))
    if blocks:
        chosen = r.choice(blocks)
        encoded = base64.encodebytes(damage(base64.b64decode(chosen[1] + b"=="), other, r))
        return data[: chosen.start(1)] + encoded + data[chosen.end(1) :]
    return None


def mutants(files: dict[str, list[bytes]], count: int, r: random.Random, folder: Path) -> Counter[str]:
    """Writes the mutants; returns how many of each extension."""
    kinds = sorted(files)
    made: Counter[str] = Counter()
    for number in range(count):
        kind = kinds[number % len(kinds)]
        data, other = r.choice(files[kind]), r.choice(files[r.choice(kinds)])
        way = r.choice([*DAMAGE, "inside", "inside", "inside"])
        try:
            changed = inside(data, other, r) if way == "inside" else DAMAGE[way](data, other, r)
        except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, RuntimeError, NotImplementedError):
            changed = None
        if changed is None:
            way = r.choice(list(DAMAGE))
            changed = DAMAGE[way](data, other, r)
        extension = r.choice(kinds) if r.random() < 0.1 else kind
        (folder / f"{kind}-{number:05d}-{way}.{extension}").write_bytes(changed)
        made[kind] += 1
    return made
