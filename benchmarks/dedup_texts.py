"""Texts for the benchmark of the duplicate finder: real ones, near duplicates planted in them, recombinations of them.

Everything follows from the corpus and a seed. Similarity is the Jaccard similarity of the sets of 5-word shingles, as
strings: no hash takes part in what is called true here.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

WORD = re.compile(r"\w+")
SHINGLE = 5
BANDS = ((0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.0))
CONFUSED = {"m": "rn", "l": "1", "e": "c", "o": "0", "i": "l", "a": "o", "u": "ii", "n": "ri", "t": "f", "s": "5", "c": "e", "d": "cl"}
SYLLABLES = "ba co di fe gu la me ni po ri sa te vu zo tra gli chi".split()


def read(corpus: Path, languages: str = "it en") -> list[str]:
    """Texts of the training files of a corpus folder, in file order."""
    found = []
    for language in languages.split():
        with gzip.open(corpus / f"{language}_train.jsonl.gz", "rt", encoding="utf-8") as lines:
            found += [json.loads(line)["text"] for line in lines]
    return found


def shingles(text: str) -> frozenset[str]:
    """The word shingles of a text, as strings."""
    words = WORD.findall(text.lower())
    size = min(SHINGLE, len(words))
    return frozenset(" ".join(words[i : i + size]) for i in range(len(words) - size + 1)) if words else frozenset()


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """True similarity."""
    shared = len(a & b)
    return shared / max(1, len(a) + len(b) - shared)


# -- near duplicates of a wanted similarity: a kind changes more the higher its strength --------------------------------


def edited(words: list[str], strength: int, chance: random.Random, other: list[str]) -> list[str]:
    """Words replaced here and there."""
    out = list(words)
    for place in chance.sample(range(len(out)), min(strength, len(out))):
        out[place] = chance.choice(other)
    return out


def extended(words: list[str], strength: int, chance: random.Random, other: list[str]) -> list[str]:
    """Words of another text at the end."""
    return words + (other * (1 + strength // len(other)))[:strength]


def reordered(words: list[str], strength: int, chance: random.Random, other: list[str]) -> list[str]:
    """Passages in another order."""
    cuts = sorted(chance.sample(range(1, len(words)), min(strength, len(words) - 1)))
    passages = [words[a:b] for a, b in zip([0, *cuts], [*cuts, len(words)], strict=True)]
    chance.shuffle(passages)
    return [word for passage in passages for word in passage]


def misread(words: list[str], strength: int, chance: random.Random, other: list[str]) -> list[str]:
    """Letters as optical recognition confuses them."""
    out = list(words)
    for place in chance.sample(range(len(out)), min(strength, len(out))):
        letters = [i for i, c in enumerate(out[place]) if c in CONFUSED]
        at = chance.choice(letters or [0])
        out[place] = out[place][:at] + CONFUSED.get(out[place][at], "x") + out[place][at + 1 :]
    return out


def renamed(words: list[str], strength: int, chance: random.Random, other: list[str]) -> list[str]:
    """A form with other names, dates and figures: all occurrences of a name change alike."""
    names = sorted({w for w in words if w[0].isupper() or w[0].isdigit()})
    chance.shuffle(names)
    given = {
        name: str(chance.randrange(10000)) if name[0].isdigit() else "".join(chance.choices(SYLLABLES, k=3)).title()
        for name in names[:strength]
    }
    return [given.get(word, word) for word in words]


KINDS: dict[str, Callable[[list[str], int, random.Random, list[str]], list[str]]] = {
    "edits": edited,
    "added text": extended,
    "passages moved": reordered,
    "OCR noise": misread,
    "other names": renamed,
}


def planted(texts: list[str], each: int, seed: int = 1) -> Iterator[tuple[str, str, str]]:
    """(kind, text, near duplicate): `each` for every kind and band, the similarity as near as the kind allows to one drawn in it."""
    chance = random.Random(seed)
    usable = [text[:5000] for text in texts if len(text.split()) >= 200]
    chance.shuffle(usable)
    for kind, change in KINDS.items():
        for low, high in BANDS:
            for _ in range(each):
                text, other = usable.pop(), usable[chance.randrange(len(usable) - 1)].split()
                words, own, target = text.split(), shingles(text), chance.uniform(low, high)
                least, most, best = 1, len(words), text
                state = chance.random()
                while least <= most:  # the weakest change that brings the similarity down to the target
                    strength = (least + most) // 2
                    best = " ".join(change(words, strength, random.Random(state), other))
                    if jaccard(own, shingles(best)) > target:
                        least = strength + 1
                    else:
                        most = strength - 1
                yield kind, text, best


# -- many documents -----------------------------------------------------------------------------------------------------


class Recombined:
    """Documents of 500 words, five windows of sentences each; one in ten is a near duplicate of an earlier one.

    Document `n` depends on the corpus and on `n` alone. A near duplicate has 1 to 8 words replaced (similarity 0.85 to 0.98).
    """

    def __init__(self, texts: list[str]) -> None:
        self.sentences = [s for text in texts for s in re.split(r"(?<=[.!?;])\s+", text) if 4 <= len(s.split()) <= 80]

    def original(self, n: int) -> list[str]:
        chance = random.Random(n)
        words: list[str] = []
        for window in range(1, 6):
            at = chance.randrange(len(self.sentences) - 30)
            while len(words) < 100 * window:
                words += self.sentences[at].split()
                at += 1
            del words[100 * window :]
        return words

    def __call__(self, n: int) -> tuple[str, str]:
        """(id, text)."""
        chance = random.Random(-n - 1)
        if n % 10 == 9:
            earlier = chance.randrange(n)
            words = self.original(earlier - 1 if earlier % 10 == 9 else earlier)
            for place in chance.sample(range(len(words)), chance.randint(1, 8)):
                words[place] = f"{chance.choice(SYLLABLES)}{chance.choice(SYLLABLES)}"
        else:
            words = self.original(n)
        return hashlib.blake2b(b"%d" % n, digest_size=16).hexdigest(), " ".join(words)


def write(folder: Path, corpus: Path, first: int, last: int, shard: int) -> None:
    """JSONL shards of the recombined documents [first, last), `shard` documents each, written once."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "done").exists():
        return
    recombined = Recombined(read(corpus))
    for number, start in enumerate(range(first, last, shard)):
        with open(folder / f"{number:05d}.jsonl", "w", encoding="utf-8") as lines:
            for n in range(start, min(start + shard, last)):
                identity, text = recombined(n)
                lines.write(json.dumps({"id": identity, "text": text}, ensure_ascii=False) + "\n")
    (folder / "done").touch()
