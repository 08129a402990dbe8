"""Throughput and memory of `tag` and `classify` over files, with one worker and with two. Prints Markdown tables.

    python benchmarks/file_tagging.py [--lines N] [--memory-lines N] [--workers 1,2]

Small models are trained on the bundled corpora first; times are those of whole commands, start included. Memory is the
most that each process had resident at a time, of the command and of its workers, read from /proc (Linux).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
APP = [sys.executable, str(ROOT / "run.py")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--memory-lines", type=int, default=1_000_000)
    parser.add_argument("--workers", default="1,2")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        models = {"tag": train("ner", place), "classify": train("cls", place)}
        small = written(place / "speed.txt", chosen.lines)
        print("| command | workers | lines | seconds | lines a second |\n|---|---|---|---|---|")
        for command, model in models.items():
            for workers in map(int, chosen.workers.split(",")):
                seconds, _, _ = measured(command, model, small, workers)
                print(f"| {command} | {workers} | {chosen.lines:,} | {seconds:.1f} | {chosen.lines / seconds:,.0f} |")
        print("\n| command | workers | lines | parent MB | largest worker MB |\n|---|---|---|---|---|")
        for count in (10_000, chosen.memory_lines):
            path = written(place / f"{count}.txt", count)
            for workers in map(int, chosen.workers.split(",")):
                _, parent, worker = measured("classify", models["classify"], path, workers)
                shown = f"{worker:,.0f}" if worker else "-"
                print(f"| classify | {workers} | {count:,} | {parent:,.0f} | {shown} |")


def train(task: str, place: Path) -> Path:
    """A model of an epoch or two: what it says doesn't matter here."""
    run = place / task
    epochs = ["--set", "train.epochs=1", "--quiet"]
    subprocess.run(
        [*APP, "train", task, "--output", str(run), *epochs], check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL
    )
    return run


def written(path: Path, count: int) -> Path:
    """A file of texts."""
    with path.open("w", encoding="utf-8") as out:
        for n in range(count):
            out.write(f"In week {n} Anna left Rome for 北京, parcel {n * 7919 % 100_003} of Google's {n % 97}.\n")
    return path


def measured(command: str, model: Path, source: Path, workers: int) -> tuple[float, float, float]:
    """Seconds; megabytes of the command, and of its largest worker."""
    more = ["--format", "text", "--threads", "1", "--workers", str(workers), "--quiet"]
    start = time.perf_counter()
    with subprocess.Popen(
        [*APP, command, str(model), "--input", str(source), "--output", f"{source}.out", *more], env=ENVIRONMENT
    ) as job:
        peaks: dict[int, float] = {}
        while job.poll() is None:
            for pid in (job.pid, *children(job.pid)):
                peaks[pid] = max(peaks.get(pid, 0), peak(pid))
            time.sleep(0.1)
    seconds = time.perf_counter() - start
    if job.returncode:
        raise SystemExit(f"{command} ended with {job.returncode}")
    return seconds, peaks.pop(job.pid), max(peaks.values(), default=0)


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def peak(pid: int) -> float:
    """Megabytes that a process had resident at most."""
    try:
        about = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(about.split("VmHWM:")[1].split()[0]) / 1024 if "VmHWM:" in about else 0


if __name__ == "__main__":
    main()
