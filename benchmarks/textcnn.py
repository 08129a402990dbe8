"""The convolution encoder beside a tutorial's TextCNN: training and classifying, in one run.

    python benchmarks/textcnn.py --train F --test F [--epochs 5] [--our-epochs 10] [--width 300] [--no-bf16] ...

CPU seconds (`time.process_time`) at one thread. Epochs of both networks alternate, so that a machine whose speed
drifts is fair to both; an epoch counts batching, forward, backward and update. Classifying counts everything from
titles to class numbers. Ours is the plainest network around the encoder: embeddings of characters, dropout, one layer.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import tutorial_textcnn as tutorial
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nlp_app.features.columns import Columns, collate, length_batches, training_batches
from nlp_app.nn.convolution import ConvolutionEncoder, distinct_ids

PADDING, UNKNOWN = 0, 1
CLASSIFYING_ROUNDS = 5
PREDICTION_BUDGET = 8192  # characters a batch


@dataclass(frozen=True)
class Setup:
    """Ours. `budget`: characters a batch; `token_dropout`: share of the characters that training leaves out;
    `spread`: standard deviation of the initial embeddings."""

    width: int = 300
    filters: int = 256
    kernel_sizes: tuple[int, ...] = (2, 3, 4)
    dropout: float = 0.5
    token_dropout: float = 0.1
    budget: int = 2560
    lr: float = 2e-3
    weight_decay: float = 0.01
    smoothing: float = 0.05
    spread: float = 0.3
    epochs: int = 10
    bf16: bool = True
    seed: int = 1


class Network(nn.Module):
    def __init__(self, num_characters: int, num_classes: int, setup: Setup) -> None:
        super().__init__()
        self.token_dropout = setup.token_dropout
        self.embedding = nn.Embedding(num_characters, setup.width, padding_idx=PADDING)
        with torch.no_grad():
            self.embedding.weight.normal_(std=setup.spread)[PADDING] = 0
        self.encoder = ConvolutionEncoder(setup.width, setup.filters, setup.kernel_sizes)
        self.dropout = setup.dropout
        self.linear = nn.Linear(self.encoder.width, num_classes)

    def forward(self, characters: Tensor, mask: Tensor) -> Tensor:
        used, rows = distinct_ids(characters)
        rows = rows * (torch.rand(rows.shape) >= self.token_dropout)
        return self._scores(self.encoder.of_rows(self.embedding(used), rows, mask))

    def tables(self) -> list[Tensor]:
        return self.encoder.tables(self.embedding.weight)

    def classify(self, tables: list[Tensor], characters: Tensor, mask: Tensor) -> Tensor:
        return self._scores(self.encoder.of_tables(tables, characters, mask))

    def _scores(self, encoded: Tensor) -> Tensor:
        if self.training:
            # Not functional.dropout, which draws its numbers six times slower on a CPU.
            kept = torch.rand(encoded.shape) >= self.dropout
            encoded = encoded * kept.to(encoded.dtype).mul_(1 / (1 - self.dropout))
        scores: Tensor = self.linear(encoded)
        return scores.float()


class Ours:
    """The convolution encoder on the same characters, each title as long as it is."""

    def __init__(self, train: Sequence[tutorial.Example], setup: Setup) -> None:
        torch.manual_seed(setup.seed)
        self.setup = setup
        counts = Counter(character for title, _ in train for character in title)
        # A character seen once stands for all that training never saw.
        known = (character for character, count in counts.most_common() if count > 1)
        self.characters = {character: number for number, character in enumerate(known, UNKNOWN + 1)}
        self.classes = {label: number for number, label in enumerate(sorted({label for _, label in train}))}
        self.columns = self._encode([title for title, _ in train])
        self.labels = torch.tensor([self.classes[label] for _, label in train])
        self.network = Network(len(self.characters) + 2, len(self.classes), setup)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=setup.lr, weight_decay=setup.weight_decay, fused=True
        )
        self.epochs_done = 0

    def _encode(self, titles: Sequence[str]) -> Columns:
        ids = np.fromiter(
            (self.characters.get(character, UNKNOWN) for title in titles for character in title), dtype=np.int32
        )
        lengths = np.fromiter(map(len, titles), dtype=np.int64, count=len(titles))
        return Columns({"characters": ids}, np.concatenate(([0], lengths.cumsum())))

    def _inputs(self, columns: Columns, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        batch = collate(columns, rows)
        return torch.from_numpy(batch["characters"]), torch.from_numpy(batch["mask"])

    def epoch(self) -> float:
        began = time.process_time()
        self.network.train()
        setup = self.setup
        batches = training_batches(self.columns.lengths, setup.budget, seed=setup.seed, epoch=self.epochs_done + 1)
        for number, rows in enumerate(batches):
            done = (self.epochs_done + number / len(batches)) / setup.epochs
            for group in self.optimizer.param_groups:
                group["lr"] = setup.lr * min(1.0, 10 * done + 0.01) * max(0.0, 1 - done)
            with torch.autocast("cpu", torch.bfloat16, enabled=setup.bf16):
                scores = self.network(*self._inputs(self.columns, rows))
            targets = self.labels[torch.from_numpy(rows)]
            self.optimizer.zero_grad()
            functional.cross_entropy(scores, targets, label_smoothing=setup.smoothing).backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimizer.step()
        self.epochs_done += 1
        return time.process_time() - began

    @torch.no_grad()
    def classify(self, titles: Sequence[str]) -> tuple[list[int], float]:
        self.network.eval()
        tables = self.network.tables()  # once a model, not once a call
        began = time.process_time()
        columns = self._encode(titles)
        found = np.empty(len(titles), dtype=np.int64)
        for rows in length_batches(columns.lengths, PREDICTION_BUDGET):
            found[rows] = self.network.classify(tables, *self._inputs(columns, rows)).argmax(1).numpy()
        return found.tolist(), time.process_time() - began

    def accuracy(self, test: Sequence[tutorial.Example], predicted: Sequence[int]) -> float:
        right = (self.classes.get(label) == number for (_, label), number in zip(test, predicted, strict=True))
        return sum(right) / len(test)


class Tutorial:
    """The tutorial's network on the same titles."""

    def __init__(self, train: Sequence[tutorial.Example], classes: dict[str, int], seed: int) -> None:
        torch.manual_seed(seed)
        random.seed(seed)
        self.characters, self.classes = tutorial.vocabulary(train), classes
        self.rows = tutorial.encode(train, self.characters, classes)
        self.model = tutorial.TutorialTextCnn(len(self.characters) + 2, len(classes))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def epoch(self) -> float:
        began = time.process_time()
        tutorial.train_epoch(self.model, self.rows, self.optimizer)
        return time.process_time() - began

    def classify(self, titles: Sequence[str]) -> tuple[list[int], float]:
        began = time.process_time()
        rows = tutorial.encode([(title, "") for title in titles], self.characters, self.classes)
        return tutorial.classify(self.model, rows), time.process_time() - began


def read_arguments() -> argparse.Namespace:
    parser = tutorial.argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--our-epochs", type=int, default=Setup.epochs)
    parser.add_argument("--kernel-sizes", type=int, nargs="+", default=Setup.kernel_sizes)
    for name in ("width", "filters", "budget"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Setup, name))
    for name in ("dropout", "token_dropout", "lr", "weight_decay", "smoothing"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(Setup, name))
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=Setup.bf16)
    return parser.parse_args()


def setup_from(arguments: argparse.Namespace) -> Setup:
    names = ("width", "filters", "dropout", "token_dropout", "budget", "lr", "weight_decay", "smoothing", "bf16")
    chosen = {name: getattr(arguments, name) for name in names}
    return Setup(**chosen, kernel_sizes=tuple(arguments.kernel_sizes), epochs=arguments.our_epochs, seed=arguments.seed)


def result_line(name: str, model: Tutorial | Ours, ours: Ours, test: Sequence[tutorial.Example]) -> str:
    titles = [title for title, _ in test]
    rounds = 1 if isinstance(model, Tutorial) else CLASSIFYING_ROUNDS
    runs = [model.classify(titles) for _ in range(rounds)]
    speed = len(titles) / statistics.median(seconds for _, seconds in runs)
    return f"{name:<18}  test accuracy {ours.accuracy(test, runs[0][0]):.4f}  {speed:>9,.0f} titles/s"


def main() -> None:
    arguments = read_arguments()
    torch.set_num_threads(1)
    train, test = tutorial.read(arguments.train), tutorial.read(arguments.test)
    ours = Ours(train, setup_from(arguments))
    theirs = Tutorial(train, ours.classes, arguments.seed)
    seconds: tuple[list[float], list[float]] = ([], [])
    for epoch in range(1, max(arguments.epochs, arguments.our_epochs) + 1):
        line = f"epoch {epoch:>2}:"
        for name, model, wanted, column in (
            ("tutorial", theirs, arguments.epochs, seconds[0]),
            ("nlp_app", ours, arguments.our_epochs, seconds[1]),
        ):
            if epoch <= wanted:
                column.append(model.epoch())
                line += f" {name} {column[-1]:.2f} s"
        print(line, flush=True)
    medians = [statistics.median(column) for column in seconds]
    ratio = statistics.median(a / b for a, b in zip(*seconds, strict=False))
    print(f"median epoch: tutorial {medians[0]:.2f} CPU s, nlp_app {medians[1]:.2f} CPU s, ratio {ratio:.1f}")
    print(f"all epochs: tutorial {sum(seconds[0]):.1f} CPU s, nlp_app {sum(seconds[1]):.1f} CPU s")
    for name, model in (("tutorial TextCNN", theirs), ("nlp_app", ours)):
        print(result_line(name, model, ours, test), flush=True)


if __name__ == "__main__":
    main()
