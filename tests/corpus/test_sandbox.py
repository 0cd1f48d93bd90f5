"""The sandbox: one poison document costs itself, nothing else."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time

import pyarrow as pa
import pytest
from toys import NothingConfig

from corpus.outcome import Stop, kept
from corpus.sandbox import measure_all, usage
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


def test_workers_die_with_their_parent():
    code = (
        "import sys; sys.path[:0] = ['tests', '.']\n"
        "from test_sandbox import STAGE, Inputs\n"
        "from corpus.sandbox import Worker\n"
        "w = Worker(STAGE, Inputs(), 'measure', 0)\n"
        "w.pipe.recv(); w.give([{'id': '1', 'text': 'spin'}]); print(w.process.pid, flush=True)\n"
        "import time; time.sleep(60)"
    )
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([os.path.dirname(__file__), *sys.path]))
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    child = int(parent.stdout.readline())
    assert usage(child)[1] > 0
    parent.kill()
    parent.wait()
    for _ in range(50):
        if usage(child) == (0.0, 0):
            break
        time.sleep(0.1)
    assert usage(child) == (0.0, 0)
