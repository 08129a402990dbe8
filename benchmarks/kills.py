"""Training runs that are killed at random moments, and resumed until they finish: is the result the undisturbed one?

    python benchmarks/kills.py [--kills 200] [--case ner --case cls ...] [--signal KILL|TERM|INT] [--damage] [--seed 1]

Each case is a small run of `run.py train`. An undisturbed run, in a process of its own, is what the killed ones are
held against: weights, all other files of the model, predictions, scores and history have to be the same, byte for
byte, the seconds that things took aside. The killed ones are forked from this process, which has loaded torch and
nlp_app and computes nothing, and call the command line; so a kill costs a fraction of a second.

Half of the kills come at any time. The others are aimed: at the moment that a certain file or directory is seen to be
new, or some milliseconds later. Just before its end each process notes where it stands (`faulthandler`), from which
the phase is known.

With TERM or INT a run saves and ends; it has to say how to resume, and with what status it ends. With --damage
a random file of the newest checkpoint is truncated, changed or removed after each kill; the next process has to say so,
and to go on from the checkpoint before.

Exit status 1 if anything differs or a run can't be resumed; what it left is kept then.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from killing import AFTER, BEFORE, PHASES, TIMEOUT, Ended, Killer, damage, ended_rightly

ROOT = Path(__file__).resolve().parents[1]
NER = (
    "train.epochs=4 train.batch_tokens=256 model.word_dim=16 model.shape_dim=8 model.affix_dim=16 model.hidden_size=16"
)
CLS = (
    "train.epochs=4 train.batch_size=20 model.char_ngrams=2-3 model.hidden_size=4 model.word_dim=8 model.num_filters=4"
)
BERT = "model.kind=transformer train.epochs=3 train.batch_subwords=512 train.precision=no"
# At the end of each epoch; now and then; often within an epoch.
AT_ONCE, SELDOM, WITHIN = (f"train.checkpoint_seconds={seconds}" for seconds in (0, 0.3, 0.01))
PLAIN = "track.plots=false"
# By name: task, settings, more arguments; `{body}`: a tiny BERT.
CASES = {
    "ner": ("ner", f"{NER} {AT_ONCE} {PLAIN} train.eval_every_epochs=1", ()),
    "ner-ema": (
        "ner",
        f"{NER} {AT_ONCE} {PLAIN} train.ema_decay=0.9 train.gradient_accumulation_steps=3 train.eval_every_epochs=1",
        (),
    ),
    "ner-seldom": ("ner", f"{NER} {SELDOM} train.eval_every_epochs=1 train.epochs=8", ()),
    "ner-within": (
        "ner",
        f"{NER} {WITHIN} {PLAIN} train.batch_tokens=48 train.ema_decay=0.9 train.gradient_accumulation_steps=2",
        (),
    ),
    "ner-over": ("ner", f"{NER} {AT_ONCE} {PLAIN}", ()),
    "cls": ("cls", f"{CLS} {AT_ONCE}", ()),
    "cls-ema": (
        "cls",
        f"{CLS} {AT_ONCE} {PLAIN} model.kind=embedding_bag train.ema_decay=0.9 train.gradient_accumulation_steps=2",
        (),
    ),
    "cls-within": ("cls", f"{CLS} {WITHIN} {PLAIN} train.batch_size=4", ()),
    "bert-ner": ("ner", f"{BERT} {AT_ONCE} {PLAIN} model.pretrained={{body}} train.engine=loop train.ema_decay=0", ()),
    "bert-cls": ("cls", f"{BERT} {WITHIN} {PLAIN} model.pretrained={{body}} train.batch_subwords=96", ()),
    "folds": ("ner", f"{NER} {AT_ONCE} {PLAIN} train.epochs=2", ("--folds", "2")),
    "search": ("cls", f"{CLS} {AT_ONCE} {PLAIN} train.epochs=2 model.kind=embedding_bag", ("--search", "2")),
}
OVER = ("train.seed=7", "train.epochs=2")  # what stands where `ner-over` is to go


class Case(NamedTuple):
    """A run that is to be killed: its arguments without --output and --resume, and what an undisturbed one left."""

    name: str
    arguments: tuple[str, ...]
    expected: dict[str, Any]
    seconds: float  # from the first update to the end, undisturbed
    over: Path | None  # the finished run that this one replaces


@dataclass
class Tally:
    """Kills and losses by phase; runs that came to their end."""

    kills: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    runs: int = 0

    def table(self) -> str:
        order = [BEFORE, *(name for name, _, _ in reversed(PHASES)), AFTER]
        rows = [f"| {name} | {self.kills[name]} | {self.lost[name]} |" for name in order if self.kills[name]]
        total = f"| all ({self.runs} runs) | {self.kills.total()} | {self.lost.total()} |"
        return "\n".join(["| phase | kills | lost |", "|---|---:|---:|", *rows, total])


def essence(output: Path) -> dict[str, Any]:
    """What two equal runs have in common: all files but the checkpoints and an Optuna journal, without seconds."""
    found: dict[str, Any] = {}
    for path in sorted(output.rglob("*")):
        name = path.relative_to(output)
        # Of checkpoints only what should not be there any more counts.
        if path.is_dir() or name.name == "journal.log":
            continue
        if "checkpoints" in name.parts and not name.name.startswith("."):
            continue
        content: Any = path.read_bytes()
        if path.suffix in (".json", ".jsonl"):
            content = re.sub(rb'"seconds": [0-9.e+-]+', b'"seconds": 0', content)
        found[name.as_posix()] = content
    return found


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """The files that differ, are missing or too many."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def make_body(directory: Path) -> None:
    """A tiny random BERT. To be called in a process of its own: this one is to compute nothing."""
    from tiny_transformers import tiny_bert

    words = re.findall(r"^\S+", (ROOT / "data/ner/train.conll").read_text(encoding="utf-8"), re.MULTILINE)
    tiny_bert(directory, words, hidden=16)


def write_data(directory: Path) -> None:
    """Cuts of the bundled corpora."""
    for split, count in (("train", 90), ("dev", 30), ("test", 30)):
        columns = (ROOT / f"data/ner/{split}.conll").read_text(encoding="utf-8").split("\n\n")
        (directory / f"{split}.conll").write_text("\n\n".join(columns[:count]) + "\n\n", encoding="utf-8")
        rows = (ROOT / f"data/cls/{split}.csv").read_text(encoding="utf-8").splitlines(keepends=True)
        (directory / f"{split}.csv").write_text("".join(rows[: 2 * count]), encoding="utf-8")


def prepare(name: str, directory: Path, killer: Killer) -> Case:
    """The arguments of a case, and what it leaves undisturbed."""
    task, changes, more = CASES[name]
    suffix = {"ner": "conll", "cls": "csv"}[task]
    splits = ("train", "test") if "--folds" in more else ("train", "dev", "test")
    files = [f"--{split}={directory / f'{split}.{suffix}'}" for split in splits]
    settings = [f"--set={change.format(body=directory / 'body')}" for change in changes.split()]
    arguments = ("train", task, *files, *settings, *more)
    whole, over = directory / f"{name}-whole", None
    if name.endswith("-over"):
        over = directory / f"{name}-before"
        _expect_success(killer.run([*arguments, *(f"--set={c}" for c in OVER), f"--output={over}"], over, None))
    # By the program itself, in a new process, so that nothing here depends on forking.
    command = [sys.executable, str(ROOT / "run.py"), *arguments, f"--output={whole}"]
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)
    again = directory / f"{name}-again"
    started = time.monotonic()
    _expect_success(killer.run([*arguments, f"--output={again}"], again, None))
    seconds = time.monotonic() - started
    expected = essence(whole)
    if different := differences(essence(again), expected):
        raise SystemExit(f"{name}: two undisturbed runs differ in {', '.join(different)}")
    return Case(name, arguments, expected, seconds, over)


def _expect_success(ended: Ended) -> None:
    if ended.status:
        raise SystemExit(f"an undisturbed run failed: {ended.said}")


def begun(case: Case, output: Path) -> bool:
    """Whether the run in `output` is of the case, and not of the one it replaces."""
    if case.over is None:
        return True
    run = output / "checkpoints" / "run.json"
    return run.is_file() and json.loads(run.read_text())["settings"]["train"]["seed"] != int(OVER[0].split("=")[1])


def finished(output: Path) -> bool:
    """Whether a run has come to its end, and what it would go on from isn't needed any more."""
    run = output / "checkpoints" / "run.json"
    return run.is_file() and json.loads(run.read_text())["finished"] is True


def until_finished(case: Case, output: Path, killer: Killer, tally: Tally, options: argparse.Namespace) -> list[str]:
    """Kill and resume a run until it has finished; what is wrong with it, and what was done to it before."""
    done: list[str] = []
    if case.over is not None:
        shutil.copytree(case.over, output)
    damaged: str | None = None
    while True:
        command = [*case.arguments, f"--output={output}", *(("--resume",) if begun(case, output) else ())]
        enough = tally.kills.total() >= options.kills
        ended = killer.run(
            command,
            output,
            None if enough else case.seconds,
            "skipped a damaged checkpoint" if damaged and not finished(output) else "",
        )
        if damaged and "skipped a damaged checkpoint" not in ended.said and "is already finished" not in ended.said:
            return [*done, f"the damage was not reported: {ended.said}"]
        if ended.phase is None:
            break
        tally.kills[ended.phase] += 1
        done.append(ended.phase)
        if not ended_rightly(ended, killer.kind, command):
            return [*done, f"status {ended.status}: {ended.said}"]
        damaged = damage(output / "checkpoints", killer.chance) if options.damage else None
        done += [damaged] if damaged else []
    tally.runs += 1
    if ended.status:
        return [*done, f"status {ended.status}: {ended.said}"]
    different = differences(essence(output), case.expected)
    return [*done, f"differs: {', '.join(different)}"] if different else []


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--case", action="append", choices=CASES, help="may be given several times; default: all")
    parser.add_argument("--signal", choices=("KILL", "TERM", "INT"), default="KILL")
    parser.add_argument("--damage", action="store_true", help="damage the newest checkpoint after each kill")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def load_all() -> None:
    """Import what takes long, before anything is forked: torch on one thread."""
    os.environ.update(
        OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false"
    )
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    for name in (
        "matplotlib.pyplot",
        "seqeval.metrics",
        "sklearn.metrics",
        "transformers.trainer",
        "nlp_app.training.multirun.search",
    ):
        importlib.import_module(name)
    importlib.import_module("nlp_app.training.transformers.setup")


def main() -> int:
    options = read_arguments()
    load_all()

    directory = Path(tempfile.mkdtemp(prefix="kills-"))
    os.environ["NLP_APP_CACHE"] = str(directory / "cache")
    # A shell that runs something in the background has it ignore Ctrl-C, and all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    killer = Killer(random.Random(options.seed), signal.Signals[f"SIG{options.signal}"], directory / "said")
    write_data(directory)
    body = multiprocessing.get_context("fork").Process(target=make_body, args=(directory / "body",))
    body.start()
    body.join()
    started = time.monotonic()
    cases = [prepare(name, directory, killer) for name in options.case or CASES]
    tally, number = Tally(), 0
    while tally.kills.total() < options.kills:
        case = cases[number % len(cases)]
        output = directory / f"{case.name}-{number}"
        wrong = until_finished(case, output, killer, tally, options)
        if wrong:
            tally.lost[next((each for each in reversed(wrong) if each in tally.kills), AFTER)] += 1
            print(f"{case.name} in {output}: {'; '.join(wrong)}", file=sys.stderr)
        else:
            shutil.rmtree(output)
        number += 1
    print(tally.table())
    print(f"\n{time.monotonic() - started:.0f} s, cases: {', '.join(case.name for case in cases)}", file=sys.stderr)
    if tally.lost:
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
