"""Resident memory and start-up of training, as the training file grows and dev and test stay as they are.

    python benchmarks/memory.py ner --train train.conll --dev dev.conll --test test.conll
    python benchmarks/memory.py cls --train train.tsv --dev dev.tsv --test test.tsv --set model.hidden_size=0

The training file is written 1, 2, 4, 8 and 16 times over into one file. Each of these is trained on in a process of its
own, for so many batches, at first with an empty cache and then with what the first has left there. Printed are, for
both: seconds to the first update, of the clock and of a processor, with Python's imports and without, and the most and
the last resident memory (peak from /proc, steady: at the end of the batches); and how much more that is than with one
copy.

Everything happens in a temporary folder. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

COPIES = (1, 2, 4, 8, 16)
BATCHES = 200
_BAR = 40  # characters of the curve


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("ner", "cls"))
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--dev", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c")
    parser.add_argument("--copies", type=int, nargs="+", default=COPIES)
    parser.add_argument("--batches", type=int, default=BATCHES, help="trained on in each process")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def resident(key: str) -> float:
    """Megabytes: `VmHWM`, the most, or `VmRSS`, now."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


class Enough(Exception):
    """So many batches were trained on."""


def one(options: argparse.Namespace, begun: float) -> None:
    """Train on some batches, as `train` does, and print what was measured."""
    from nlp_app import engine as training
    from nlp_app.config import ClassificationSettings, TaggingSettings, read_settings
    from nlp_app.training import train_cls, train_ner

    import_module("torch._dynamo")  # which the first of torch's optimizers would load
    imported, used = time.perf_counter(), time.process_time()
    first: list[tuple[float, float]] = []
    loaded = resident("VmRSS")
    real = training.train

    def counted(learner: Any, batches: Any, *rest: Any) -> Iterator[Any]:
        def some(*which: Any) -> Iterator[Any]:
            for number, batch in enumerate(batches(*which)):
                if number == 1:
                    first.append((time.perf_counter() - imported, time.process_time() - used))
                if number == options.batches:
                    raise Enough
                yield batch

        return real(learner, some, *rest)

    training.train = counted
    pairs = [f"data.{name}={getattr(options, name)}" for name in ("train", "dev", "test")]
    pairs += ["train.epochs=1000", "track.plots=false", *options.set]
    with tempfile.TemporaryDirectory() as folder:
        try:
            if options.task == "ner":
                train_ner(read_settings(TaggingSettings, None, pairs), Path(folder) / "run", quiet=True)
            else:
                train_cls(read_settings(ClassificationSettings, None, pairs), Path(folder) / "run", quiet=True)
        except Enough:
            pass
    peak, steady = resident("VmHWM"), resident("VmRSS")
    print(
        json.dumps(
            {
                "imports": imported - begun,
                "start": first[0][0],
                "processor": first[0][1],
                "loaded": loaded,
                "peak": peak,
                "steady": steady,
            }
        )
    )


def measured(options: argparse.Namespace, train: Path, cache: Path) -> dict[str, float]:
    command = [
        sys.executable,
        __file__,
        options.task,
        "--one",
        "--train",
        str(train),
        "--batches",
        str(options.batches),
    ]
    command += ["--dev", str(options.dev.resolve()), "--test", str(options.test.resolve())]
    command += [part for pair in options.set for part in ("--set", pair)]
    environment = os.environ | {"NLP_APP_CACHE": str(cache)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def copied(source: Path, copies: int, target: Path) -> Path:
    """The file so many times over; sentences and lines don't run into each other."""
    content = source.read_bytes()
    end = b"\n" if content.endswith(b"\n") else b"\n\n"
    with target.open("wb") as file:
        for _ in range(copies):
            file.write(content if source.suffix in (".csv", ".tsv", ".jsonl") else content + end)
    return target


def main() -> None:
    begun = time.perf_counter()
    options = arguments()
    if options.one:
        one(options, begun)
        return
    rows: list[tuple[int, dict[str, float], dict[str, float]]] = []
    for copies in options.copies:
        with tempfile.TemporaryDirectory() as folder:
            train = copied(options.train, copies, Path(folder) / f"train{options.train.suffix}")
            cold, cached = (measured(options, train, Path(folder) / "cache") for _ in range(2))
        rows.append((copies, cold, cached))
        print(f"{copies} copies", file=sys.stderr)
    print(
        "| copies | first start, s (of a processor) | cached start, s (of a processor) | + imports, s | peak, MB | "
        "cached peak, MB | steady, MB |  |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    base = rows[0][2]["steady"]
    for copies, cold, cached in rows:
        more = cached["steady"] / base - 1
        print(
            f"| {copies} | {cold['start']:.2f} ({cold['processor']:.2f}) | "
            f"{cached['start']:.2f} ({cached['processor']:.2f}) | {cached['start'] + cached['imports']:.2f} | "
            f"{cold['peak']:.0f} | {cached['peak']:.0f} | {cached['steady']:.0f} | {more:+.1%} |"
        )
    print()
    most = max(cold["peak"] for _, cold, _ in rows)
    for copies, cold, cached in rows:
        for name, value in (("first", cold["peak"]), ("cached", cached["peak"])):
            print(f"{copies:>3} {name:<6} {'#' * round(_BAR * value / most)} {value:.0f}")


if __name__ == "__main__":
    main()
