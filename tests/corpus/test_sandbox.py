"""The sandbox: one poison document costs itself, nothing else."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
import time

import pyarrow as pa
import pytest
from toys import NothingConfig

from corpus.config import how
from corpus.outcome import Stop, kept
from corpus.processes import usage
from corpus.sandbox import limits, measure_all
from corpus.stage import DocumentStage, Inputs


def troubled(config, inputs):
    def one(document):
        text = document["text"]
        if text == "spin":
            while True:
                pass
        if text == "hoard":
            return {"n": len(bytearray(6 << 30))}
        if text == "grow":
            hoard = []
            while True:
                hoard.append(bytearray(8 << 20))
        if text == "die":
            os.kill(os.getpid(), 11)
        if text == "raise":
            raise ValueError("secret name inside")
        return {"n": len(text)}

    return one


def unable(config, inputs):
    raise Stop("the model is missing")


def everything(config, m):
    return kept()


STAGE = DocumentStage(
    name="troubled",
    version=1,
    config=NothingConfig(),
    measures=pa.schema([("n", pa.int64())]),
    measure=troubled,
    decide=everything,
    deadline=1.0,
    memory=1 << 30,
)


def measured(texts, workers=2):
    documents = [{"id": str(i), "text": t} for i, t in enumerate(texts)]
    return {d["text"]: said for d, said in measure_all(STAGE, Inputs(), iter(documents), len(documents), workers)}


def test_only_the_poison_documents_are_marked_each_with_its_limit():
    texts = [f"fine {n}" for n in range(12)]
    said = measured([*texts[:4], "spin", *texts[4:8], "hoard", "die", "raise", *texts[8:]])
    assert all(said[t][0] == "ok" for t in texts)
    assert said["spin"][:2] == ("circumstance", "deadline")
    assert said["hoard"][:2] == ("circumstance", "memory")
    assert said["die"][:2] == ("circumstance", "worker_died") and "SIGSEGV" in said["die"][2]
    assert said["raise"][:2] == ("verdict", "error") and "ValueError" in said["raise"][2] and "secret" not in said["raise"][2]


def echoing(config, inputs):
    return lambda document: {"n": list(range(len(document["text"]) // 8))}


def test_large_documents_and_large_answers_do_not_wait_for_each_other():
    stage = dataclasses.replace(STAGE, measure=echoing, deadline=60.0)
    documents = [{"id": str(n), "text": "x" * 700_000} for n in range(24)]
    answers = [said for _, said in measure_all(stage, Inputs(), iter(documents), len(documents), 1)]
    assert [said[0] for said in answers] == ["ok"] * 24 and all(len(said[1]["n"]) == 87_500 for said in answers)


def test_a_stage_that_cannot_start_stops_the_run_with_its_sentence():
    stage = dataclasses.replace(STAGE, measure=unable)
    with pytest.raises(Stop, match="the model is missing"):
        list(measure_all(stage, Inputs(), iter([{"id": "1", "text": "x"}]), 1, 1))


def test_workers_die_with_their_parent_and_what_they_started_too():
    code = (
        "import sys; sys.path[:0] = ['tests', '.']\n"
        "import dataclasses, time\n"
        "from test_sandbox import STAGE, Inputs, busy\n"
        "from corpus.processes import descendants\n"
        "from corpus.sandbox import Worker\n"
        "w = Worker(dataclasses.replace(STAGE, measure=busy), Inputs(), 'measure', 0)\n"
        "w.pipe.recv(); w.give([{'id': '1', 'text': 'burn'}])\n"
        "while not descendants(w.process.pid): time.sleep(0.01)\n"
        "print(w.process.pid, *descendants(w.process.pid), w._folder, flush=True)\n"
        "time.sleep(60)"
    )
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([os.path.dirname(__file__), *sys.path]))
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    child, grandchild, *_, folder = parent.stdout.readline().decode().split()
    assert usage(int(child))[1] > 0 and usage(int(grandchild))[1] > 0 and os.path.isdir(folder)
    parent.kill()
    parent.wait()
    for _ in range(50):
        if usage(int(child)) == usage(int(grandchild)) == (0.0, 0):
            break
        time.sleep(0.1)
    assert usage(int(child)) == usage(int(grandchild)) == (0.0, 0) and not os.path.exists(folder)


def busy(config, inputs):
    """Starts programs that burn CPU, hoard memory together or stay behind."""
    programs = {
        "burn": "while True: pass",
        "hoard": "import time; b = b'x' * (200 << 20); time.sleep(60)",
        "stay": "import time; time.sleep(60)",
    }

    def one(document):
        text = document["text"]
        if text in programs:
            children = [subprocess.Popen([sys.executable, "-c", programs[text]], start_new_session=text == "stay") for _ in range(2)]
            if text == "stay":
                return {"n": children[0].pid}
            children[0].wait()
        if text == "orphan":  # its parent ends at once
            code = "import subprocess; print(subprocess.Popen(['sleep', '60'], stdout=-3, stderr=-3).pid)"
            return {"n": int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)}
        if text == "file":
            return {"n": len(tempfile.mkstemp()[1])}
        if text == "die":
            os.kill(os.getpid(), 11)
        return {"n": os.getpid()}

    return one


def test_a_program_that_a_document_starts_counts_towards_its_limits_and_ends_with_it():
    stage = dataclasses.replace(STAGE, measure=busy, memory=300 << 20)
    texts = ["fine 1", "stay", "orphan", "burn", "fine 2", "hoard", "fine 3"]
    documents = [{"id": str(i), "text": t} for i, t in enumerate(texts)]
    said = {d["text"]: said for d, said in measure_all(stage, Inputs(), iter(documents), len(documents), 1)}
    assert said["burn"][:2] == ("circumstance", "deadline")
    assert said["hoard"][:2] == ("circumstance", "memory")
    assert all(said[t][0] == "ok" for t in ("fine 1", "fine 2", "fine 3", "stay", "orphan"))
    assert usage(said["stay"][1]["n"]) == usage(said["orphan"][1]["n"]) == (0.0, 0)


def test_temporary_files_of_a_worker_go_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    stage = dataclasses.replace(STAGE, measure=busy)
    documents = [{"id": str(i), "text": t} for i, t in enumerate(["file", "die", "file"])]
    said = [said for _, said in measure_all(stage, Inputs(), iter(documents), 3, 1)]
    assert said[0][1]["n"] > len(str(tmp_path)) and not list(tmp_path.iterdir())


LEAKED = []


def leaking(config, inputs):
    def one(document):
        LEAKED.append(bytearray(b"x") * (48 << 20))
        return {"n": os.getpid()}

    return one


def test_a_worker_that_documents_left_full_of_memory_retires_and_nobody_is_marked():
    stage = dataclasses.replace(STAGE, measure=leaking, memory=400 << 20)
    documents = [{"id": str(n), "text": "x"} for n in range(40)]
    answers = list(measure_all(stage, Inputs(), iter(documents), len(documents), 2))
    assert sorted(d["id"] for d, _ in answers) == sorted(d["id"] for d in documents)
    assert {said[0] for _, said in answers} == {"ok"} and len({said[1]["n"] for _, said in answers}) > 4


@dataclasses.dataclass(frozen=True)
class Limited:
    deadline: float = how(0.5, "CPU seconds")
    memory: int = how(1 << 30, "bytes")


def test_limits_are_settings_without_identity_where_the_config_has_them():
    assert limits(STAGE) == (1.0, 1 << 30)
    stage = dataclasses.replace(STAGE, config=Limited(deadline=0.25))
    assert limits(stage) == (0.25, 1 << 30)
    assert stage.identity() == dataclasses.replace(STAGE, config=Limited()).identity()


def exiting(config, inputs):
    return lambda document: sys.exit(3)


def test_a_library_that_exits_is_a_verdict_on_its_document():
    stage = dataclasses.replace(STAGE, measure=exiting)
    ((_, said),) = measure_all(stage, Inputs(), iter([{"id": "1", "text": "x"}]), 1, 1)
    assert said[:2] == ("verdict", "error") and "SystemExit" in said[2]
