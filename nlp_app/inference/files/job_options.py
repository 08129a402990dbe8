"""What a job over a file is asked to do besides its answers, and what tells it from another job."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from nlp_app.core.errors import SettingsError
from nlp_app.core.version import __version__
from nlp_app.formats.io.hf_datasets import load_data_set
from nlp_app.formats.io.lines import CHUNK
from nlp_app.inference import Classifier, Tagger
from nlp_app.inference.files.output_lines import PredictionOptions
from nlp_app.inference.files.records import Item
from nlp_app.inference.files.workers import ModelLocation

JOURNAL_SECONDS = 10.0


def _silent(message: str) -> None:
    """Nothing is told."""


@dataclass(frozen=True)
class JobOptions:
    """How a job is run, none of which changes a record's answer.

    `shard`: (i, n), the i-th of n parts, from 1; `resume`: go on from the journal; `strict`: the first bad record ends
    the job; `tell`: what is done with a line for the user; `journal_seconds`: between two entries of the journal.
    """

    model: ModelLocation
    workers: int = 1
    shard: tuple[int, int] | None = None
    resume: bool = False
    strict: bool = False
    quiet: bool = False
    journal_seconds: float = JOURNAL_SECONDS
    tell: Callable[[str], None] = field(default=_silent)


class InputFile(NamedTuple):
    """Where records come from: `source` is a path, `-` or the address of a data set, `name` stands in messages.

    `reading`: how it is read, as JSON; `size`: of a regular file, in bytes as they are stored, of which `position` have
    been read; `codec`: of its lines.
    """

    source: str
    name: str
    items: Iterable[Item]
    reading: Mapping[str, Any]
    size: int | None = None
    position: Callable[[], int] = lambda: 0
    codec: str = ""
    is_data_set: bool = False


def check_job_options(plan: JobOptions, source: str, target: str | None, is_data_set: bool) -> None:
    """Raises SettingsError for what can't be done with this input and output."""
    place = Path(target or "-")
    if place.is_file() and Path(source).exists() and place.samefile(source):
        raise SettingsError(f"--output: {target} is the --input itself; name another file")
    if math.isnan(plan.journal_seconds):
        raise SettingsError("--journal-seconds: found nan, expected a number from 0")
    if source != "-" and not is_data_set and not Path(source).exists():
        return  # opening it says so
    is_file = Path(source).is_file() and not is_data_set
    if plan.shard is not None and not is_file:
        advice = "name a part of it, hf:NAME#train[:50%]" if is_data_set else "give a regular file as --input"
        raise SettingsError(f"--shard: {source} can't be divided; {advice}")
    if not plan.resume:
        return
    if target in (None, "-"):
        raise SettingsError("--resume: standard output can't be taken up again; name an --output file")
    if place.exists() and not (place.is_file() or place.is_dir()):
        raise SettingsError(f"--resume: {place} is no regular file; name another --output")
    if not is_file and not is_data_set:
        raise SettingsError(f"--resume: {source} can't be read again; give a regular file as --input")


def job_identity(
    model: Tagger | Classifier, question: PredictionOptions, given: InputFile, plan: JobOptions
) -> Callable[[], dict[str, Any]]:
    """What a job must have in common with one that it resumes. The input is as it is now; the model is looked at when
    asked for."""
    before = _input_identity(given)

    def asked() -> dict[str, Any]:
        threads, precision = plan.model.threads, plan.model.precision
        return {
            "version": __version__,
            "input": before,
            "model": _model_checksum(model),
            "options": {**asdict(question), **given.reading, "precision": precision},
            "threads": threads,
            "shard": None if plan.shard is None else list(plan.shard),
        }

    return asked


def _input_identity(given: InputFile) -> dict[str, Any]:
    if given.is_data_set:
        # Another one if a file of the data set has been touched, or its commit on the Hub is another.
        return {"name": given.source, "fingerprint": load_data_set(given.source)._fingerprint}
    path = Path(given.source)
    about = path.stat()
    with path.open("rb") as stream:
        head = hashlib.sha256(stream.read(CHUNK)).hexdigest()
    return {"size": about.st_size, "modified": about.st_mtime_ns, "head": head}


def _model_checksum(model: Tagger | Classifier) -> str:
    import torch  # noqa: PLC0415 - a model is there, so it is loaded

    found = hashlib.sha256(json.dumps(model.parts.describe(), sort_keys=True, default=str).encode())
    for name, value in model.parts.network.state_dict().items():
        found.update(name.encode())
        if isinstance(value, torch.Tensor):
            flat = value.detach().cpu().contiguous().flatten()
            found.update(flat.view(torch.uint8).numpy().data)
    return found.hexdigest()
