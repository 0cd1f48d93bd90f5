"""Boilerplate leaves every document but one, quotations stay, and who came first does not matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import toys
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.engine import Engine
from corpus.outcome import Outcome
from corpus.stage import Inputs
from corpus.view import ViewReader
from corpus.workspace import Workspace
from filters.dedup.paragraphs import STAGE, ParagraphsConfig, elect, measure, text

BANNER = "Questo sito usa i cookie per offrirti un servizio migliore."
LAW = "Chiunque cagiona ad altri un danno ingiusto è tenuto al risarcimento del danno."


def nothing(ids: list[str]) -> list[str]:
    raise AssertionError("paragraphs needs no text to decide")


def elected(texts: dict[str, str], places: dict[str, str] | None = None, **given_: Any) -> dict[str, Outcome]:
    config = ParagraphsConfig(**given_)
    one = measure(config, Inputs())
    rows = [{"id": id, "source": (places or {}).get(id, "raw"), **one({"id": id, "text": t})} for id, t in texts.items()]
    schema = pa.schema([("id", pa.string()), ("source", pa.string()), ("keys", pa.list_(pa.uint64()))])
    return dict(zip(texts, elect(config, pa.Table.from_pylist(rows, schema=schema), nothing), strict=True))


def page(n: int, *more: str) -> str:
    return "\n".join([f"Pagina {n}", f"Il capitolo numero {n} parla della città e del suo porto antico.", *more])


def test_a_banner_leaves_every_page_but_the_first_by_id() -> None:
    pages = {f"{n:03}": page(n, BANNER.upper() if n % 2 else BANNER) for n in range(30)}
    found = elected(pages)
    assert found["000"].fields == {} and all(o.status == "kept" for o in found.values())
    assert {id for id, o in found.items() if (o.reason, o.value, o.fields) == ("boilerplate_cut", 1, {"cut": "2"})} == set(pages) - {"000"}
    assert text(ParagraphsConfig(), {"cut": "2"}, pages["001"]) == page(1)


def test_a_law_quoted_in_ten_rulings_is_no_boilerplate() -> None:
    assert not any(o.fields for o in elected({f"{n:03}": page(n, LAW if n < 10 else "") for n in range(40)}).values())


def test_a_source_has_its_own_number_and_counts_for_itself() -> None:
    pages = {f"{n:03}": page(n, BANNER) for n in range(24)}
    sources = {id: "leggi" if int(id) < 12 else "web" for id in pages}
    assert not any(o.fields for o in elected(pages, sources).values()), "twelve in each source are too few"
    found = elected(pages, sources, sources={"we*": 12})
    assert {id for id, o in found.items() if o.fields} == {id for id in pages if sources[id] == "web" and id != "012"}
    assert not any(o.fields for o in elected(pages, sources={"raw": 0}).values())


def test_what_holds_nothing_else_is_rejected_with_the_count() -> None:
    pages = {f"{n:03}": page(n, BANNER) for n in range(30)} | {"999": f"Menu\n{BANNER}"}
    got = elected(pages)["999"]
    assert (got.status, got.reason, got.value, got.threshold) == ("rejected", "only_boilerplate", 1, 20)


def test_a_share_of_a_large_source_is_asked_for() -> None:
    pages = {f"{n:04}": page(n, BANNER if n < 25 else "") for n in range(500)}
    assert not any(o.fields for o in elected(pages, min_share=0.06).values())
    assert sum(bool(o.fields) for o in elected(pages, min_share=0.05).values()) == 24


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=6), min_size=1, max_size=12), st.integers(2, 4), st.randoms())
def test_lines_in_enough_documents_stand_in_one_in_any_order(documents: list[list[str]], least: int, shuffle: Any) -> None:
    texts = {f"{n:02}": "\n".join(f"la riga {word} di molte parole" for word in words) for n, words in enumerate(documents)}
    order = list(texts)
    shuffle.shuffle(order)
    found = elected({id: texts[id] for id in order}, min_documents=least, min_share=0.0)
    assert found == elected(texts, min_documents=least, min_share=0.0)
    for word in "abcdef":
        line = f"la riga {word} di molte parole"
        holders = [id for id, t in texts.items() if line in t.split("\n")]
        after = {id: text(ParagraphsConfig(), o.fields, texts[id]) if o.fields else texts[id] for id, o in found.items()}
        left = [id for id in holders if found[id].status == "kept" and line in after[id].split("\n")]
        assert left == (holders if len(holders) < least else [i for i in holders[:1] if found[i].status == "kept"])


def test_through_the_engine_texts_and_hashes_follow_the_set(tmp_path: Path) -> None:
    way = (toys.INGEST, toys.READ, STAGE.with_config(ParagraphsConfig(min_documents=4)))
    raw = tmp_path / "raw"
    raw.mkdir()
    for n in range(5):
        (raw / f"{n}.txt").write_text(page(n, BANNER))

    def run(workspace: Workspace) -> tuple[Any, ViewReader]:
        result = Engine(workspace, way, workers=0, allow_removals=True).run()[-1]
        return result, ViewReader(workspace.store, result.folder)

    workspace = Workspace.create(tmp_path / "ws")
    workspace.add_source(raw)
    first, view = run(workspace)
    texts = {d["id"]: d["text"] for d in view.documents("text")}
    assert sum(BANNER in t for t in texts.values()) == 1 and first.kept == 5
    (raw / "0.txt").unlink()
    (raw / "1.txt").unlink()
    second, view = run(workspace)
    assert second.calls == 0 and all(BANNER in d["text"] for d in view.documents("text")), "three are no longer enough"
    (raw / "9.txt").write_text(page(9, BANNER))
    third, view = run(workspace)
    assert third.calls == 1 and sum(BANNER in d["text"] for d in view.documents("text")) == 1
    other = Workspace.create(tmp_path / "other")
    other.add_source(raw)
    assert run(other)[1].digest == view.digest
