"""TextCNN as tutorials teach it, on PyTorch's Conv2d: a line of comparison for our benchmarks.

    python benchmarks/tutorial_textcnn.py --train F --test F [--epochs 5]

Plain on purpose, and without handicaps: a vocabulary of up to 10,000 characters, titles cut or padded to 32, random
embeddings (300), Conv2d over (B, 1, 32, 300) with 256 filters of 2, 3 and 4 characters, ReLU, max pooling, dropout .5,
one linear layer; Xavier's initial weights, Adam at 1e-3, random batches of 128. Files have `title TAB class` a line.
Prints CPU seconds an epoch at one thread, accuracy, and titles classified a second.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

Example = tuple[str, str]  # a title and its class
Row = tuple[list[int], int]
PADDING, UNKNOWN = 0, 1
VOCABULARY, PAD_SIZE, BATCH_SIZE = 10_000, 32, 128


class TutorialTextCnn(nn.Module):
    def __init__(self, num_characters: int, num_classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_characters, 300, padding_idx=PADDING)
        self.convolutions = nn.ModuleList(nn.Conv2d(1, 256, (size, 300)) for size in (2, 3, 4))
        self.dropout = nn.Dropout(0.5)
        self.linear = nn.Linear(256 * 3, num_classes)
        for name, parameter in self.named_parameters():
            if name.startswith("embedding"):
                continue
            if parameter.dim() > 1:
                nn.init.xavier_normal_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, characters: Tensor) -> Tensor:
        embedded = self.embedding(characters).unsqueeze(1)
        pooled = []
        for convolution in self.convolutions:
            activated = torch.relu(convolution(embedded)).squeeze(3)
            pooled.append(functional.max_pool1d(activated, activated.shape[2]).squeeze(2))
        scores: Tensor = self.linear(self.dropout(torch.cat(pooled, 1)))
        return scores


def read(path: Path) -> list[Example]:
    lines = path.read_text(encoding="utf-8").split("\n")
    return [(title, label) for title, _, label in (line.rpartition("\t") for line in lines if line.strip())]


def vocabulary(examples: Sequence[Example]) -> dict[str, int]:
    counts = Counter(character for title, _ in examples for character in title)
    common = [character for character, _ in counts.most_common(VOCABULARY)]
    return {character: number for number, character in enumerate(common, UNKNOWN + 1)}


def encode(examples: Sequence[Example], characters: dict[str, int], classes: dict[str, int]) -> list[Row]:
    rows = []
    for title, label in examples:
        ids = [characters.get(character, UNKNOWN) for character in title[:PAD_SIZE]]
        rows.append((ids + [PADDING] * (PAD_SIZE - len(ids)), classes.get(label, -1)))
    return rows


def batches(rows: Sequence[Row]) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(rows), BATCH_SIZE):
        some = rows[start : start + BATCH_SIZE]
        yield torch.tensor([ids for ids, _ in some]), torch.tensor([label for _, label in some])


def train_epoch(model: TutorialTextCnn, rows: Sequence[Row], optimizer: torch.optim.Optimizer) -> float:
    """Mean loss of the epoch's batches."""
    model.train()
    losses = []
    for characters, labels in batches(random.sample(rows, len(rows))):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(characters), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


@torch.no_grad()
def classify(model: TutorialTextCnn, rows: Sequence[Row]) -> list[int]:
    model.eval()
    return [number for characters, _ in batches(rows) for number in model(characters).argmax(1).tolist()]


def argument_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    for name in ("train", "test"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    return parser


def main() -> None:
    arguments = argument_parser(__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    random.seed(arguments.seed)
    train, test = read(arguments.train), read(arguments.test)
    characters = vocabulary(train)
    classes = {label: number for number, label in enumerate(sorted({label for _, label in train}))}
    model = TutorialTextCnn(len(characters) + 2, len(classes))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    rows = encode(train, characters, classes)

    for epoch in range(1, arguments.epochs + 1):
        began = time.process_time()
        loss = train_epoch(model, rows, optimizer)
        print(f"epoch {epoch}: loss {loss:.3f}, {time.process_time() - began:.1f} CPU s", flush=True)
    began = time.process_time()
    encoded = encode(test, characters, classes)
    predicted = classify(model, encoded)
    seconds = time.process_time() - began
    right = sum(number == label for number, (_, label) in zip(predicted, encoded, strict=True))
    print(f"test: accuracy {right / len(test):.4f}, {len(test) / seconds:,.0f} titles a second")


if __name__ == "__main__":
    main()
