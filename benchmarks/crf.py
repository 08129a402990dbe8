"""LinearChainCRF beside pytorch-crf: one process, one thread, CPU seconds, the same numbers in and out.

    python benchmarks/crf.py [--repeats 10]

Medians over interleaved blocks of calls, so that other load on the machine falls on both alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchcrf import CRF

from nlp_app.nn import LinearChainCRF

BLOCK = 5  # calls in a row
SIZES = [  # rows, positions, tags, ragged
    (32, 40, 20, False),
    (32, 40, 35, False),
    (8, 20, 9, False),
    (64, 100, 20, False),
    (1, 40, 20, False),
    (32, 40, 20, True),
    (64, 100, 33, True),
]


def pair(num_tags: int) -> tuple[LinearChainCRF, CRF]:
    """Both with the same parameters."""
    ours, theirs = LinearChainCRF(num_tags), CRF(num_tags, batch_first=True)
    with torch.no_grad():
        ours.transitions.copy_(theirs.transitions)
        ours.start.copy_(theirs.start_transitions)
        ours.end.copy_(theirs.end_transitions)
    return ours, theirs


def batch(rows: int, positions: int, num_tags: int, ragged: bool) -> tuple[Tensor, Tensor, Tensor]:
    lengths = torch.randint(1, positions + 1, (rows,)) if ragged else torch.full((rows,), positions)
    lengths[0] = positions
    mask = torch.arange(positions) < lengths.unsqueeze(1)
    emissions = torch.randn(rows, positions, num_tags, requires_grad=True)
    return emissions, torch.randint(num_tags, (rows, positions)), mask


def medians(calls: list[Callable[[], object]], repeats: int) -> list[float]:
    """Milliseconds of CPU for each call."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, found in zip(calls, seconds, strict=True):
            call()
            for _ in range(BLOCK):
                began = time.process_time()
                call()
                found.append(time.process_time() - began)
    return [statistics.median(found) * 1e3 for found in seconds]


def compare(rows: int, positions: int, num_tags: int, ragged: bool, repeats: int) -> str:
    ours, theirs = pair(num_tags)
    emissions, tags, mask = batch(rows, positions, num_tags, ragged)

    def our_loss() -> Tensor:
        return -ours(emissions, tags, mask).sum()

    def their_loss() -> Tensor:
        return -theirs(emissions, tags, mask)

    torch.testing.assert_close(our_loss(), their_loss(), rtol=1e-4, atol=1e-3)
    if ours.decode(emissions, mask) != theirs.decode(emissions, mask):
        raise SystemExit("the two decode differently")
    loss, their, decode, their_decode = medians(
        [
            lambda: our_loss().backward(),
            lambda: their_loss().backward(),
            lambda: ours.decode(emissions, mask),
            lambda: theirs.decode(emissions, mask),
        ],
        repeats,
    )
    tokens = int(mask.sum())
    return (
        f"{rows:4} x {positions:3} x {num_tags:2} {'ragged' if ragged else 'full  '}"
        f" {their:8.2f} {loss:8.2f} {their / loss:5.1f}x   {their_decode:8.2f} {decode:8.2f}"
        f" {their_decode / decode:5.1f}x {decode * 1e3 / tokens:8.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("milliseconds of CPU     loss, forward + backward          best paths")
    print("rows, positions, tags   torchcrf  nlp_app  ratio   torchcrf  nlp_app  ratio us/token")
    for size in SIZES:
        print(compare(*size, repeats), flush=True)


if __name__ == "__main__":
    main()
