"""Several processes that predict: chunks go out in order, and their answers come back in order.

A worker has one chunk at a time, and the next is ready when it has answered: so no pipe ever waits for another, and no
more than a few chunks are in memory. What goes through the pipes is JSON and the bytes of the output.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from nlp_app.core.errors import NlpAppError, is_out_of_memory
from nlp_app.inference.files.output_lines import PredictionOptions, make_predictor, out_of_memory_message
from nlp_app.inference.files.records import Chunk

_AHEAD = 4  # chunks a worker that may be answered before the one that is due next

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

_GOOD, _FAILED = b"+", b"-"  # how what a worker says begins


@dataclass(frozen=True)
class ModelLocation:
    """How each worker loads the model."""

    path: str
    precision: str = "full"
    trust_remote_code: bool = False
    threads: int = 1


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    chunk: Chunk | None = None  # what it is at


class Workers:
    """`count` processes with a model each; a context, at whose end they are gone."""

    def __init__(self, model: ModelLocation, question: PredictionOptions, count: int) -> None:
        self._model, self._question, self._count = model, question, count
        self._workers: list[_Worker] = []

    def __enter__(self) -> Workers:
        context = multiprocessing.get_context("spawn")
        order = json.dumps({"model": asdict(self._model), "question": asdict(self._question)})
        resource_tracker.ensure_running()  # it would take back what follows
        try:
            with _no_signals():  # Ctrl-C is for this process, which ends the others
                for _ in range(self._count):
                    ours, theirs = context.Pipe()
                    process = context.Process(target=run_worker, args=(theirs, order), daemon=True)
                    process.start()
                    theirs.close()
                    self._workers.append(_Worker(process, ours))
            for number, worker in enumerate(self._workers, 1):
                self._receive(worker, number)  # it is ready
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.pipe.close()
            worker.process.kill()  # nothing is theirs to keep
        for worker in self._workers:
            worker.process.join()
        self._workers = []

    def answers(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, bytes]]:
        """Each chunk with its part of the output, in order. Raises NlpAppError if a worker dies or fails."""
        coming = iter(chunks)
        ready: deque[Chunk] = deque()
        order: deque[Chunk] = deque()  # handed out, and not given back yet
        done: dict[int, bytes] = {}
        idle = list(self._workers)
        while True:
            while len(ready) < self._count and len(order) + len(ready) < _AHEAD * self._count:
                chunk = next(coming, None)
                if chunk is None:
                    break
                ready.append(chunk)
                if idle:
                    order.append(self._send(idle.pop(), ready.popleft()))
            while idle and ready:
                order.append(self._send(idle.pop(), ready.popleft()))
            if not order:
                return
            for worker in self._answered():
                if worker.chunk is not None:
                    done[worker.chunk.number] = self._receive(worker, self._workers.index(worker) + 1)
                    worker.chunk = None
                    idle.append(worker)
            while order and order[0].number in done:
                chunk = order.popleft()
                yield chunk, done.pop(chunk.number)

    def _answered(self) -> list[_Worker]:
        """Workers that have something to say, at least that they are dead; waits for one."""
        found = wait([worker.pipe for worker in self._workers if worker.chunk is not None])
        return [worker for worker in self._workers if worker.pipe in found]

    def _send(self, worker: _Worker, chunk: Chunk) -> Chunk:
        worker.chunk = chunk
        # A worker that died is noticed when its answer is due.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            worker.pipe.send_bytes(json.dumps(chunk.items, ensure_ascii=False).encode())
        return chunk

    def _receive(self, worker: _Worker, number: int) -> bytes:
        try:
            said = worker.pipe.recv_bytes()
        except (EOFError, OSError):  # it died before, or in the middle of what it said
            worker.process.join()
            code = worker.process.exitcode or 0
            how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
            advice = "if memory ran out, use fewer --workers"
            raise NlpAppError(f"worker {number} of {self._count} {how}; {advice}") from None
        if said.startswith(_FAILED):
            raise NlpAppError(said.removeprefix(_FAILED).decode())
        return said.removeprefix(_GOOD)


@contextlib.contextmanager
def _no_signals() -> Iterator[None]:
    """Processes started in here never get the signals that stop a command; this one gets them afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_worker(pipe: Connection, order: str) -> None:
    """A worker: load the model, then answer until the other end is closed."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    import torch  # noqa: PLC0415 - the first thing that a worker needs time for

    from nlp_app.inference import load  # noqa: PLC0415

    wanted: dict[str, Any] = json.loads(order)
    model = ModelLocation(**wanted["model"])
    line = None
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the other end is gone
        try:
            torch.set_num_threads(model.threads)
            loaded = load(model.path, precision=model.precision, trust_remote_code=model.trust_remote_code)
            answer = make_predictor(loaded, PredictionOptions(**wanted["question"]))
            pipe.send_bytes(_GOOD)
            while True:
                items = json.loads(pipe.recv_bytes())
                line = items[0]["line"]
                pipe.send_bytes(_GOOD + answer(items))
        except NlpAppError as error:
            pipe.send_bytes(_FAILED + str(error).encode())
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            pipe.send_bytes(_FAILED + str(out_of_memory_message(line)).encode())
