"""Predict with several processes. Chunks are sent in order, and their results are returned in order.

A worker has one chunk at a time, and the next one is ready when it has finished: no pipe ever blocks another, and only
a few chunks are in memory. JSON and the bytes of the output go through the pipes.
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

_AHEAD = 4  # chunks per worker in memory at most: waiting, in work, or finished out of order

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

_GOOD, _FAILED = b"+", b"-"  # first byte of a worker's message


@dataclass(frozen=True)
class ModelLocation:
    """A model's path, and how a worker loads it.

    Attributes:
        path: A model directory, or a name on the Hub.
        precision: Number format that a transformer computes in, as for `nlp_app.load`.
        trust_remote_code: Whether Python code that comes with the model may run.
        threads: The number of threads in each worker.
        backend: Library that computes the network, "numpy" or "torch".
    """

    path: str
    precision: str = "full"
    trust_remote_code: bool = False
    threads: int = 1
    backend: str = "torch"


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    chunk: Chunk | None = None  # the one in work


class Workers:
    """Processes that each load the model and predict chunks. A context manager, which ends them.

    Args:
        model: The model that each of them loads.
        options: The options of the predictions.
        count: The number of processes.
    """

    def __init__(self, model: ModelLocation, options: PredictionOptions, count: int) -> None:
        self._model, self._options, self._count = model, options, count
        self._workers: list[_Worker] = []

    def __enter__(self) -> Workers:
        context = multiprocessing.get_context("spawn")
        request = json.dumps({"model": asdict(self._model), "options": asdict(self._options)})
        resource_tracker.ensure_running()  # started later, it would unblock the signals again
        try:
            with _block_signals():  # Ctrl-C is for this process only, which ends the workers
                for _ in range(self._count):
                    ours, theirs = context.Pipe()
                    process = context.Process(target=run_worker, args=(theirs, request), daemon=True)
                    process.start()
                    theirs.close()
                    self._workers.append(_Worker(process, ours))
            for number, worker in enumerate(self._workers, 1):
                self._receive(worker, number)  # wait until it is ready
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.pipe.close()
            worker.process.kill()  # a worker has nothing to save
        for worker in self._workers:
            worker.process.join()
        self._workers = []

    def predict(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, bytes]]:
        """Predict chunks of records.

        Args:
            chunks: The chunks of the input.

        Yields:
            Each chunk with its part of the output, in the order of the input.

        Raises:
            NlpAppError: If a worker dies or fails.
        """
        remaining = iter(chunks)
        ready: deque[Chunk] = deque()
        pending: deque[Chunk] = deque()  # sent to workers, and not yielded yet
        done: dict[int, bytes] = {}
        idle = list(self._workers)
        while True:
            while len(ready) < self._count and len(pending) + len(ready) < _AHEAD * self._count:
                chunk = next(remaining, None)
                if chunk is None:
                    break
                ready.append(chunk)
                if idle:
                    pending.append(self._send(idle.pop(), ready.popleft()))
            while idle and ready:
                pending.append(self._send(idle.pop(), ready.popleft()))
            if not pending:
                return
            for worker in self._wait_for_workers():
                if worker.chunk is not None:
                    done[worker.chunk.number] = self._receive(worker, self._workers.index(worker) + 1)
                    worker.chunk = None
                    idle.append(worker)
            while pending and pending[0].number in done:
                chunk = pending.popleft()
                yield chunk, done.pop(chunk.number)

    def _wait_for_workers(self) -> list[_Worker]:
        """Wait until at least one worker has sent a message or died, and return those that have."""
        ready = wait([worker.pipe for worker in self._workers if worker.chunk is not None])
        return [worker for worker in self._workers if worker.pipe in ready]

    def _send(self, worker: _Worker, chunk: Chunk) -> Chunk:
        worker.chunk = chunk
        # A worker that has died is noticed when its result is received.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            worker.pipe.send_bytes(json.dumps(chunk.items, ensure_ascii=False).encode())
        return chunk

    def _receive(self, worker: _Worker, number: int) -> bytes:
        try:
            message = worker.pipe.recv_bytes()
        except (EOFError, OSError):  # it died before the message, or in the middle of it
            worker.process.join()
            code = worker.process.exitcode or 0
            how = f"was killed by signal {-code}" if code < 0 else f"exited with status {code}"
            advice = "if it ran out of memory, use fewer --workers"
            raise NlpAppError(f"worker {number} of {self._count} {how}; {advice}") from None
        if message.startswith(_FAILED):
            raise NlpAppError(message.removeprefix(_FAILED).decode())
        return message.removeprefix(_GOOD)


@contextlib.contextmanager
def _block_signals() -> Iterator[None]:
    """Block SIGINT, SIGTERM and SIGHUP for processes that are started within the block.

    This process gets them at the end of the block.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_worker(pipe: Connection, request_json: str) -> None:
    """Run a worker: load the model, then predict chunks until the other end of the pipe is closed.

    Args:
        pipe: The connection to the main process.
        request_json: JSON object with the fields of a `ModelLocation` and of `PredictionOptions`.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    from nlp_app.core.threads import limit_threads  # noqa: PLC0415
    from nlp_app.inference import load  # noqa: PLC0415 - slow to import; signals have to be ignored first

    request: dict[str, Any] = json.loads(request_json)
    model = ModelLocation(**request["model"])
    line = None
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the other end is gone
        try:
            limit_threads(model.threads)
            loaded = load(
                model.path,
                precision=model.precision,
                trust_remote_code=model.trust_remote_code,
                backend=model.backend,
            )
            predict = make_predictor(loaded, PredictionOptions(**request["options"]))
            pipe.send_bytes(_GOOD)
            while True:
                items = json.loads(pipe.recv_bytes())
                line = items[0]["line"]
                pipe.send_bytes(_GOOD + predict(items))
        except NlpAppError as error:
            pipe.send_bytes(_FAILED + str(error).encode())
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            pipe.send_bytes(_FAILED + str(out_of_memory_message(line)).encode())
