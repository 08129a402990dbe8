"""`python -m fuzz [TARGET...] --seconds N`: every target in turn, in a process of its own, and a table of the outcome.

Exit status 1 if there are findings; they lie beside the corpus, each with its input and traceback.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from fuzz.folder import VARIABLE
from fuzz.targets import MIXED, TARGETS, target_named
from fuzz.words import dictionary

_ROUNDS = 4  # of all targets, so that a run that is stopped has seen each of them
_TIMEOUT = 30  # seconds for one input
_RESIDENT = 6144  # MiB
_STATUS = re.compile(r"^#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)", re.MULTILINE)
_RAN = re.compile(r"stat::number_of_executed_units:\s+(\d+)")


@dataclass
class Outcome:
    """What came of a target so far."""

    seconds: float = 0.0
    inputs: int = 0
    edges: int = 0
    corpus: int = 0
    ended: int = 0  # processes that libFuzzer had to end


def main(arguments: list[str] | None = None) -> int:
    """Fuzz, print a Markdown table, and answer with the exit status."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}, {MIXED}; all without")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--runs", type=int, default=-1, help="inputs a target, whatever the time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, default=Path("runs/fuzz"), help="where interesting inputs are kept")
    parser.add_argument("--bare", action="store_true", help="without coverage of nlp_app: starts sooner")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.targets if name not in (*TARGETS, MIXED)]
    if unknown:
        parser.error(f"unknown target {unknown[0]}, expected {', '.join(TARGETS)}")
    names = given.targets or list(TARGETS)
    rounds = 1 if given.runs >= 0 or given.seconds < 60 * len(names) else _ROUNDS
    outcomes = {name: Outcome() for name in names}
    for number in range(rounds):
        for name in names:
            _fuzz(name, given, given.seconds / rounds / len(names), given.seed + number, outcomes[name])
        if number + 1 < rounds:
            print(_table(outcomes, given.corpus), flush=True)
    print(_table(outcomes, given.corpus), flush=True)
    return int(any(_findings(given.corpus, name) for name in names))


def _fuzz(name: str, given: argparse.Namespace, seconds: float, seed: int, outcome: Outcome) -> None:
    """One target for so long, begun again if an input ended its process."""
    corpus, findings = given.corpus / name, given.corpus / "findings" / name
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target_named(name).seeds()):
        (corpus / f"seed-{number:03}").write_bytes(data)
    words = given.corpus / "words.dict"
    words.write_text(dictionary(), encoding="ascii")
    begun = time.monotonic()
    while (left := seconds - (time.monotonic() - begun)) > 0:
        limits = [f"-runs={given.runs}"] if given.runs >= 0 else [f"-max_total_time={max(1, round(left))}"]
        command = [
            *(sys.executable, "-m", "fuzz.engine", name, f"--findings={findings}"),
            *(["--bare"] if given.bare else []),
            *(f"-seed={seed}", f"-timeout={_TIMEOUT}", f"-rss_limit_mb={_RESIDENT}", "-print_final_stats=1", *limits),
            *(f"-max_len={target_named(name).longest}", f"-dict={words}", f"-artifact_prefix={findings}/", str(corpus)),
        ]
        status, said = _run(command)
        ran = [int(count) for count in _RAN.findall(said)] or [int(line[0]) for line in _STATUS.findall(said)[-1:]]
        if not ran:
            raise SystemExit(f"{name} didn't begin:\n{said[-4000:]}")
        outcome.inputs += sum(ran)
        for line in _STATUS.findall(said):
            outcome.edges, outcome.corpus = max(outcome.edges, int(line[1])), int(line[3])
        if status == 0:
            break
        outcome.ended += 1
        (findings / f"ended-{seed}-{outcome.ended}.log").write_text(said[-20000:], encoding="utf-8")
        if given.runs >= 0 or outcome.ended > 20:
            break
        seed += 1000
    outcome.seconds += time.monotonic() - begun


def _run(command: list[str]) -> tuple[int, str]:
    shared = Path("/dev/shm")  # memory, where the system has it: a folder of our own below it
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=shared if shared.is_dir() else None) as aside:
        folder = f"{aside}/folder"
        Path(folder).mkdir()
        quiet = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "RAYON_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        quiet |= {"TOKENIZERS_PARALLELISM": "false", "RUST_BACKTRACE": "0"}
        # What is temporary or cached is inside too: everything beyond is a breach.
        inside = {VARIABLE: folder, "TMPDIR": folder, "NLP_APP_CACHE": f"{folder}/cache", "HF_HOME": f"{folder}/hf"}
        environment = os.environ | quiet | inside
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def _findings(corpus: Path, name: str) -> list[Path]:
    """What was found: the inputs of faults, and those that ended a process."""
    folder = corpus / "findings" / name
    return sorted(path for path in folder.iterdir() if path.suffix not in (".txt", ".log")) if folder.is_dir() else []


def _table(outcomes: dict[str, Outcome], corpus: Path) -> str:
    lines = [
        "| target | inputs | seconds | inputs a second | edges | corpus | findings |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, done in outcomes.items():
        rate = done.inputs / max(done.seconds, 1e-9)
        found = len(_findings(corpus, name))
        lines.append(
            f"| {name} | {done.inputs:,} | {done.seconds:,.0f} | {rate:,.0f} | {done.edges:,} | {done.corpus:,} "
            f"| {found} |"
        )
    total = sum(done.inputs for done in outcomes.values())
    seconds = sum(done.seconds for done in outcomes.values())
    found = sum(len(_findings(corpus, name)) for name in outcomes)
    return "\n".join(
        [*lines, f"| all | {total:,} | {seconds:,.0f} | {total / max(seconds, 1e-9):,.0f} | | | {found} |"]
    )


if __name__ == "__main__":
    sys.exit(main())
