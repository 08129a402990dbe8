"""The backends numpy and torch compared: start, memory, single texts, many texts, and their results.

    python benchmarks/runtime.py MODEL FILE

MODEL is the directory of a tagger or a classifier that is no transformer, FILE a labeled file for it. One thread, CPU
seconds. The backends take turns, so that a busy machine slows both; the least (start) or the median (texts) is shown.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

import nlp_app
from nlp_app.formats import tagging
from nlp_app.formats.classification import ClassReadOptions, open_classes
from nlp_app.formats.tagging.options import ReadOptions
from nlp_app.models import read_description

BACKENDS = ("torch", "numpy")
START = {
    "command": "from nlp_app.cli import main; import sys; sys.argv[0] = 'nlp-app'; main()",
    "load": "import nlp_app, sys; model = nlp_app.load(sys.argv[1], backend=sys.argv[2]); "
    "print(model.tag('Anna lives in Rome') if isinstance(model, nlp_app.Tagger) else model.classify('Where is it?'))",
    "import numpy": "import numpy",
}


def start(code: str, *arguments: str) -> tuple[float, float]:
    """CPU seconds and resident MB of a process."""
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{code}: ended with status {status}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def show_starts(model: str, command: str, runs: int) -> None:
    """Start processes that predict one text."""
    for what, code in START.items():
        best: dict[str, tuple[float, float]] = {}
        for _ in range(runs):
            for backend in BACKENDS if what != "import numpy" else ("numpy",):
                arguments = (command, model, "Anna lives in Rome", "--backend", backend)
                found = start(code, *(arguments if what == "command" else (model, backend)))
                best[backend] = min(best.get(backend, found), found)
        print(f"start, {what}: " + ", ".join(f"{name} {s:.3f} s {mb:.0f} MB" for name, (s, mb) in best.items()))


def medians(calls: Sequence[Callable[[Any], object]], inputs: Sequence[Any]) -> list[float]:
    """Median CPU seconds of each call over the inputs, in turns."""
    times: list[list[float]] = [[] for _ in calls]
    for one in inputs:
        for call, found in zip(calls, times, strict=True):
            begin = time.thread_time()
            call(one)
            found.append(time.thread_time() - begin)
    return [statistics.median(found) for found in times]


def compare_taggers(models: Sequence[Any], sentences: list[list[str]]) -> None:
    """Speed and results of two taggers."""
    torch_model, numpy_model, auto = models
    alone = [numpy_model.tag_tokens([sentence])[0] for sentence in sentences]
    batched, expected = numpy_model.tag_tokens(sentences), torch_model.tag_tokens(sentences)
    same = sum(a == b == c for a, b, c in zip(alone, batched, expected, strict=True))
    pairs = zip(numpy_model.scored_spans(sentences), torch_model.scored_spans(sentences), strict=True)
    gaps = [abs(a - b) for ours, theirs in pairs for (_, a), (_, b) in zip(ours, theirs, strict=True)]
    print(f"paths: {same} of {len(sentences)} equal; scores of spans: {max(gaps, default=0.0):.1e} apart at most")
    single = [[sentence] for sentence in sentences[:500]]
    one, other = medians([torch_model.tag_tokens, numpy_model.tag_tokens], single)
    print(f"a sentence: torch {1e3 * one:.3f} ms, numpy {1e3 * other:.3f} ms, {other / one:.2f}")
    texts = [" ".join(sentence) for sentence in sentences[:500]]
    one, other = medians([torch_model.tag, numpy_model.tag], texts)
    print(f"a text to spans: torch {1e3 * one:.3f} ms, numpy {1e3 * other:.3f} ms, {other / one:.2f}")
    many = sentences * (1 + 120_000 // sum(map(len, sentences)))
    calls = {
        "torch": lambda: torch_model.tag_tokens(many),
        "numpy": lambda: numpy_model.tag_tokens(many),
        "auto": lambda: auto.tag_tokens(many),
    }
    show_rates(calls, sum(map(len, many)), "tokens")


def compare_classifiers(models: Sequence[Any], texts: list[str]) -> None:
    """Speed and results of two classifiers."""
    torch_model, numpy_model, auto = models
    expected, found = torch_model.probabilities(texts), numpy_model.probabilities(texts)
    same = int((expected.argmax(1) == found.argmax(1)).sum())
    print(f"classes: {same} of {len(texts)} equal; probabilities: {np.abs(expected - found).max():.1e} apart at most")
    one, other = medians([torch_model.classify, numpy_model.classify], texts[:500])
    print(f"a text: torch {1e3 * one:.3f} ms, numpy {1e3 * other:.3f} ms, {other / one:.2f}")
    many = texts * (1 + 500_000 // sum(map(len, texts)))
    calls = {
        "torch": lambda: torch_model.classify(many),
        "numpy": lambda: numpy_model.classify(many),
        "auto": lambda: auto.classify(many),
    }
    show_rates(calls, len(many), "texts")


def show_rates(calls: dict[str, Callable[[], object]], size: int, unit: str) -> None:
    """Units per CPU second of each call, the best of 4 in turns."""
    best: dict[str, float] = {}
    for _ in range(4):
        for name, call in calls.items():
            begin = time.process_time()
            call()
            best[name] = min(best.get(name, np.inf), time.process_time() - begin)
    print(f"{size:,} {unit} in a call: " + ", ".join(f"{name} {size / s:,.0f} a s" for name, s in best.items()))


def main() -> None:
    """Parse the arguments and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("file")
    parser.add_argument("--runs", type=int, default=5, help="processes started for each backend")
    arguments = parser.parse_args()
    is_tagger = read_description(Path(arguments.model))["task"] == "ner"
    # Before models are loaded: a child's largest memory includes what this process had when it started the child.
    show_starts(arguments.model, "tag" if is_tagger else "classify", arguments.runs)
    models = [nlp_app.load(arguments.model, backend=backend) for backend in (*BACKENDS, "auto")]
    if is_tagger:
        records = tagging.read(Path(arguments.file), None, ReadOptions())
        compare_taggers(models, [list(record.tokens) for record in records if record.tokens])
    else:
        compare_classifiers(models, [record.text for record in open_classes(arguments.file, ClassReadOptions())])


if __name__ == "__main__":
    main()
