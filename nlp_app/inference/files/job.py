"""A file from end to end: which of its records are this run's, who answers them, and where the answers go."""

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
from nlp_app.inference.files.records import BadRecords, Chunk, chunk_records, refuse_unreadable
from nlp_app.inference.files.workers import Workers

Answers = Iterator[tuple[Chunk, bytes]]


def predict_file(
    model: Tagger | Classifier, question: PredictionOptions, given: InputFile, target: str | None, plan: JobOptions
) -> list[str]:
    """Answer all records of an input, in order; returns what is to be said at the end.

    Raises DataError for an input that can't be read or an output that can't be written, NlpAppError if a worker dies
    or memory runs out, and Interrupted for Ctrl-C and SIGTERM where there is something to go on from.
    """
    place = None if target is None or target == "-" else Path(target)
    is_stream = given.size is None and not given.is_data_set  # which can't be read again
    if place is None or is_stream or (place.exists() and not place.is_file() and not place.is_dir()):
        return _run_straight(model, question, given, place, plan)
    out = JournalledFile(str(place), job_identity(model, question, given, plan), plan.resume, plan.journal_seconds)
    if out.done:
        return [f"{place}: nothing to do: it was finished already"]
    selection = _Selection(given, plan, out.chunks)
    try:
        _answer_all(model, question, selection, plan, out.write)
        out.finish()
    except DataError:
        raise
    except NlpAppError as error:
        out.keep()
        raise NlpAppError(f"{error}; {RESUMING}" if out.kept else str(error)) from error
    except KeyboardInterrupt as reason:
        out.keep()
        if not out.kept:
            raise
        number = reason.number if isinstance(reason, Interrupted) else signal.SIGINT
        raise Interrupted(f"stopped; {RESUMING}", number) from reason
    except BaseException:
        out.keep()
        raise
    finally:
        out.close()
    return selection.remarks()


def _run_straight(
    model: Tagger | Classifier, question: PredictionOptions, given: InputFile, place: Path | None, plan: JobOptions
) -> list[str]:
    """Write the answers as they come, where there will be no way to resume."""
    selection = _Selection(given, plan, 0)
    if place is None:
        with standard_output() as out:
            _answer_all(model, question, selection, plan, lambda data, _: out.write(data.decode()))
        return selection.remarks()
    with atomic_file(place, binary=True) as stream:

        def write(data: bytes, _: int) -> None:
            stream.write(data)
            stream.flush()  # somebody may wait at the other end

        _answer_all(model, question, selection, plan, write)
    return selection.remarks()


def _answer_all(
    model: Tagger | Classifier,
    question: PredictionOptions,
    selection: _Selection,
    plan: JobOptions,
    write: Callable[[bytes, int], object],
) -> None:
    """Hand each chunk's part of the output to `write`, with how many chunks are then done."""
    with _memory_watched(selection), ExitStack() as stack:
        answers = _answers(model, question, iter(selection), plan, stack)
        bar: tqdm[Any] | None = None
        records = 0
        for chunk, data in answers:
            write(data, chunk.number + 1)
            if bar is None:
                bar = stack.enter_context(_bar(selection, plan.quiet))
            records += len(chunk.items)
            bar.set_postfix_str(f"{records:,} records", refresh=False)
            bar.update(len(chunk.items) if bar.total is None else chunk.position - bar.n)
    if selection.is_whole and not selection.seen:  # nothing at all would be no file of its kind
        write(compress_frame(b"", question.compression), 0)


@contextmanager
def _memory_watched(selection: _Selection) -> Iterator[None]:
    """Memory that runs out within the block is an NlpAppError, which names the place."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory_message(selection.line) from error


def _answers(
    model: Tagger | Classifier, question: PredictionOptions, chunks: Iterator[Chunk], plan: JobOptions, stack: ExitStack
) -> Answers:
    """Answers by this process, or by workers where there is enough to do for two."""
    first = list(itertools.islice(chunks, 2 if plan.workers > 1 else 0))
    if len(first) > 1:
        workers = stack.enter_context(Workers(plan.model, question, plan.workers))
        return workers.answers(itertools.chain(first, chunks))
    answer = make_predictor(model, question)
    return ((chunk, answer(chunk.items)) for chunk in itertools.chain(first, chunks))


def _bar(selection: _Selection, quiet: bool) -> tqdm[Any]:
    """A bar over the bytes of the input, or where it isn't known how many they are over records. What was done before
    this run says nothing of its speed."""
    size = selection.given.size
    if size is None:
        return progress_bar(quiet, " records", unit_scale=True)
    return progress_bar(quiet, "B", size, selection.position, unit_scale=True)


class _Selection:
    """The chunks of an input that this run answers: those of its shard, beyond those that are done."""

    def __init__(self, given: InputFile, plan: JobOptions, done: int) -> None:
        self.given, self._plan, self._done = given, plan, done
        self._bad = BadRecords(given.name, plan.strict, plan.tell)
        self.seen = 0  # chunks of the input
        self.line: int | None = None  # where the chunk begins that was handed out last
        self.position = 0  # where the first chunk to be answered begins, in bytes of the input

    @property
    def is_whole(self) -> bool:
        """Whether an input without records is all this run's."""
        return self._plan.shard is None or self._plan.shard[0] == 1

    def remarks(self) -> list[str]:
        """What is to be said at the end."""
        return [remark] if (remark := self._bad.remark()) else []

    def __iter__(self) -> Iterator[Chunk]:
        shard, count = self._plan.shard or (1, 1)
        total = self._lines() if self._plan.shard is not None else 1
        items = refuse_unreadable(self.given.items, self.given.name)
        answering = False
        for chunk in chunk_records(items, self.given.position):
            self.seen += 1
            part = 1 if count == 1 else min((chunk.items[0]["line"] - 1) * count // total + 1, count)
            if part > shard:
                return
            if part == shard:
                self._bad.look_at(chunk.items)
            if part == shard and chunk.number >= self._done:
                answering = True
                self.line = chunk.items[0]["line"]
                yield chunk
            elif not answering:
                self.position = chunk.position

    def _lines(self) -> int:
        """The lines of the whole input, by which it is divided."""
        with open_input(self.given.source) as stream:
            return max(count_lines(stream, self.given.name, self.given.codec), 1)
