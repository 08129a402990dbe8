"""Predict on a whole file: select the records of this job, predict them, and write the results."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nlp_app.core.console import standard_output
from nlp_app.core.errors import DataError, NlpAppError, is_out_of_memory
from nlp_app.core.files import atomic_file
from nlp_app.core.progress_bar import progress_bar
from nlp_app.core.signals import Interrupted
from nlp_app.formats.io.compression import compress_frame
from nlp_app.formats.io.lines import count_lines
from nlp_app.formats.io.streams import open_input
from nlp_app.inference import Classifier, Tagger
from nlp_app.inference.files.job_options import InputFile, JobOptions, job_identity
from nlp_app.inference.files.journal import RESUMING, JournalledFile
from nlp_app.inference.files.output_lines import PredictionOptions, make_predictor, out_of_memory_message
from nlp_app.inference.files.records import BadRecords, Chunk, chunk_records, reject_unreadable_file
from nlp_app.inference.files.workers import Workers

Results = Iterator[tuple[Chunk, bytes]]


def predict_file(
    model: Tagger | Classifier, options: PredictionOptions, input_file: InputFile, target: str | None, job: JobOptions
) -> list[str]:
    """Predict all records of an input and write the results in order.

    If the input can be read again and the output is a regular file, a journal is written, so that the job can be
    resumed.

    Args:
        model: The tagger or classifier.
        options: The options of the predictions.
        input_file: The input.
        target: The output: a path, or `-` or None for standard output.
        job: The options of the job.

    Returns:
        Notes for the user, to be shown at the end.

    Raises:
        DataError: If the input can't be read or the output can't be written.
        NlpAppError: If a worker dies or memory runs out.
        Interrupted: On Ctrl-C or SIGTERM, if the job can be resumed.
    """
    place = None if target is None or target == "-" else Path(target)
    is_stream = input_file.size is None and not input_file.is_data_set  # it can't be read again
    if place is None or is_stream or (place.exists() and not place.is_file() and not place.is_dir()):
        return _run_without_journal(model, options, input_file, place, job)
    out = JournalledFile(str(place), job_identity(model, options, input_file, job), job.resume, job.journal_seconds)
    if out.done:
        return [f"{place}: already finished; nothing to do"]
    selection = _Selection(input_file, job, out.chunks)
    try:
        _predict_all(model, options, selection, job, out.write)
        out.finish()
    except DataError:
        raise
    except NlpAppError as error:
        out.suspend()
        raise NlpAppError(f"{error}; {RESUMING}" if out.can_resume else str(error)) from error
    except KeyboardInterrupt as interrupt:
        out.suspend()
        if not out.can_resume:
            raise
        number = interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT
        raise Interrupted(f"stopped; {RESUMING}", number) from interrupt
    except BaseException:
        out.suspend()
        raise
    finally:
        out.close()
    return selection.notes()


def _run_without_journal(
    model: Tagger | Classifier, options: PredictionOptions, input_file: InputFile, place: Path | None, job: JobOptions
) -> list[str]:
    """Write the results as they come, if the job can't be resumed."""
    selection = _Selection(input_file, job, 0)
    if place is None:
        with standard_output() as out:
            _predict_all(model, options, selection, job, lambda data, _: out.write(data.decode()))
        return selection.notes()
    with atomic_file(place, binary=True) as stream:

        def write(data: bytes, _: int) -> None:
            stream.write(data)
            stream.flush()  # a reader may be waiting at the other end of a pipe

        _predict_all(model, options, selection, job, write)
    return selection.notes()


def _predict_all(
    model: Tagger | Classifier,
    options: PredictionOptions,
    selection: _Selection,
    job: JobOptions,
    write: Callable[[bytes, int], object],
) -> None:
    """Pass each chunk's part of the output to `write`, with the number of chunks that are done then."""
    with _explain_out_of_memory(selection), ExitStack() as stack:
        results = _predict_chunks(model, options, iter(selection), job, stack)
        bar: tqdm[Any] | None = None
        records = 0
        for chunk, data in results:
            if chunk.number == 0 and options.header:  # only the first part of a sharded job has it
                data = compress_frame(f"{options.header}\n".encode(), options.compression) + data
            write(data, chunk.number + 1)
            if bar is None:
                bar = stack.enter_context(_bar(selection, job.quiet))
            records += len(chunk.items)
            bar.set_postfix_str(f"{records:,} records", refresh=False)
            bar.update(len(chunk.items) if bar.total is None else chunk.position - bar.n)
    if selection.is_whole and not selection.seen:  # compressed, even no output is a frame
        write(compress_frame(b"", options.compression), 0)


@contextmanager
def _explain_out_of_memory(selection: _Selection) -> Iterator[None]:
    """Raise NlpAppError with the place in the input if memory runs out within the block."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory_message(selection.line) from error


def _predict_chunks(
    model: Tagger | Classifier, options: PredictionOptions, chunks: Iterator[Chunk], job: JobOptions, stack: ExitStack
) -> Results:
    """Predict in this process; with several workers if there is more than one chunk."""
    first = list(itertools.islice(chunks, 2 if job.workers > 1 else 0))
    if len(first) > 1:
        workers = stack.enter_context(Workers(job.model, options, job.workers))
        return workers.predict(itertools.chain(first, chunks))
    predict = make_predictor(model, options)
    return ((chunk, predict(chunk.items)) for chunk in itertools.chain(first, chunks))


def _bar(selection: _Selection, quiet: bool) -> tqdm[Any]:
    """Make a progress bar over the bytes of the input, or over records if its size isn't known.

    The bar starts where this run starts: the speed of a previous run is not that of this one.
    """
    size = selection.input_file.size
    if size is None:
        return progress_bar(quiet, " records", unit_scale=True)
    return progress_bar(quiet, "B", size, selection.position, unit_scale=True)


class _Selection:
    """The chunks of an input that this run predicts: those of its shard that are not done yet."""

    def __init__(self, input_file: InputFile, job: JobOptions, done: int) -> None:
        self.input_file, self._job, self._done = input_file, job, done
        self._bad_records = BadRecords(input_file.name, job.strict, job.report)
        self.seen = 0  # chunks of the input, including those that are skipped
        self.line: int | None = None  # first line of the current chunk
        self.position = 0  # start of the first chunk to predict, in bytes of the input

    @property
    def is_whole(self) -> bool:
        """True if this run writes the output for an input without records: the only shard, or the first."""
        return self._job.shard is None or self._job.shard[0] == 1

    def notes(self) -> list[str]:
        """List notes for the user, to be shown at the end."""
        return [summary] if (summary := self._bad_records.summary()) else []

    def __iter__(self) -> Iterator[Chunk]:
        shard, count = self._job.shard or (1, 1)
        total = self._lines() if self._job.shard is not None else 1
        items = reject_unreadable_file(self.input_file.items, self.input_file.name)
        started = False
        for chunk in chunk_records(items, self.input_file.position):
            self.seen += 1
            part = 1 if count == 1 else min((chunk.items[0]["line"] - 1) * count // total + 1, count)
            if part > shard:
                return
            if part == shard:
                self._bad_records.check(chunk.items)
            if part == shard and chunk.number >= self._done:
                started = True
                self.line = chunk.items[0]["line"]
                yield chunk
            elif not started:
                self.position = chunk.position

    def _lines(self) -> int:
        """Count the lines of the whole input, by which it is split into shards."""
        with open_input(self.input_file.source) as stream:
            return max(count_lines(stream, self.input_file.name, self.input_file.codec), 1)
