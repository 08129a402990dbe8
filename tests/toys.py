"""Tiny models and batches for the tests of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nlp_app.engine import (
    ExponentialMovingAverage,
    Learner,
    OptimizerOptions,
    Schedule,
    ScheduleOptions,
    make_accelerator,
    make_optimizers,
)


@dataclass(frozen=True)
class ToyBatch:
    inputs: dict[str, Tensor]
    targets: int
    rows: Sequence[int]

    def halves(self) -> tuple[ToyBatch, ToyBatch]:
        middle = len(self.rows) // 2
        return self._part(slice(None, middle)), self._part(slice(middle, None))

    def _part(self, part: slice) -> ToyBatch:
        rows = self.rows[part]
        return ToyBatch({name: value[part] for name, value in self.inputs.items()}, len(rows), rows)


class Dense(nn.Module):
    """Two layers with dropout and a squared error, summed over the targets."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.body = nn.Linear(4, 8)
        self.norm = nn.LayerNorm(8)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        hidden = self.drop(torch.tanh(self.norm(self.body(x))))
        return (self.head(hidden).squeeze(-1) - y).pow(2).sum()


class Wide(Dense):
    """The same, with a sparse table of scores added."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.wide = nn.EmbeddingBag(50, 1, mode="sum", sparse=True)

    def forward(self, x: Tensor, y: Tensor, ids: Tensor) -> Tensor:
        return super().forward(x, y - self.wide(ids).squeeze(-1))


def toy_batches(sizes: Sequence[int], seed: int = 0, ids: bool = False) -> list[ToyBatch]:
    """A batch of each size; rows count through."""
    generator = torch.Generator().manual_seed(seed)
    batches, row = [], 0
    for size in sizes:
        inputs = {
            "x": torch.randn(size, 4, generator=generator),
            "y": torch.randn(size, generator=generator),
        }
        if ids:
            inputs["ids"] = torch.randint(0, 50, (size, 3), generator=generator)
        batches.append(ToyBatch(inputs, size, range(row, row + size)))
        row += size
    return batches


def toy_learner(
    make_model: Callable[[], nn.Module] = Dense,
    optimizer: OptimizerOptions | None = None,
    schedule: ScheduleOptions | None = None,
    decay: float | None = None,
    precision: str = "no",
) -> Learner:
    """A learner on the CPU; the same weights at each call."""
    torch.manual_seed(7)
    model = make_model()
    return Learner(
        model,
        make_optimizers(model, optimizer or OptimizerOptions(lr=0.01)),
        Schedule(schedule or ScheduleOptions(total_steps=100, name="constant")),
        make_accelerator(precision, cpu=True),
        seed=3,
        average=None if decay is None else ExponentialMovingAverage(model, decay),
    )


def weights(learner: Learner) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in learner.model.state_dict().items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Bit for bit."""
    assert found.keys() == expected.keys()
    different = [name for name in found if not torch.equal(found[name], expected[name])]
    assert not different
