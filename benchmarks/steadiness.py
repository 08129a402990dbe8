"""Whether a model stays the same and its memory flat however often and by however many threads it is called.

    python benchmarks/steadiness.py MODEL... [--calls 100000] [--threads 16]

MODEL is a directory of a tagger or a classifier. Three cases, each in a process of its own, every call with one text:

- few words: one thread, the same few words in every order;
- new words: one thread, ten words in each text that no text before had, so that whatever is remembered of words has to
  be forgotten again;
- threads: all threads at once on one model, half of the words new; a mismatch is a result that isn't, to the last bit,
  what one thread found in another copy of the model.

MB: resident memory after a warm-up (a third of the calls), at the end, and the highest between.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import nlp_app

WORDS = (
    "Anna",
    "lives",
    "in",
    "Rome",
    "since",
    "2019",
    "works",
    "for",
    "Google",
    "北京",
    "的",
    "公司",
    "É",
    "naïve",
    "😀",
)
COMPARED = 2000  # distinct texts whose results are compared


class Case(NamedTuple):
    """What is measured."""

    model: str
    name: str
    calls: int
    threads: int


class Outcome(NamedTuple):
    """What came of it; memory in MB."""

    warm: float
    end: float
    highest: float
    mismatches: int | None
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=16)
    arguments = parser.parse_args()
    print("| model | case | calls | threads | MB warm | MB at the end | MB highest | mismatches | ms a call |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    spawn = multiprocessing.get_context("spawn")
    for model in arguments.models:
        for name, threads in (("few words", 1), ("new words", 1), ("threads", arguments.threads)):
            case = Case(model, name, arguments.calls, threads)
            with spawn.Pool(1) as pool:
                found = pool.apply(measured, (case,))
            wrong = "" if found.mismatches is None else f"{found.mismatches:,}"
            print(
                f"| {Path(model).name} | {name} | {case.calls:,} | {threads} | {found.warm:.1f} | {found.end:.1f} | "
                f"{found.highest:.1f} | {wrong} | {1000 * found.seconds / case.calls:.2f} |",
                flush=True,
            )


def measured(case: Case) -> Outcome:
    """The case, in this process."""
    if case.name == "threads":
        return shared(case)
    call, new = caller(case.model), case.name == "new words"
    return steady(call, (text(number, 10 if new else 0) for number in range(case.calls * 4 // 3 + 1)), case.calls)


def caller(model: str) -> Callable[[str], Any]:
    """What is called with each text."""
    loaded = nlp_app.load(model)
    return loaded.tag if isinstance(loaded, nlp_app.Tagger) else loaded.classify


def text(number: int, new: int) -> str:
    """Known words and new ones, which follow from the number."""
    known = random.Random(number).sample(WORDS, 8)
    return " ".join([*known, *(f"w{number:x}q{word}" for word in range(new))])


def steady(call: Callable[[str], Any], texts: Any, calls: int) -> Outcome:
    """Memory from after the warm-up on."""
    for _ in range(calls // 3):
        call(next(texts))
    warm = highest = resident()
    start = time.perf_counter()
    for number in range(calls):
        call(next(texts))
        if number % 500 == 0:
            highest = max(highest, resident())
    end = resident()
    return Outcome(warm, end, max(highest, end), None, time.perf_counter() - start)


def shared(case: Case) -> Outcome:
    """All threads on one model, against one thread on another."""
    alone, call = caller(case.model), caller(case.model)
    texts = [text(number, number % 2 * 4) for number in range(COMPARED)]
    expected = [alone(each) for each in texts]
    mismatches: list[int] = []
    done = [0] * case.threads
    each = case.calls * 4 // 3 // case.threads

    def work(thread: int) -> None:
        order = random.Random(thread)
        for done[thread] in range(1, each + 1):
            number = order.randrange(COMPARED)
            if call(texts[number]) != expected[number]:
                mismatches.append(number)

    sys.setswitchinterval(1e-4)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(case.threads)]
    for thread in threads:
        thread.start()
    while sum(done) < case.calls // 3:
        time.sleep(0.01)
    warm = highest = resident()
    start = time.perf_counter()
    while any(thread.is_alive() for thread in threads):
        highest = max(highest, resident())
        time.sleep(0.05)
    end = resident()
    return Outcome(warm, end, max(highest, end), len(mismatches), time.perf_counter() - start)


def resident() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
