"""The shuffle: the order is a function of the set, whatever the buckets, and a budget takes the first rows of it."""

from __future__ import annotations

import tempfile
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.shuffle import KEYS, Shuffle, key_of

SCHEMA = pa.schema([*KEYS, pa.field("text", pa.string())])
ROWS = st.dictionaries(st.integers(0, 200).map(str), st.text("abè", max_size=20), min_size=1, max_size=60)


def shuffled(rows, seed=0, budget=float("inf"), bucket=1 << 20, batch=1000):
    """(ids, ids that were wanted) as they come out."""
    made = [{"key": key_of(seed, i), "id": i, "n_bytes": len(t.encode()), "text": t} for i, t in rows]
    with tempfile.TemporaryDirectory() as folder:
        shuffle = Shuffle(Path(folder) / "s", SCHEMA, budget, bucket)
        for start in range(0, len(made), batch):
            shuffle.add(pa.Table.from_pylist(made[start : start + batch], schema=SCHEMA))
        wanted = {row["id"] for row in made if shuffle.wants(row["key"])}
        out = [row for table in shuffle.tables() for row in table.to_pylist()]
        assert not [f for f in Path(folder).rglob("*.arrow") if budget == float("inf")], "what was handed out leaves the disk"
    texts = dict(rows)
    assert all(texts[row["id"]] == row["text"] for row in out)
    return [row["id"] for row in out], wanted


@settings(deadline=None, max_examples=50)
@given(ROWS, st.integers(0, 3), st.randoms(), st.sampled_from([1, 7, 40, 1 << 20]), st.integers(1, 9))
def test_the_order_is_that_of_the_hash_whatever_came_first_and_however_small_the_buckets(rows, seed, random, bucket, batch):
    mixed = list(rows.items())
    random.shuffle(mixed)
    assert shuffled(mixed, seed, bucket=bucket, batch=batch)[0] == sorted(rows, key=lambda i: (key_of(seed, i), i))


@settings(deadline=None, max_examples=50)
@given(ROWS, st.floats(0, 300), st.sampled_from([1, 30, 1 << 20]), st.integers(1, 9))
def test_a_budget_takes_the_first_rows_that_fit_and_drops_only_what_lies_behind(rows, budget, bucket, batch):
    order = sorted(rows, key=lambda i: (key_of(0, i), i))
    totals = accumulate(len(rows[i].encode()) for i in order)
    first = [i for i, total in zip(order, totals, strict=True) if total <= budget]
    found, wanted = shuffled(list(rows.items()), budget=budget, bucket=bucket, batch=batch)
    assert found == first and set(first) <= wanted


def test_another_seed_is_another_order():
    rows = [(str(n), "testo") for n in range(100)]
    one, other = shuffled(rows, 1)[0], shuffled(rows, 2)[0]
    assert sorted(one) == sorted(other) and one != other != [i for i, _ in rows]
