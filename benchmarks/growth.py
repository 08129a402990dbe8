"""How the cost of training grows with sentences and with tags, beside a feature CRF.

    python benchmarks/growth.py FILE [--copies 1,2,4,8] [--labels 2,7,15] [--epochs 3] [--set data.token_pattern=...]

FILE is a training file with spans. First it is taken once, twice and so on, its labels as they are; then once, each
span with a label drawn at random from so many. Our network has four tags a label and O, the feature CRF two and O.
Words and window features are those of the file however often it is taken: only the number of sentences grows.

CPU seconds at one thread, the cases in processes of their own: of a pass over the data (batching, forward, backward,
update; the median of the epochs), and of an L-BFGS iteration (the median of those that CRFsuite reports). Preparing:
from sentences to features, encoded or handed over. MB: peak memory beyond that of the program with the file read.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import crfsuite_tagger as feature_crf
import numpy as np
import torch

from nlp_app import engine as training
from nlp_app.config import TaggingSettings, read_settings
from nlp_app.data.tagging.splits import TaggingData, read_splits
from nlp_app.labels.tag_set import TagSet
from nlp_app.training.learner_setup import make_learner, resolve_epochs
from nlp_app.training.tagging.examples import EncodedSentences
from nlp_app.training.tagging.setup import make_parts

SEED = 1


class Case(NamedTuple):
    """What is trained on, and for how long."""

    changes: tuple[str, ...]  # settings, the file among them
    copies: int
    labels: int  # 0: the file's own
    rounds: int  # epochs, or iterations

    def settings(self) -> TaggingSettings:
        return read_settings(TaggingSettings, None, [*self.changes, "data.dev_share=0", f"train.seed={SEED}"])

    def data(self) -> TaggingData:
        """One copy of the file, its spans relabeled."""
        data = read_splits(self.settings().data, SEED)
        if not self.labels:
            return data
        random = np.random.default_rng(SEED)
        sentences = [
            replace(
                sentence,
                spans=[span._replace(label=f"L{random.integers(self.labels)}") for span in sentence.spans or ()],
            )
            for sentence in data.train.sentences
        ]
        return replace(data, train=replace(data.train, sentences=sentences))


class Cost(NamedTuple):
    """What training costs: seconds and megabytes."""

    sentences: int
    tokens: int
    tags: int
    preparing: float
    round: float  # an epoch, or an iteration
    megabytes: float
    updates: int = 0  # in an epoch
    epochs: int = 0  # by default


def train_ours(case: Case) -> Cost:
    """Some epochs of the tagger, without dev scores and checkpoints."""
    settings, data, before = case.settings(), case.data(), memory("VmRSS")
    torch.set_num_threads(1)
    training.seed_everything(SEED)
    began = time.process_time()
    parts = make_parts(settings, data)
    sentences = data.train.sentences * case.copies
    examples = EncodedSentences.encode(settings, parts, sentences)
    preparing = time.process_time() - began
    updates = examples.batch_count()
    rates = {"crf.": settings.train.crf_learning_rate / settings.train.learning_rate}
    # The schedule is that of the whole run by default, of which only the first epochs are made.
    fixed = settings.train.model_copy(update={"epochs": max(resolve_epochs(settings.train, updates), case.rounds)})
    learner = make_learner(
        fixed, parts.network, updates, {"sparse_rate": settings.train.sparse_learning_rate, "rate_factors": rates}
    )
    seconds = []
    for epoch in range(1, case.rounds + 1):
        began = time.process_time()
        options = training.LoopOptions(epochs=epoch, max_grad_norm=settings.train.max_grad_norm or None)
        list(training.train(learner, examples.batches, None, options))
        seconds.append(time.process_time() - began)
    tokens, peak = sum(map(len, sentences)), memory("VmHWM") - before
    default = resolve_epochs(settings.train, updates)
    cost = Cost(len(sentences), tokens, len(parts.tag_set.tags), preparing, statistics.median(seconds), peak)
    return cost._replace(updates=updates, epochs=default)


def train_feature_crf(case: Case) -> Cost:
    """Some iterations of the feature CRF."""
    data, before = case.data(), memory("VmRSS")
    tag_set = TagSet.of(data.train.sentences, "BIO")
    sentences = data.train.sentences * case.copies
    gold = [[tag_set.tags[tag] for tag in tag_set.targets([sentence]).tolist()] for sentence in sentences]
    began = time.process_time()
    trainer = feature_crf.trainer_of([sentence.tokens for sentence in sentences], gold, case.rounds)
    preparing = time.process_time() - began
    with tempfile.TemporaryDirectory() as folder:
        trainer.train(str(Path(folder) / "model.crfsuite"))
    seconds = statistics.median(iteration["time"] for iteration in trainer.logparser.iterations)
    peak = memory("VmHWM") - before
    return Cost(len(sentences), sum(map(len, sentences)), len(tag_set.tags), preparing, seconds, peak)


def memory(name: str) -> float:
    """Megabytes of this process as Linux counts them: VmRSS, now; VmHWM, at most so far (0 elsewhere)."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{name}:"))


def costs(work: Callable[[Case], Cost], cases: list[Case]) -> Iterator[Cost]:
    """The cost of each case, in a fresh process each."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as processes:
        for case in cases:  # not `map`, which would have ours and the other run at the same time
            yield processes.submit(work, case).result()


def print_table(title: str, cases: list[Case], iterations: int) -> None:
    print(f"\n{title}\n")
    print(
        "| copies | labels | sentences | tokens | our tags | CPU s an epoch | us a token | times the first | updates/s "
        "| epochs by default | preparing s | MB | CRFsuite tags | CPU s an iteration | times the first | preparing s "
        "| MB |\n|" + "---|" * 17
    )
    theirs = costs(train_feature_crf, [case._replace(rounds=iterations) for case in cases])
    first: tuple[float, float] | None = None
    for case, our, peer in zip(cases, costs(train_ours, cases), theirs, strict=True):
        first = first or (our.round, peer.round)
        print(
            f"| {case.copies} | {case.labels or 'own'} | {our.sentences:,} | {our.tokens:,} | {our.tags} "
            f"| {our.round:.2f} | {1e6 * our.round / our.tokens:.1f} | {our.round / first[0]:.2f} "
            f"| {our.updates / our.round:.0f} | {our.epochs} | {our.preparing:.1f} | {our.megabytes:.0f} "
            f"| {peer.tags} | {peer.round:.3f} | {peer.round / first[1]:.2f} | {peer.preparing:.1f} "
            f"| {peer.megabytes:.0f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--copies", default="1,2,4,8")
    parser.add_argument("--labels", default="2,7,15")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=20, help="of the feature CRF")
    parser.add_argument("--set", dest="changes", action="append", default=[], help="a setting of ours to change")
    arguments = parser.parse_args()
    changes = (f"data.train={arguments.file}", *arguments.changes)
    copies = [Case(changes, int(count), 0, arguments.epochs) for count in arguments.copies.split(",")]
    labels = [Case(changes, 1, int(count), arguments.epochs) for count in arguments.labels.split(",")]
    print_table("More sentences", copies, arguments.iterations)
    print_table("More tags", labels, arguments.iterations)


if __name__ == "__main__":
    main()
