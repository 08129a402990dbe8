"""The BiLSTM-CRF as tutorials teach it, on PyTorch and pytorch-crf: a line of comparison for our benchmarks.

    python benchmarks/tutorial_tagger.py --train F --dev F --test F [--epochs 10]

Plain on purpose, and without handicaps: Python strings looked up in the collate function, random batches of 32
padded to their longest, one packed bidirectional LSTM (100 -> 2 x 128), dropout .5, pytorch-crf, Adam at 1e-3.
Files have a token and a tag a line and a blank line after each sentence. Prints CPU seconds an epoch at one
thread, entity F1 (seqeval, after conversion to BIO), and tokens tagged a second.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from seqeval.metrics import f1_score
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader
from torchcrf import CRF

Sentence = tuple[list[str], list[str]]
Batch = tuple[Tensor, Tensor, Tensor]
PADDING, UNKNOWN = "<pad>", "<unk>"


class TutorialTagger(nn.Module):
    def __init__(self, num_tokens: int, num_tags: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, 100, padding_idx=0)
        self.lstm = nn.LSTM(100, 128, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.5)
        self.linear = nn.Linear(256, num_tags)
        self.crf = CRF(num_tags, batch_first=True)

    def emissions(self, tokens: Tensor, mask: Tensor) -> Tensor:
        embedded = self.dropout(self.embedding(tokens))
        packed = pack_padded_sequence(embedded, mask.sum(1), batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        scores: Tensor = self.linear(self.dropout(hidden))
        return scores

    def loss(self, tokens: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        likelihood: Tensor = self.crf(self.emissions(tokens, mask), tags, mask, reduction="mean")
        return -likelihood

    def decode(self, tokens: Tensor, mask: Tensor) -> list[list[int]]:
        paths: list[list[int]] = self.crf.decode(self.emissions(tokens, mask), mask)
        return paths


def read(path: Path) -> list[Sentence]:
    sentences: list[Sentence] = []
    tokens: list[str] = []
    tags: list[str] = []
    for line in [*path.read_text(encoding="utf-8").splitlines(), ""]:
        if line.strip():
            token, tag = line.split()
            tokens.append(token)
            tags.append(tag)
        elif tokens:
            sentences.append((tokens, tags))
            tokens, tags = [], []
    return sentences


def numbered(symbols: Iterable[str], first: Iterable[str] = ()) -> dict[str, int]:
    return {symbol: number for number, symbol in enumerate(dict.fromkeys([*first, *symbols]))}


def collate_with(token_ids: dict[str, int], tag_ids: dict[str, int]) -> Callable[[list[Sentence]], Batch]:
    def collate(batch: list[Sentence]) -> Batch:
        unknown = token_ids[UNKNOWN]
        tokens = [torch.tensor([token_ids.get(token, unknown) for token in sentence]) for sentence, _ in batch]
        tags = [torch.tensor([tag_ids.get(tag, 0) for tag in tags]) for _, tags in batch]
        padded = pad_sequence(tokens, batch_first=True)
        return padded, pad_sequence(tags, batch_first=True), padded != 0

    return collate


def train_epoch(model: TutorialTagger, batches: Iterable[Batch], optimizer: torch.optim.Optimizer) -> float:
    """Mean loss of the epoch's batches."""
    model.train()
    losses = []
    for tokens, tags, mask in batches:
        optimizer.zero_grad()
        loss = model.loss(tokens, tags, mask)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


@torch.no_grad()
def tag(model: TutorialTagger, batches: Iterable[Batch], tag_names: list[str]) -> list[list[str]]:
    model.eval()
    return [
        [tag_names[number] for number in path] for tokens, _, mask in batches for path in model.decode(tokens, mask)
    ]


def as_bio(tags: list[str]) -> list[str]:
    """BMES (or BIOES, or BIO) to BIO: a tag opens an entity where it says so, or where nothing of its type is open."""
    result: list[str] = []
    open_type = ""
    for tag in tags:
        prefix, _, label = tag.partition("-")
        if not label:
            result.append("O")
            open_type = ""
            continue
        result.append(("I-" if prefix in "MIE" and label == open_type else "B-") + label)
        open_type = "" if prefix in "ES" else label
    return result


def entity_f1(gold: list[Sentence], predicted: list[list[str]]) -> float:
    score: float = f1_score([as_bio(tags) for _, tags in gold], [as_bio(tags) for tags in predicted])
    return score


def argument_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    for name in ("train", "dev", "test"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    return parser


def main() -> None:
    arguments = argument_parser(__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)

    train, dev, test = (read(path) for path in (arguments.train, arguments.dev, arguments.test))
    token_ids = numbered((token for tokens, _ in train for token in tokens), (PADDING, UNKNOWN))
    tag_ids = numbered(tag for _, tags in train for tag in tags)
    tag_names, collate = list(tag_ids), collate_with(token_ids, tag_ids)
    model = TutorialTagger(len(token_ids), len(tag_ids))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = DataLoader(train, batch_size=32, shuffle=True, collate_fn=collate)

    for epoch in range(1, arguments.epochs + 1):
        began = time.process_time()
        loss = train_epoch(model, batches, optimizer)
        print(f"epoch {epoch}: loss {loss:.3f}, {time.process_time() - began:.1f} CPU s", flush=True)
    for name, gold in (("dev", dev), ("test", test)):
        began = time.process_time()
        predicted = tag(model, DataLoader(gold, batch_size=32, collate_fn=collate), tag_names)
        seconds = time.process_time() - began
        count = sum(len(tokens) for tokens, _ in gold)
        print(f"{name}: F1 {entity_f1(gold, predicted):.3f}, {count / seconds:,.0f} tokens a second")


if __name__ == "__main__":
    main()
