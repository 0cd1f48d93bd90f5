"""The report: one file that stands alone, says what happened, and holds nothing from before redaction."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser

import house
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.workspace import Workspace
from flows import report, results
from flows import report_html as h

EMPTY = {"meta"}


class Balanced(HTMLParser):
    """Raises where a tag is closed that is not the open one; collects attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(page: str) -> Balanced:
    parser = Balanced()
    parser.feed(page)
    parser.close()
    assert not parser.open
    return parser


@pytest.fixture
def home(tmp_path, monkeypatch, capsys):
    found = house.build(tmp_path, monkeypatch, capsys)
    assert found.run()[0] == 0
    return found


@pytest.fixture
def run(home):
    return Workspace.open(home.workspace).latest_run()


def test_a_run_leaves_a_report_and_the_command_writes_it_again_byte_for_byte(home, run, tmp_path):
    first = (run.path / "report.html").read_bytes()
    code, out, _ = home.call("report", run.id, "-w", home.workspace, "-o", tmp_path / "again.html")
    assert code == 0 and out.strip() == str(tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == first


def test_it_tells_every_stage_its_reasons_and_the_failures(run):
    text = " ".join(parsed(report.page(run)).text)
    for word in (*run.stages, "too_short", "no_name_model", "malformed", "veleno.txt", "a poison document", "PERSONA"):
        assert word in text
    assert "5 files hold 5 different documents" in text


def test_it_fetches_nothing_and_runs_nothing(run):
    page = report.page(run)
    found = parsed(page)
    assert "<script" not in page and "url(" not in page and "@import" not in page
    assert all(not (name in ("src", "href") and not (value or "").startswith("#")) for name, value in found.attributes)
    assert not any(name.startswith("on") for name, _ in found.attributes)


def test_it_holds_nothing_from_before_redaction(run):
    page = report.page(run)
    config = page.index("Configuration of this run")
    for words in ("Mario", "die Katze", "abita"):
        assert words not in page[:config]


def test_samples_and_curves_are_drawn_and_escaped(run):
    folder = run.workspace.store / run.stage("vocabulary")["folder"]
    (folder / "samples.md").write_text(
        "# Samples\n\n## sft\n\n> **Chi sei?**\n> \n> <script>perché no</script>\n\n## pretrain\n\n> **C'era** una volta\n"
    )
    lines = [{"step": i, "loss": 5 / i} for i in range(1, 900)] + [{"step": 900, "val_bpb": 2.0}]
    (folder / "loss.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 901, "lo')
    assert [s["kind"] for s in results.samples(run)] == ["sft", "pretrain"]
    assert results.samples(run)[1] == {"prompt": "C'era", "text": " una volta", "kind": "pretrain"}
    page = report.page(run)
    assert "&lt;script&gt;perché no" in page and "<script" not in page
    assert len(re.search(r'<polyline class="l0" points="([^"]*)"', page)[1].split()) <= 400
    parsed(page)


def test_what_is_no_longer_in_the_store_is_left_out(run):
    shutil.rmtree(run.workspace.store / run.stage("length")["folder"])
    shutil.rmtree(run.workspace.store / run.stage("vocabulary")["folder"])
    assert "too_short" in report.page(run)


def test_a_folder_that_is_not_there_is_a_mistake(home):
    code, _, err = home.call("report", "-w", home.workspace, "-o", home.workspace / "none" / "x.html")
    assert code == 2 and "There is no folder" in err


def test_there_is_no_report_of_an_unknown_run(home):
    code, _, err = home.call("report", "yesterday", "-w", home.workspace)
    assert code == 2 and "There is no run 'yesterday'" in err


@given(st.lists(st.floats(0, 1e12), max_size=60))
def test_a_histogram_counts_every_positive_value(values):
    drawing = h.histogram(values, "characters", "lengths")
    counts = [int(n.replace(",", "")) for n in re.findall(r'<text class="mid soft"[^>]*>([\d,]+)</text>', drawing)]
    assert sum(counts) == sum(v > 0 for v in values)


@given(st.text())
def test_escaped_text_is_text(text):
    cell = h.table(("a",), [(text,)])
    assert parsed(cell).text[1:] == ([h._CONTROL.sub("\ufffd", text)] if text else [])


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(allow_nan=True, allow_infinity=True, width=16)), max_size=30))
def test_curves_of_any_numbers_are_drawn(points):
    drawing = h.curves({"loss": sorted(points, key=lambda p: p[0])}, "loss")
    assert "nan" not in drawing.replace("name", "") and "inf" not in drawing
