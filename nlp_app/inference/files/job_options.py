"""Options of a prediction job over a file, and the facts that identify a job when it is resumed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nlp_app.core.errors import SettingsError
from nlp_app.core.version import __version__
from nlp_app.formats.io.hf_datasets import load_data_set
from nlp_app.formats.io.lines import CHUNK
from nlp_app.inference import Classifier, Tagger
from nlp_app.inference.files.output_lines import PredictionOptions
from nlp_app.inference.files.records import Item
from nlp_app.inference.files.workers import ModelLocation
from nlp_app.models import LoadedParts, NumpyClassifierParts, NumpyTaggerParts

JOURNAL_SECONDS = 10.0


def _silent(message: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class JobOptions:
    """Options of a job that don't change the prediction for a record.

    Attributes:
        model: The path of the model and how it is loaded.
        workers: The number of processes.
        shard: (i, n): predict only the i-th of n parts of the input, from 1.
        resume: Resume from the journal of an interrupted job.
        strict: Stop with an error at the first bad record.
        quiet: Show no progress bar.
        journal_seconds: Time between two entries of the journal.
        report: Shows a line to the user.
    """

    model: ModelLocation
    workers: int = 1
    shard: tuple[int, int] | None = None
    resume: bool = False
    strict: bool = False
    quiet: bool = False
    journal_seconds: float = JOURNAL_SECONDS
    report: Callable[[str], None] = field(default=_silent)


class InputFile(NamedTuple):
    """The input of a job.

    Attributes:
        source: A path, `-` for standard input, or the name of a data set.
        name: The input's name in messages.
        items: The records.
        reading: The options that the input is read with, as JSON values.
        size: The size of a regular file on disk, in bytes (None: not a regular file).
        position: Returns how many of these bytes have been read.
        codec: The encoding of the lines.
        is_data_set: Whether the input is a data set of the Hugging Face Hub.
    """

    source: str
    name: str
    items: Iterable[Item]
    reading: Mapping[str, Any]
    size: int | None = None
    position: Callable[[], int] = lambda: 0
    codec: str = ""
    is_data_set: bool = False


def check_job_options(job: JobOptions, source: str, target: str | None, is_data_set: bool) -> None:
    """Check that the options fit the input and output.

    Args:
        job: The options of the job.
        source: The input: a path, `-` or the name of a data set.
        target: The output: a path, or `-` or None for standard output.
        is_data_set: Whether the input is a data set of the Hugging Face Hub.

    Raises:
        SettingsError: If the output is also the input, or the input can't be split, or the job can't be resumed.
    """
    place = Path(target or "-")
    if place.is_file() and Path(source).exists() and place.samefile(source):
        raise SettingsError(f"--output: {target} is also the --input; choose another file")
    if math.isnan(job.journal_seconds):
        raise SettingsError("--journal-seconds: found nan, expected a number from 0")
    if source != "-" and not is_data_set and not Path(source).exists():
        return  # opening it raises the error
    is_file = Path(source).is_file() and not is_data_set
    if job.shard is not None and not is_file:
        advice = "select a part of it, hf:NAME#train[:50%]" if is_data_set else "use a regular file as --input"
        raise SettingsError(f"--shard: {source} can't be split; {advice}")
    if not job.resume:
        return
    if target in (None, "-"):
        raise SettingsError("--resume: can't resume on standard output; choose an --output file")
    if place.exists() and not (place.is_file() or place.is_dir()):
        raise SettingsError(f"--resume: {place} is not a regular file; choose another --output")
    if not is_file and not is_data_set:
        raise SettingsError(f"--resume: {source} can't be read again; use a regular file as --input")


def job_identity(
    model: Tagger | Classifier, options: PredictionOptions, input_file: InputFile, job: JobOptions
) -> Callable[[], dict[str, Any]]:
    """Describe a job by everything that must be the same when it is resumed.

    Args:
        model: The tagger or classifier.
        options: The options of the predictions.
        input_file: The input, described as it is now.
        job: The options of the job.

    Returns:
        A function that returns the description, as JSON values. It computes the model's checksum, so call it only when
        needed.
    """
    input_identity = _input_identity(input_file)

    def identity() -> dict[str, Any]:
        threads, precision = job.model.threads, job.model.precision
        return {
            "version": __version__,
            "input": input_identity,
            "model": _model_checksum(model),
            "options": {**asdict(options), **input_file.reading, "precision": precision},
            "threads": threads,
            "backend": job.model.backend,
            "shard": None if job.shard is None else list(job.shard),
        }

    return identity


def _input_identity(input_file: InputFile) -> dict[str, Any]:
    if input_file.is_data_set:
        # The fingerprint changes if a file of the data set was modified, or with another commit on the Hub.
        return {"name": input_file.source, "fingerprint": load_data_set(input_file.source)._fingerprint}
    path = Path(input_file.source)
    status = path.stat()
    with path.open("rb") as stream:
        head = hashlib.sha256(stream.read(CHUNK)).hexdigest()
    return {"size": status.st_size, "modified": status.st_mtime_ns, "head": head}


def _model_checksum(model: Tagger | Classifier) -> str:
    checksum = hashlib.sha256(json.dumps(model.parts.describe(), sort_keys=True, default=str).encode())
    for name, data in _weights(model.parts):
        checksum.update(name.encode())
        checksum.update(data)
    return checksum.hexdigest()


def _weights(parts: LoadedParts) -> Iterator[tuple[str, memoryview]]:
    """Get the bytes of each weight of a network."""
    if isinstance(parts, NumpyTaggerParts | NumpyClassifierParts):
        for name, array in parts.network.weights.items():
            yield name, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        return
    import torch  # noqa: PLC0415 - the network has already imported it

    for name, value in parts.network.state_dict().items():
        flat = value.detach().cpu().contiguous().flatten() if isinstance(value, torch.Tensor) else torch.zeros(0)
        yield name, flat.view(torch.uint8).numpy().data
