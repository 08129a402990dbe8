"""The processes that train together, one or several, and what they tell each other.

Every process holds the whole network and takes its share of each batch; gradients are summed, so all make the same
update. Accelerate says which processes there are, whoever started them (`accelerate launch`, `torchrun`). What decides
the course of a run (numbers of targets, a wish to stop) goes between their CPUs, so that no accelerator is waited for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch import Tensor, distributed

from nlp_app.core.errors import TrainingError

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

    def all_reduce_sum(self, numbers: Sequence[int]) -> list[int]:
        """The sum of each number over all processes."""
        return self._reduced(numbers, distributed.ReduceOp.SUM)

    def all_reduce_max(self, numbers: Sequence[int]) -> list[int]:
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
        sizes = self.all_reduce_sum([len(array) if rank == self.rank else 0 for rank in range(self.count)])
        padded = np.zeros((max(sizes), *array.shape[1:]), dtype=array.dtype)
        padded[: len(array)] = array
        parts = [torch.from_numpy(np.empty_like(padded)) for _ in sizes]
        with _peers():
            distributed.all_gather(parts, torch.from_numpy(padded), group=self.control)
        return [part.numpy()[:size] for part, size in zip(parts, sizes, strict=True)]

    def barrier(self) -> None:
        """Until all processes are here."""
        self.all_reduce_sum([0])

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Do something in the main process, then in the others: they find what it has left. If it fails there, the
        others wait to be stopped."""
        if not self.is_main:
            self.barrier()
        yield
        if self.is_main:
            self.barrier()

    def all_reduce_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Give each parameter the sum of its gradients over all processes; a process without one adds nothing."""
        if self.count == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in trained:
            if _kind(parameter) == _SPARSE:
                parameter.grad = parameter.grad.coalesce()  # type: ignore[union-attr]
        # In one exchange: what kind of gradient each has, and how many rows of it are each process's.
        told = np.zeros((1 + self.count, len(trained)), dtype=np.int64)
        told[0] = [_kind(parameter) for parameter in trained]
        told[1 + self.rank] = [_used_rows(parameter) for parameter in trained]
        kinds, *used = np.reshape(self.all_reduce_max(told.ravel().tolist()), told.shape)
        self._sum_dense([parameter for parameter, kind in zip(trained, kinds, strict=True) if kind == _DENSE])
        tables = np.flatnonzero(kinds == _SPARSE).tolist()
        for _, alike in groupby(tables, key=lambda place: trained[place].dtype):
            places = list(alike)
            self._sum_sparse([trained[place] for place in places], [sizes[places].tolist() for sizes in used])

    def _sum_dense(self, parameters: Sequence[Tensor]) -> None:
        for bucket in _buckets(parameters):
            gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in bucket]
            flat = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
            parts = torch.split(flat, [each.numel() for each in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                parameter.grad = part.view_as(parameter).clone() if len(bucket) > 1 else part.view_as(parameter)

    def _sum_sparse(self, tables: Sequence[Tensor], used: Sequence[Sequence[int]]) -> None:
        """Sum gradients that are rows of tables, each used row once; `used`: of each process, its rows of each."""
        gradients = [table.grad for table in tables]
        some = [gradient for gradient in gradients if gradient is not None]
        none = tables[0].detach()
        rows = torch.cat([none.new_zeros(0, dtype=torch.int64), *(each.indices()[0] for each in some)])
        values = torch.cat([none.new_zeros(0), *(each.values().flatten() for each in some)])
        widths = [table[0].numel() for table in tables]
        numbers = [[count * width for count, width in zip(counts, widths, strict=True)] for counts in used]
        of_rows, of_values = self._parts(rows, used), self._parts(values, numbers)
        for place, table in enumerate(tables):
            indices = torch.cat([parts[place] for parts in of_rows])
            summed = torch.cat([parts[place] for parts in of_values]).view(-1, *table.shape[1:])
            table.grad = torch.sparse_coo_tensor(indices[None], summed, table.shape, check_invariants=False).coalesce()

    def _parts(self, own: Tensor, sizes: Sequence[Sequence[int]]) -> list[tuple[Tensor, ...]]:
        """What each process has side by side, in the parts that it is made of, each of its `sizes`."""
        totals = [sum(each) for each in sizes]
        padded = own.new_zeros(max(1, *totals))
        padded[: len(own)] = own
        found = [torch.empty_like(padded) for _ in sizes]
        with _peers():
            distributed.all_gather(found, padded)
        return [torch.split(whole[:total], list(each)) for whole, total, each in zip(found, totals, sizes, strict=True)]


ALONE = Processes()

_NONE, _DENSE, _SPARSE = range(3)


def _kind(parameter: Tensor) -> int:
    if parameter.grad is None:
        return _NONE
    return _SPARSE if parameter.grad.is_sparse else _DENSE


def _used_rows(parameter: Tensor) -> int:
    """Of how many rows a coalesced sparse gradient is; 0 where there is none, or another."""
    gradient = parameter.grad
    return gradient._nnz() if gradient is not None and gradient.is_sparse else 0


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
    except torch.OutOfMemoryError:  # this process's own trouble
        raise
    except RuntimeError as error:
        # Without the place in torch's sources that it begins with.
        reason = re.sub(r"^\[[^]]*\]\s*", "", str(error).strip()).partition(". ")[0].partition("\n")[0]
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
