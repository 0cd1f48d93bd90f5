"""Tombstones: what a workspace must not take in again, kept without saying what it was.

    WS/forget.key        32 random bytes (hexadecimal, mode 0600)
    WS/tombstones.json   pending; tainted: artifacts fitted on forgotten documents; tombstones: keyed hash of a member's id ->
                         keyed fingerprints of its texts

No id, no text and no path is written down. A fingerprint is a sample of a text's word runs (13 words, hashed with the key),
so that a search can tell whether a text is still somewhere without anybody keeping the text. Runs that documents which
stay have too (a letterhead, a copy that was left on purpose) are not taken: a run that is found is a trace.

Limits: whoever has the key and a document can tell whether that document was forgotten. Texts of fewer than 5 words, and
scripts written without spaces, leave no fingerprint: they are known by their id alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from corpus.canonical import digest
from corpus.outcome import Stop
from corpus.store import write_json

if TYPE_CHECKING:
    from corpus.workspace import Workspace

Runs = npt.NDArray[np.uint64]
KEY, STONES = "forget.key", "tombstones.json"
LONGEST, SHORTEST = 13, 5  # words of a run
SAMPLED = 64  # runs of a text that are kept
_WORD = re.compile(r"\w+")
_BASE = 0x9E3779B97F4A7C15
_REMEMBERED = 500_000  # words whose hash is remembered


def words_of(text: str) -> list[str]:
    """The words of a text, lower case."""
    return _WORD.findall(text.lower())


class WordHashes(dict[str, int]):
    """64-bit keyed hash of each word, computed when first asked for."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self.key = key

    def __missing__(self, word: str) -> int:
        if len(self) >= _REMEMBERED:
            self.clear()
        data = word.encode("utf-8", "surrogatepass")
        value = int.from_bytes(hashlib.blake2b(data, digest_size=8, key=self.key, person=b"athanor word").digest(), "little")
        self[word] = value
        return value

    def of(self, words: Sequence[str]) -> Runs:
        """uint64 [n] of these words."""
        return np.fromiter(map(self.__getitem__, words), np.uint64, len(words))


def runs(hashes: Runs, size: int) -> Runs:
    """uint64 [n - size + 1]: a well mixed hash of each run of `size` words; empty when there are fewer."""
    count = len(hashes) - size + 1
    if count <= 0:
        return np.zeros(0, np.uint64)
    total = np.zeros(count, np.uint64)
    for k in range(size):
        total = total * np.uint64(_BASE) + hashes[k : k + count]
    total ^= total >> np.uint64(33)
    total *= np.uint64(0xFF51AFD7ED558CCD)
    return total ^ (total >> np.uint64(33))


@dataclass(frozen=True)
class Print:
    """The fingerprint of one text: its run length in words, and the sampled runs, uint64, ascending."""

    size: int
    runs: Runs

    def json(self) -> list[Any]:
        """As it stands in tombstones.json."""
        return [self.size, base64.b64encode(self.runs.astype("<u8").tobytes()).decode()]

    @classmethod
    def read(cls, value: list[Any]) -> Print:
        """The inverse of `json`."""
        return cls(int(value[0]), np.frombuffer(base64.b64decode(value[1]), "<u8").astype(np.uint64))


class Tombstones:
    """The tombstones of a workspace. Cheap when there are none; false when there are none."""

    def __init__(self, folder: Path, key: bytes, content: Mapping[str, Any]) -> None:
        self.folder, self.key = folder, key
        self.pending = bool(content.get("pending", False))
        self.tainted: list[str] = list(content.get("tainted", ()))
        self._stones: dict[str, list[Any]] = dict(content.get("tombstones", {}))

    @classmethod
    def of(cls, workspace: Workspace) -> Tombstones:
        """Those of this workspace. Stop when the key they need is gone: nothing may come back because of that."""
        path = workspace.path / STONES
        if not path.is_file():
            return cls(workspace.path, b"", {})
        try:
            key = bytes.fromhex((workspace.path / KEY).read_text("ascii"))
        except (FileNotFoundError, ValueError):
            raise Stop(
                f"'{workspace.path / KEY}' is missing or damaged: without it nobody can tell what was forgotten here. "
                "Put it back from a copy of the workspace."
            ) from None
        return cls(workspace.path, key, json.loads(path.read_text("utf-8")))

    def __bool__(self) -> bool:
        return bool(self._stones)

    def __len__(self) -> int:
        return len(self._stones)

    @property
    def digest(self) -> str:
        """Equal digests: the same documents are kept out. '' when none is."""
        return digest(sorted(self._stones)) if self._stones else ""

    def has(self, id: str) -> bool:
        """Whether the member with this id was forgotten."""
        return bool(self._stones) and self._hash(id) in self._stones

    def among(self, ids: Iterable[str]) -> set[str]:
        """Those of these ids that were forgotten."""
        return {i for i in ids if self._hash(i) in self._stones} if self._stones else set()

    @cached_property
    def words(self) -> WordHashes:
        """Hashes of words under this workspace's key."""
        return WordHashes(self._made_key())

    def candidates(self, text: str, most: int = 4 * SAMPLED) -> Print | None:
        """More runs of a text than are kept, so that those which other documents share can be left out; None for too few words."""
        words = words_of(text)
        if len(words) < SHORTEST:
            return None
        size = min(LONGEST, len(words))
        return Print(size, np.unique(runs(self.words.of(words), size))[:most])  # keyed values: the smallest are a fair sample

    def prints(self) -> list[Print]:
        """Every fingerprint."""
        return [Print.read(value) for values in self._stones.values() for value in values]

    def add(self, ids: Iterable[str], texts: Mapping[str, Iterable[str]], shared: Iterable[Runs] = (), save: bool = True) -> None:
        """Forget these members, at once and for good; `pending` until everything that holds them is erased.

        texts: id -> the texts it has had. shared: runs that documents which stay have too. Without `save` only this object
        knows of it.
        """
        common = np.unique(np.concatenate([np.zeros(0, np.uint64), *shared]))
        for id in ids:
            prints: dict[bytes, Print] = {}
            for text in texts.get(id, ()):
                found = self.candidates(text)
                chosen = found.runs[~np.isin(found.runs, common)][:SAMPLED] if found else ()
                if found and len(chosen):
                    prints[np.asarray(chosen).tobytes()] = Print(found.size, np.asarray(chosen))
            self._stones[self._hash(id)] = [p.json() for p in prints.values()] or self._stones.get(self._hash(id), [])
        if save:
            self.pending = True
            self.save()

    def save(self) -> None:
        """Write them durably: the key first."""
        path = self.folder / KEY
        if not path.is_file():
            temporary = path.with_name(f".{KEY}.{os.getpid()}")
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as f:
                f.write(self._made_key().hex())
                f.flush()
                os.fsync(f.fileno())
            os.replace(temporary, path)
        content = {"format": 1, "pending": self.pending, "tainted": sorted(self.tainted), "tombstones": self._stones}
        write_json(self.folder / STONES, content)

    def _made_key(self) -> bytes:
        self.key = self.key or secrets.token_bytes(32)
        return self.key

    def _hash(self, id: str) -> str:
        return hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=16, key=self._made_key(), person=b"athanor id").hexdigest()
