"""What people and log files are told while a run goes on."""

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.result import StageResult
from flows.progress import JsonlObserver, Lines, Live, Observers, Pace, Whole, line, span, watcher

RAN = StageResult("extract", "ran", documents_in=512, kept=498, rejected=10, failed=4, calls=512, seconds=75.2)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def follow(observer, clock, total=100, step=1.0):
    observer.started("extract", total, ["100 new documents"])
    for done in range(total):
        clock.now += step
        observer.advanced("extract", done + 1, total, "")
    observer.ended(RAN)


def test_without_a_terminal_a_line_comes_at_most_every_five_seconds_with_rate_and_time_left():
    clock, stream = Clock(), io.StringIO()
    follow(Lines(["extract", "prose"], stream=stream, clock=clock), clock)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "extract: 100 documents to measure (100 new documents)"
    assert len(lines) == 2 + 100 // 5
    assert lines[1] == "extract: 5 of 100, 1.0/s, 1 min 35 s left; run 2%, about 3 min 15 s left"
    assert lines[-1] == line(RAN)
    assert "\x1b" not in stream.getvalue()


def test_on_a_terminal_the_stage_and_the_whole_run_are_shown_and_one_line_stays_per_stage():
    clock, stream = Clock(), Terminal()
    observer = watcher(["extract", "prose"], stream=stream)
    assert isinstance(observer, Live)
    observer = Live(["extract", "prose"], stream=stream, clock=clock)
    follow(observer, clock, total=20)
    observer.say("One sentence.")
    observer.ended(StageResult("prose", "cached", documents_in=498, kept=498))
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "10 of 20, 1.0/s, 10.0 s left" in shown and "run 0/2" in shown and "about" in shown
    assert shown.count(line(RAN)) == 1 and "One sentence." in shown
    assert stream.getvalue().count("\x1b[?25h") == 1, "the cursor is given back"


def test_a_stream_that_is_no_terminal_gets_lines():
    assert isinstance(watcher(["extract"], stream=io.StringIO()), Lines)


def test_the_line_of_a_stage_that_is_over_says_what_happened():
    assert line(RAN) == "extract      ran            512 in       498 kept      10 rejected     4 failed  512 calls  1 min 15 s"
    assert line(StageResult("sft", "skipped", ["no chat documents"])) == "sft          skipped  no chat documents"
    assert line(StageResult("pretrain", "failed", ["disk full"], unit="artifact")).endswith("(disk full)")


def test_the_log_file_holds_one_json_object_a_line_and_a_limited_number_of_them(tmp_path):
    clock, path = Clock(), tmp_path / "runs" / "1" / "log.jsonl"
    follow(JsonlObserver(path, clock=clock), clock)
    entries = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    assert [entry["event"] for entry in entries] == ["started", *["advanced"] * 20, "ended"]
    assert entries[-1]["stage"] == "extract" and entries[-1]["in"] == 512 and entries[-1]["seconds"] == 75.2


def test_several_observers_see_the_same_and_a_sentence_reaches_those_who_can_show_it(tmp_path):
    class Deaf:
        def __init__(self):
            self.seen = []

        def started(self, *a):
            self.seen.append("started")

        def advanced(self, *a):
            self.seen.append("advanced")

        def ended(self, *a):
            self.seen.append("ended")

    clock, stream, deaf = Clock(), io.StringIO(), Deaf()
    many = Observers(deaf, None, Lines(["extract"], stream=stream, clock=clock))
    follow(many, clock, total=1)
    many.say("Hello.")
    many.close()
    assert deaf.seen == ["started", "advanced", "ended"]
    assert stream.getvalue().splitlines()[-1] == "Hello."


@given(st.lists(st.floats(0.01, 50), min_size=1, max_size=40))
def test_the_time_left_is_never_negative_and_the_share_stays_within_one(steps):
    clock = Clock()
    pace = Pace(clock)
    for done, step in enumerate(steps, 1):
        clock.now += step
        pace.mark(done, len(steps))
        assert 0 <= pace.share <= 1 and (pace.left is None or pace.left >= 0)
    assert pace.share == 1 and (pace.left is None or pace.left == 0)


def test_the_whole_run_weighs_stages_by_the_seconds_they_took_last_time():
    clock = Clock()
    whole = Whole(["extract", "pretrain"], {"extract": 10.0, "pretrain": 90.0}, clock)
    clock.now += 20
    whole.end(RAN)
    assert whole.share("pretrain", 0.0) == pytest.approx(0.1)
    assert whole.left("pretrain", 0.0) == pytest.approx(180.0), "twice as slow as last time"


def test_cached_stages_do_not_make_the_rest_look_fast():
    clock = Clock()
    whole = Whole(["ingest", "extract", "prose"], clock=clock)
    clock.now += 0.01
    whole.end(StageResult("ingest", "cached"))
    assert whole.left("extract", 0.0) is None
    assert whole.share("extract", 0.0) == pytest.approx(1 / 3)


@pytest.mark.parametrize(("seconds", "says"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (245, "4 min 05 s"), (7800, "2 h 10 min")])
def test_spans_of_time_are_written_for_people(seconds, says):
    assert span(seconds) == says
