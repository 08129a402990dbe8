"""The classifier with its convolution alone beside a tutorial's TextCNN: training and classifying, in one run.

    python benchmarks/textcnn.py --train F --test F [--epochs 5] [--set model.num_filters=256]

CPU seconds (`time.process_time`) at one thread. Epochs of both networks alternate, so that a machine whose speed
drifts is fair to both; an epoch counts batching, forward, backward and update. Classifying counts everything from
titles to classes. Ours is `train cls` with model.kind=textcnn and its other settings at their defaults, the number of
epochs included; `--epochs` is the tutorial's.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import tutorial_textcnn as tutorial

from nlp_app import engine as training
from nlp_app.config import ClassificationSettings, read_settings
from nlp_app.data.classification.splits import read_class_splits
from nlp_app.inference.classifier import Classifier
from nlp_app.training.classification.examples import StoredTexts
from nlp_app.training.classification.loss import training_loss
from nlp_app.training.classification.setup import make_classifier, table_rates
from nlp_app.training.learner_setup import make_learner, resolve_epochs

CLASSIFYING_ROUNDS = 5


@dataclass(frozen=True)
class Options:
    """train: the file of our training texts; epochs: the tutorial's; changes: settings of ours."""

    train: Path
    epochs: int = 5
    seed: int = 1
    changes: tuple[str, ...] = ()


class Tutorial:
    """The tutorial's network on the same titles."""

    def __init__(self, train: Sequence[tutorial.Example], options: Options) -> None:
        torch.manual_seed(options.seed)
        random.seed(options.seed)
        self.epochs = options.epochs
        self.characters = tutorial.vocabulary(train)
        self.labels = sorted({label for _, label in train})
        self.classes = {label: number for number, label in enumerate(self.labels)}
        self.rows = tutorial.encode(train, self.characters, self.classes)
        self.model = tutorial.TutorialTextCnn(len(self.characters) + 2, len(self.classes))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def epoch(self) -> float:
        began = time.process_time()
        tutorial.train_epoch(self.model, self.rows, self.optimizer)
        return time.process_time() - began

    def classify(self, titles: list[str]) -> tuple[list[str], float]:
        began = time.process_time()
        rows = tutorial.encode([(title, "") for title in titles], self.characters, self.classes)
        found = [self.labels[number] for number in tutorial.classify(self.model, rows)]
        return found, time.process_time() - began


class Ours:
    """The classifier without dev scores and checkpoints."""

    def __init__(self, options: Options, scratch: Path) -> None:
        own = [f"data.train={options.train}", "data.dev_share=0", "model.kind=textcnn", f"train.seed={options.seed}"]
        settings = read_settings(ClassificationSettings, None, [*own, *options.changes])
        training.seed_everything(options.seed)
        data = read_class_splits(settings.data, options.seed)
        self.parts = make_classifier(settings, data, None)
        self.parts.network.loss = training_loss(settings.train, data.class_set, data.label_counts, data.train_size)
        batches = -(-data.train_size // settings.train.batch_size)
        self.epochs = resolve_epochs(settings.train, batches)
        self.train = settings.train.model_copy(update={"epochs": self.epochs})
        rates = table_rates(self.train, self.parts.network, data.class_set.multi_label)
        self.learner = make_learner(self.train, self.parts.network, batches, rates)
        self.stored = StoredTexts(settings, data, self.parts)
        self.stored.store(scratch)

    def epoch(self) -> float:
        began = time.process_time()
        options = training.LoopOptions(
            epochs=self.learner.state.epoch + 1, max_grad_norm=self.train.max_grad_norm or None
        )
        list(training.train(self.learner, self.stored.batches, None, options))
        return time.process_time() - began

    def classify(self, titles: list[str]) -> tuple[list[str], float]:
        classifier = Classifier(self.parts)
        began = time.process_time()
        found = [label.label for label in classifier.classify(titles)]
        return found, time.process_time() - began


def result_line(name: str, model: Tutorial | Ours, test: Sequence[tutorial.Example]) -> str:
    titles = [title for title, _ in test]
    rounds = 1 if isinstance(model, Tutorial) else CLASSIFYING_ROUNDS
    runs = [model.classify(titles) for _ in range(rounds)]
    speed = len(titles) / statistics.median(seconds for _, seconds in runs)
    right = sum(found == label for found, (_, label) in zip(runs[0][0], test, strict=True))
    return f"{name:<18}  test accuracy {right / len(test):.4f}  {speed:>9,.0f} titles/s"


def compare(train: Sequence[tutorial.Example], test: Sequence[tutorial.Example], options: Options) -> None:
    """Train both, epochs in turn, and print seconds, accuracy and speed."""
    with tempfile.TemporaryDirectory() as scratch:
        theirs, ours = Tutorial(train, options), Ours(options, Path(scratch))
        seconds: tuple[list[float], list[float]] = ([], [])
        for epoch in range(1, max(theirs.epochs, ours.epochs) + 1):
            line = f"epoch {epoch:>2}:"
            for name, model, column in (("tutorial", theirs, seconds[0]), ("nlp_app", ours, seconds[1])):
                if epoch <= model.epochs:
                    column.append(model.epoch())
                    line += f" {name} {column[-1]:.2f} s"
            print(line, flush=True)
        medians = [statistics.median(column) for column in seconds]
        ratio = statistics.median(a / b for a, b in zip(*seconds, strict=False))
        print(f"median epoch: tutorial {medians[0]:.2f} CPU s, nlp_app {medians[1]:.2f} CPU s, ratio {ratio:.1f}")
        print(f"all epochs: tutorial {sum(seconds[0]):.1f} CPU s, nlp_app {sum(seconds[1]):.1f} CPU s")
        for name, model in (("tutorial TextCNN", theirs), ("nlp_app", ours)):
            print(result_line(name, model, test), flush=True)


def main() -> None:
    parser = tutorial.argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--set", dest="changes", action="append", default=[], help="a setting of ours to change")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    options = Options(arguments.train, arguments.epochs, arguments.seed, tuple(arguments.changes))
    compare(tutorial.read(arguments.train), tutorial.read(arguments.test), options)


if __name__ == "__main__":
    main()
