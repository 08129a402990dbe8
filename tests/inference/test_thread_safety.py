"""Predictions are the same in one thread, in many threads, and in forked and spawned processes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Small
from small_classifiers import classifier_parts
from tiny_models import some_classifier, some_tagger

import nlp_app
from nlp_app.features.subwords import tokenizer
from nlp_app.features.tagging import word_shapes
from nlp_app.inference import Classifier, Tagger
from nlp_app.models import write_model
from nlp_app.text import basic, char

THREADS = 16
KNOWN = ("Anna", "lives", "in", "Rome", "Google", "北京", "good", "phone", "É", "😀", "e\u0301cole")
# With ":torch", on that backend. Without it, our own models are on NumPy, and transformers on torch.
KINDS = (
    "tagger", "tagger:torch", "classifier", "classifier:torch", "stacked", "stacked:torch",
    "bert", "roberta", "xlm-roberta", "transformer_classifier",
)  # fmt: skip
Call = Callable[[list[str]], Any]


def texts_of(count: int) -> list[list[str]]:
    """Lists of one to three texts, each with words that no other has."""
    chosen = random.Random(1)
    return [
        [" ".join([*chosen.sample(KNOWN, 6), f"w{number}", f"{part}Zoë{number}"]) for part in range(number % 3 + 1)]
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory, small: Small) -> Callable[[str], Path]:
    """Where a model of each kind is."""
    place = tmp_path_factory.mktemp("models")
    makers: dict[str, Callable[[], Any]] = {
        "classifier": lambda: classifier_parts("all"),
        "stacked": lambda: classifier_parts("stacked"),
        "transformer_classifier": lambda: some_classifier(place),
        **{
            family: lambda family=family: some_tagger(place, family, "crf")
            for family in ("bert", "roberta", "xlm-roberta")
        },
    }

    def directory(kind: str) -> Path:
        kind = kind.partition(":")[0]
        if kind == "tagger":
            return small.run
        if not (place / kind).exists():
            write_model(makers[kind](), place / kind)
        return place / kind

    return directory


def backend_of(kind: str) -> str:
    return kind.partition(":")[2] or "auto"


def call_of(directory: Path, backend: str) -> Call:
    """A copy of the model that nobody else has, asked for all it can tell."""
    model = nlp_app.load(directory, backend=backend)
    if isinstance(model, Classifier):
        return lambda texts: (model.classify(texts), model.probabilities(texts).tolist())
    return lambda texts: (model.tag(texts), model.tag_tokens([text.split() for text in texts]))


def wrong_in_threads(call: Call, jobs: list[list[str]], expected: list[Any]) -> list[int]:
    """The jobs of which some thread found something else, all threads at once, each in an order of its own."""
    wrong: list[int] = []
    done = [0] * THREADS
    start = threading.Barrier(THREADS)

    def work(thread: int) -> None:
        order = random.Random(thread).sample(range(len(jobs)), len(jobs))
        start.wait()
        for number in order:
            if call(jobs[number]) != expected[number]:
                wrong.append(number)
            done[thread] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert done == [len(jobs)] * THREADS
    return wrong


@pytest.mark.parametrize("kind", KINDS)
def test_threads_give_the_results_of_one_thread(directories: Callable[[str], Path], kind: str) -> None:
    jobs = texts_of(25)
    alone = call_of(directories(kind), backend_of(kind))
    expected = [alone(job) for job in jobs]
    for table in (basic._table, char._table):
        table.cache_clear()  # which threads fill together
    assert wrong_in_threads(call_of(directories(kind), backend_of(kind)), jobs, expected) == []


@pytest.mark.parametrize("kind", ["tagger", "tagger:torch", "roberta"])
def test_threads_with_small_caches(
    directories: Callable[[str], Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = texts_of(25)
    alone = call_of(directories(kind), backend_of(kind))
    expected = [alone(job) for job in jobs]
    monkeypatch.setattr(word_shapes, "_TABLE_SIZE", 20)
    monkeypatch.setattr(tokenizer, "_MAX_CACHED_FORMS", 20)
    assert wrong_in_threads(call_of(directories(kind), backend_of(kind)), jobs, expected) == []


# A parent whose torch has used all its threads, and children by both ways. Results of one and of two threads of torch
# may differ in the last digit of a score.
PROCESSES = """
import multiprocessing, sys
import torch
import nlp_app

TEXTS = ["Anna lives in Rome and works for Google", "北京 good phone", "new words: qx qy"] * 50

def essence(found):
    return [[(s.start, s.end, s.label) for s in f] if isinstance(f, list) else f.label for f in found]

def ask(model):
    return essence(model.tag(TEXTS) if hasattr(model, "tag") else model.classify(TEXTS))

def forked(queue):
    queue.put((ask(MODEL), torch.get_num_threads()))

def spawned(path, backend, queue):
    queue.put((ask(nlp_app.load(path, backend=backend)), None))

if __name__ == "__main__":
    path, backend = sys.argv[1:]
    torch.set_num_threads(2)
    MODEL = nlp_app.load(path, backend=backend)
    expected = ask(MODEL)
    (torch.randn(500, 500) @ torch.randn(500, 500)).exp().sum()
    for method, target, given in (("fork", forked, ()), ("spawn", spawned, (path, backend))):
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        children = [context.Process(target=target, args=(*given, queue)) for _ in range(2)]
        for child in children:
            child.start()
        try:
            answers = [queue.get(timeout=900) for _ in children]
        finally:
            for child in children:
                child.join(5)
                child.kill()
        assert all(found == expected for found, _ in answers), method
        if method == "fork":
            assert [threads for _, threads in answers] == [1, 1]
    assert ask(MODEL) == expected
    assert torch.get_num_threads() == 2
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("kind", ["tagger", "tagger:torch", "classifier", "classifier:torch", "roberta"])
def test_forked_and_spawned_processes_give_the_same_results(
    directories: Callable[[str], Path], kind: str, tmp_path: Path
) -> None:
    script = tmp_path / "processes.py"
    script.write_text(PROCESSES, encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": str(Path(nlp_app.__file__).parents[1])}
    command = [sys.executable, script, directories(kind), backend_of(kind)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
@pytest.mark.parametrize("kind", ["tagger", "tagger:torch", "classifier", "classifier:torch", "roberta"])
def test_memory_stays_flat(directories: Callable[[str], Path], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here with small tables and fewer calls; in full in `benchmarks/steadiness.py`."""
    monkeypatch.setattr(word_shapes, "_TABLE_SIZE", 500)
    monkeypatch.setattr(tokenizer, "_MAX_CACHED_FORMS", 500)
    call = call_of(directories(kind), backend_of(kind))
    for number in range(300):
        call([f"Anna lives in w{number} {number}é x{number}y and {'long' * 20}{number}"])
    before = resident()
    for number in range(300, 800):
        call([f"Anna lives in w{number} {number}é x{number}y and {'long' * 20}{number}"])
    assert resident() - before < 4


def resident() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_a_tagger_is_ready_for_threads(tagger: Tagger) -> None:
    """Nothing of the tag set is left to be computed, with a lock that a fork could copy while it is held."""
    tag_set = Tagger(type(tagger.parts)(**vars(tagger.parts))).parts.tag_set
    assert {"tags", "boundaries", "_written"} <= vars(tag_set).keys()
