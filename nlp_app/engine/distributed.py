"""Data-parallel training in one or several processes.

Every process holds the whole network and trains on its share of each batch. Gradients are summed, so all processes make
the same update. Accelerate finds the processes, started with `accelerate launch` or `torchrun`. Values that control the
run (numbers of targets, requests to stop) are exchanged between CPUs, so that no process waits for an accelerator.
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

_TIMEOUT = timedelta(days=1)  # long, as all wait while the main process reads and writes; a dead one is noticed anyway

_BUCKET_SIZE = 1 << 24  # gradient values summed in one exchange


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as seen by one of them.

    Attributes:
        rank: Rank of this process.
        count: Number of processes.
        control: Process group for exchanges between CPUs; None for the default group.
    """

    rank: int = 0
    count: int = 1
    control: Any = None

    @property
    def is_main(self) -> bool:
        """True in the process that writes files and messages."""
        return self.rank == 0

    def all_reduce_sum(self, numbers: Sequence[int]) -> list[int]:
        """Sum numbers over all processes.

        Args:
            numbers: Numbers of this process, as many in each process.

        Returns:
            The sum of each number.

        Raises:
            TrainingError: Another process has failed.
        """
        return self._all_reduce(numbers, distributed.ReduceOp.SUM)

    def all_reduce_max(self, numbers: Sequence[int]) -> list[int]:
        """Find the maximum of numbers over all processes.

        Args:
            numbers: Numbers of this process, as many in each process.

        Returns:
            The maximum of each number.

        Raises:
            TrainingError: Another process has failed.
        """
        return self._all_reduce(numbers, distributed.ReduceOp.MAX)

    def _all_reduce(self, numbers: Sequence[int], operation: Any) -> list[int]:
        if self.count == 1:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.int64)
        with _report_peer_failure():
            distributed.all_reduce(tensor, operation, group=self.control)
        reduced: list[int] = tensor.tolist()
        return reduced

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over all processes, in place.

        Args:
            tensor: Tensor of the same shape, type and device kind in all processes.

        Returns:
            The same tensor, with the sum.

        Raises:
            TrainingError: Another process has failed.
        """
        if self.count > 1:
            with _report_peer_failure():
                distributed.all_reduce(tensor)
        return tensor

    def gather(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Gather the arrays of all processes.

        Args:
            array: Array of this process; the arrays may differ in their first dimension only.

        Returns:
            The arrays, in the order of ranks.

        Raises:
            TrainingError: Another process has failed.
        """
        if self.count == 1:
            return [array]
        sizes = self.all_reduce_sum([len(array) if rank == self.rank else 0 for rank in range(self.count)])
        padded = np.zeros((max(sizes), *array.shape[1:]), dtype=array.dtype)
        padded[: len(array)] = array
        parts = [torch.from_numpy(np.empty_like(padded)) for _ in sizes]
        with _report_peer_failure():
            distributed.all_gather(parts, torch.from_numpy(padded), group=self.control)
        return [part.numpy()[:size] for part, size in zip(parts, sizes, strict=True)]

    def barrier(self) -> None:
        """Wait until all processes have reached this call.

        Raises:
            TrainingError: Another process has failed.
        """
        self.all_reduce_sum([0])

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Run the block in the main process first, then in the other processes, which can use its files.

        If the block fails in the main process, the other processes wait until they are stopped.

        Yields:
            Nothing; the block runs in every process.
        """
        if not self.is_main:
            self.barrier()
        yield
        if self.is_main:
            self.barrier()

    def all_reduce_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each parameter's gradient by its sum over all processes.

        A process without a gradient for a parameter counts as zero.

        Args:
            parameters: All parameters, in the same order in each process.

        Raises:
            TrainingError: Another process has failed.
        """
        if self.count == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in trained:
            if _gradient_kind(parameter) == _SPARSE:
                parameter.grad = parameter.grad.coalesce()  # type: ignore[union-attr]
        # One exchange for both: row 0 has the kind of each gradient, row 1 + rank the rows used by a process.
        table = np.zeros((1 + self.count, len(trained)), dtype=np.int64)
        table[0] = [_gradient_kind(parameter) for parameter in trained]
        table[1 + self.rank] = [_count_used_rows(parameter) for parameter in trained]
        kinds, *used = np.reshape(self.all_reduce_max(table.ravel().tolist()), table.shape)
        self._sum_dense([parameter for parameter, kind in zip(trained, kinds, strict=True) if kind == _DENSE])
        sparse = np.flatnonzero(kinds == _SPARSE).tolist()
        for _, group in groupby(sparse, key=lambda index: trained[index].dtype):
            indices = list(group)
            self._sum_sparse([trained[index] for index in indices], [counts[indices].tolist() for counts in used])

    def _sum_dense(self, parameters: Sequence[Tensor]) -> None:
        for bucket in _buckets(parameters):
            gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in bucket]
            flat = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
            parts = torch.split(flat, [each.numel() for each in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                parameter.grad = part.view_as(parameter).clone() if len(bucket) > 1 else part.view_as(parameter)

    def _sum_sparse(self, tables: Sequence[Tensor], used: Sequence[Sequence[int]]) -> None:
        """Sum coalesced sparse gradients of tables of one type.

        `used` has, for each process, the number of rows in its gradient of each table.
        """
        gradients = [table.grad for table in tables if table.grad is not None]
        template = tables[0].detach()
        rows = torch.cat([template.new_zeros(0, dtype=torch.int64), *(each.indices()[0] for each in gradients)])
        values = torch.cat([template.new_zeros(0), *(each.values().flatten() for each in gradients)])
        widths = [table[0].numel() for table in tables]
        sizes = [[count * width for count, width in zip(counts, widths, strict=True)] for counts in used]
        all_rows, all_values = self._all_gather_split(rows, used), self._all_gather_split(values, sizes)
        for number, table in enumerate(tables):
            indices = torch.cat([parts[number] for parts in all_rows])
            summed = torch.cat([parts[number] for parts in all_values]).view(-1, *table.shape[1:])
            table.grad = torch.sparse_coo_tensor(indices[None], summed, table.shape, check_invariants=False).coalesce()

    def _all_gather_split(self, own: Tensor, sizes: Sequence[Sequence[int]]) -> list[tuple[Tensor, ...]]:
        """Gather a flat tensor from each process, and split each one into parts of its `sizes`."""
        totals = [sum(each) for each in sizes]
        padded = own.new_zeros(max(1, *totals))
        padded[: len(own)] = own
        gathered = [torch.empty_like(padded) for _ in sizes]
        with _report_peer_failure():
            distributed.all_gather(gathered, padded)
        return [
            torch.split(flat[:total], list(each)) for flat, total, each in zip(gathered, totals, sizes, strict=True)
        ]


ALONE = Processes()

_NONE, _DENSE, _SPARSE = range(3)


def _gradient_kind(parameter: Tensor) -> int:
    if parameter.grad is None:
        return _NONE
    return _SPARSE if parameter.grad.is_sparse else _DENSE


def _count_used_rows(parameter: Tensor) -> int:
    """Count the rows of a coalesced sparse gradient; 0 for a dense or missing one."""
    gradient = parameter.grad
    return gradient._nnz() if gradient is not None and gradient.is_sparse else 0


def _buckets(parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Group consecutive parameters of one type into buckets that are copied into one tensor."""
    bucket: list[Tensor] = []
    for parameter in parameters:
        full = sum(each.numel() for each in bucket) + parameter.numel() > _BUCKET_SIZE
        if bucket and (full or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


@contextmanager
def _report_peer_failure() -> Iterator[None]:
    """Turn the error of a broken exchange into a TrainingError that names the cause."""
    try:
        yield
    except torch.OutOfMemoryError:  # this process failed, not another one
        raise
    except RuntimeError as error:
        # The text begins with a place in torch's sources, which says nothing to the user.
        reason = re.sub(r"^\[[^]]*\]\s*", "", str(error).strip()).partition(". ")[0].partition("\n")[0]
        raise TrainingError(
            f"another process of the run has failed or was stopped ({reason}); see its messages, then resume with "
            "--resume"
        ) from error


def join_processes() -> Processes:
    """Join the processes that were started together.

    Each process has to call this function equally often.

    Returns:
        The processes of the run; `ALONE` if there is only this one.
    """
    # Without an accelerator, Accelerate finds several processes only with `cpu=True`.
    state = PartialState(cpu=not torch.accelerator.is_available(), timeout=_TIMEOUT)
    if state.num_processes == 1:
        return ALONE
    on_cpu = state.device.type == "cpu"
    control = None if on_cpu else distributed.new_group(backend="gloo", timeout=_TIMEOUT)
    return Processes(state.process_index, state.num_processes, control)
