"""Ends a command at a random moment, and says in which phase of a run that was."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import random
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUN = Path(__file__).resolve().parents[1] / "run.py"
# What a kill waits for: a name below the run's directory, # for its numbers, that is new or another file than before.
AIMS = (
    "checkpoints", "checkpoints/begun.json", "checkpoints/.earlier.*", "checkpoints/run.json",
    "checkpoints/.checkpoint-#.*", "checkpoints/checkpoint-#",
    "checkpoints/best-#", "checkpoints/best-#/.model.*", "checkpoints/best-#/nlp_app.json", "history.jsonl",
    "predictions.conll", "predictions.jsonl", "metrics.json", "README.md", ".model.*", "model.safetensors", "vocab",
    "nlp_app.json", ".texts.*",
)  # fmt: skip
# Phases, by functions on the stack: the first that is there.
PHASES = (
    ("removing an old checkpoint", {"remove_directory"}, {"save_checkpoint"}),
    ("writing a checkpoint", {"save_checkpoint"}, set()),
    ("final save: the model", {"write_model"}, {"_finish"}),
    ("writing the best model", {"write_model"}, set()),
    (
        "final save: scores, predictions, card",
        {"write_run_outputs", "write_predictions", "write_class_predictions"},
        {"_finish"},
    ),
    ("final save: tidying", {"close"}, {"_finish"}),
    ("scoring the finished model", {"_finish"}, set()),
    ("writing history", {"record_epoch"}, set()),
    ("scoring dev", {"score_epoch"}, set()),
    ("training", {"fit"}, set()),
    ("making the directory ready", {"start"}, {"start_run"}),
    ("folds or search: bookkeeping", {"cross_validate", "search"}, set()),
)
BEFORE, AFTER = "reading and encoding", "at its end"
HEARD = ("training", "scoring dev", "writing history", "writing a checkpoint", "removing an old checkpoint")
STATUS = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130}
TIMEOUT = 180.0  # seconds a process may take


@dataclass
class Ended:
    """A process that has ended: with what status, what it said, and the phase in which the signal came (None: it came
    to its end)."""

    status: int
    said: str
    phase: str | None


def stored(output: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """What stands in a run's directory: names with # for numbers, and what tells a new file from the one before."""
    folders = [output]
    while folders:
        folder = folders.pop()
        try:
            for entry in os.scandir(folder):
                name = os.path.relpath(entry.path, output)
                short = re.sub(r"\d{6,}", "#", re.sub(r"\.[0-9a-f]{32}\b", ".*", name))
                status = entry.stat(follow_symlinks=False)
                yield short, (status.st_ino, status.st_mtime_ns if entry.is_file() else 0)
                if entry.is_dir() and (name == "checkpoints" or "best-" in entry.name):
                    folders.append(Path(entry.path))
        except OSError:  # gone meanwhile
            continue


class Killer:
    """Starts a command and ends it at a random moment."""

    def __init__(self, chance: random.Random, kind: signal.Signals, log: Path) -> None:
        self.chance, self.kind, self.log = chance, kind, log
        self.stack = log.with_suffix(".stack")
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # which a child has until it can answer

    def run(self, arguments: Sequence[str], output: Path, seconds: float | None, wait_for: str = "") -> Ended:
        """Run a command to its end, or (seconds: about how long it takes) until it is killed, after it said
        `wait_for`."""
        self.log.write_text("")
        self.stack.write_text("")
        context = multiprocessing.get_context("fork")
        process = context.Process(target=_child, args=(arguments, self.log, self.stack))
        before = dict(stored(output))
        process.start()
        hit = False
        if seconds is not None:
            self._wait_until(lambda: wait_for in self.log.read_text(errors="replace"), process)
            aim = self.chance.choice(AIMS) if self.chance.random() < 0.5 else None
            if aim is None and self.chance.random() < 0.8:
                self._wait_until(lambda: "\ntraining on " in self.log.read_text(errors="replace"), process)
            self._aim(aim, seconds, output, before, process)
            hit = process.is_alive()
        phase = self._end(process) if hit else None
        process.join(TIMEOUT)
        if process.exitcode is None:
            process.kill()
            process.join()
            return Ended(-1, f"took more than {TIMEOUT:.0f} s", phase or AFTER)
        status = process.exitcode
        return Ended(status, self.log.read_text(errors="replace"), None if status == 0 else phase)

    def _aim(
        self, aim: str | None, seconds: float, output: Path, before: dict[str, tuple[int, int]], process: Any
    ) -> None:
        """Return at the moment that has been chosen, or when the process has ended."""
        if aim is None:
            end = time.monotonic() + self.chance.random() * seconds
            self._wait_until(lambda: time.monotonic() >= end, process)
            return
        seen, left = {before.get(aim)}, self.chance.choice((1, 1, 2, 3, 4))
        end = time.monotonic() + self.chance.random() * seconds + 0.5 * seconds

        def met() -> bool:
            nonlocal left
            if time.monotonic() >= end:  # what does not come in this run
                return True
            new = {state for name, state in stored(output) if name == aim} - seen
            seen.update(new)
            left -= len(new)
            return left <= 0

        self._wait_until(met, process)
        time.sleep(self.chance.choice((0.0, 0.0, self.chance.expovariate(500.0), self.chance.expovariate(50.0))))

    def _wait_until(self, met: Callable[[], bool], process: Any) -> None:
        end = time.monotonic() + TIMEOUT
        while process.is_alive() and not met() and time.monotonic() < end:
            time.sleep(0.0002)

    def _end(self, process: Any) -> str:
        """Signal the process; the phase it was in."""
        end = time.monotonic() + 0.5
        _signal(process.pid, signal.SIGUSR1)
        stack = ""
        while process.is_alive() and not stack.endswith(" in <module>\n") and time.monotonic() < end:
            stack = self.stack.read_text(errors="replace")
        _signal(process.pid, self.kind)
        return phase_of(stack)


def phase_of(stack: str) -> str:
    """The phase of a process with these functions on its stack, as faulthandler writes it."""
    functions = set(re.findall(r" in (\w+)$", stack, re.MULTILINE))
    if "main" not in functions:
        return AFTER if functions else BEFORE
    return next((name for name, some, within in PHASES if some & functions and within <= functions), BEFORE)


def _signal(process: int, kind: signal.Signals) -> None:
    try:
        os.kill(process, kind)
    except ProcessLookupError:
        return


def _child(arguments: Sequence[str], log: Path, stack: Path) -> None:
    """The command line, with what it says in a file."""
    with log.open("w") as file, stack.open("w") as trace:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
        faulthandler.register(signal.SIGUSR1, file=trace, all_threads=True)
        sys.argv = [str(RUN), *arguments]  # which a command may tell the user
        from nlp_app.cli import main

        main(list(arguments))
        sys.stdout.flush()


def ended_rightly(ended: Ended, kind: signal.Signals, arguments: Sequence[str]) -> bool:
    """Whether a signal had the effect that it should: in training a run saves and says which command goes on; before
    and after, where there is nothing to save, it may also end at once."""
    if kind == signal.SIGKILL:
        return ended.status == -kind
    if ended.status == STATUS[kind]:
        command = ended.said.strip().rpartition("\n")[2].partition("To resume: ")[2]
        return shlex.split(command)[2:] == [*(each for each in arguments if each != "--resume"), "--resume"]
    return ended.phase not in HEARD and ended.status in (-kind, 1 if ended.phase == BEFORE else -kind)


def damage(checkpoints: Path, chance: random.Random) -> str | None:
    """Damage a random file of the newest checkpoint, if there is one before it; what was done."""
    found = sorted(path for path in checkpoints.glob("checkpoint-*"))
    if len(found) < 2:
        return None
    path = chance.choice(sorted(found[-1].iterdir()))
    content, how = path.read_bytes(), chance.choice(("truncated", "changed", "removed"))
    if how == "removed":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(content[: chance.randrange(len(content))])
    else:
        place = chance.randrange(len(content))
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :])
    return f"{path.parent.name}/{path.name} {how}"
