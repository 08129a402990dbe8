"""The processes that train together, one or several, and what they tell each other.

Every process holds the whole network and takes its share of each batch; gradients are summed, so all make the same
update. Accelerate says which processes there are, whoever started them (`accelerate launch`, `torchrun`). What decides
the course of a run (numbers of targets, a wish to stop) goes between their CPUs, so that no accelerator is waited for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch import Tensor, distributed

from nlp_app.errors import TrainingError

_PATIENCE = timedelta(days=1)  # the others wait while the first one reads and writes; a dead one is noticed anyway
_BUCKET = 1 << 24  # numbers of gradients that are summed at a time


@dataclass(frozen=True)
class Processes:
    """This process and its peers. `control`: the group that CPUs talk in; None: the only one there is."""

    rank: int = 0
    count: int = 1
    control: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def totals(self, numbers: Sequence[int]) -> list[int]:
        """The sum of each number over all processes."""
        return self._reduced(numbers, distributed.ReduceOp.SUM)

    def most(self, numbers: Sequence[int]) -> list[int]:
        """The greatest of each number over all processes."""
        return self._reduced(numbers, distributed.ReduceOp.MAX)

    def _reduced(self, numbers: Sequence[int], how: Any) -> list[int]:
        if self.count == 1:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.int64)
        with _peers():
            distributed.all_reduce(tensor, how, group=self.control)
        found: list[int] = tensor.tolist()
        return found

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes, in its place."""
        if self.count > 1:
            with _peers():
                distributed.all_reduce(tensor)
        return tensor

    def gather(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Each process's array, in the order of ranks; they may differ in their first dimension only."""
        if self.count == 1:
            return [array]
        sizes = self.totals([len(array) if rank == self.rank else 0 for rank in range(self.count)])
        padded = np.zeros((max(sizes), *array.shape[1:]), dtype=array.dtype)
        padded[: len(array)] = array
        parts = [torch.from_numpy(np.empty_like(padded)) for _ in sizes]
        with _peers():
            distributed.all_gather(parts, torch.from_numpy(padded), group=self.control)
        return [part.numpy()[:size] for part, size in zip(parts, sizes, strict=True)]

    def wait(self) -> None:
        """Until all processes are here."""
        self.totals([0])

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Do something in the main process, then in the others: they find what it has left. If it fails there, the
        others wait to be stopped."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Give each parameter the sum of its gradients over all processes; a process without one adds nothing."""
        if self.count == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        kinds = self.most([_kind(parameter) for parameter in trained])
        self._sum_dense([parameter for parameter, kind in zip(trained, kinds, strict=True) if kind == _DENSE])
        for parameter, kind in zip(trained, kinds, strict=True):
            if kind == _SPARSE:
                parameter.grad = self._sparse_sum(parameter)

    def _sum_dense(self, parameters: Sequence[Tensor]) -> None:
        for bucket in _buckets(parameters):
            gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in bucket]
            flat = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
            parts = torch.split(flat, [each.numel() for each in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                parameter.grad = part.view_as(parameter).clone() if len(bucket) > 1 else part.view_as(parameter)

    def _sparse_sum(self, parameter: Tensor) -> Tensor:
        """The sum of sparse gradients, rows of a table, each used row once."""
        width = parameter.shape[1:]
        if parameter.grad is None:
            rows = torch.zeros(0, dtype=torch.int64, device=parameter.device)
            values = parameter.detach().new_zeros((0, *width))
        else:
            own = parameter.grad.coalesce()
            rows, values = own.indices()[0], own.values()
        sizes = self.totals([len(rows) if rank == self.rank else 0 for rank in range(self.count)])
        all_rows, all_values = self._joined(rows, sizes), self._joined(values, sizes)
        return torch.sparse_coo_tensor(all_rows[None], all_values, parameter.shape, check_invariants=False).coalesce()

    def _joined(self, own: Tensor, sizes: Sequence[int]) -> Tensor:
        padded = own.new_zeros((max(sizes), *own.shape[1:]))
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        with _peers():
            distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


ALONE = Processes()
_NONE, _DENSE, _SPARSE = range(3)


def _kind(parameter: Tensor) -> int:
    if parameter.grad is None:
        return _NONE
    return _SPARSE if parameter.grad.is_sparse else _DENSE


def _buckets(parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Runs of parameters of one type, small enough to be copied side by side."""
    bucket: list[Tensor] = []
    for parameter in parameters:
        full = sum(each.numel() for each in bucket) + parameter.numel() > _BUCKET
        if bucket and (full or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


@contextmanager
def _peers() -> Iterator[None]:
    """Name what a broken exchange means. Raises TrainingError."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().partition(". ")[0].partition("\n")[0]
        raise TrainingError(
            f"another process of the run has failed or was stopped ({reason}); see what it says, "
            "and go on with --resume"
        ) from error


def join_processes() -> Processes:
    """The processes that were started together; each has to call this, as often as the others."""
    # Without an accelerator Accelerate sees several processes only if it is told that CPUs are meant.
    state = PartialState(cpu=not torch.accelerator.is_available(), timeout=_PATIENCE)
    if state.num_processes == 1:
        return ALONE
    on_cpu = state.device.type == "cpu"
    control = None if on_cpu else distributed.new_group(backend="gloo", timeout=_PATIENCE)
    return Processes(state.process_index, state.num_processes, control)
