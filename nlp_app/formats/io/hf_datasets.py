"""Data sets that the package `datasets` opens: of the Hugging Face Hub (`hf:NAME[:CONFIG][#PART]`), and local ones.

Rows come from memory-mapped Arrow files, in the library's cache or where `save_to_disk` has left them. Code that a data
set brings is never run: the versions of `datasets` that are accepted can't.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from nlp_app.core.errors import DataError

PREFIX = "hf:"

BATCH = 1000  # rows that are in memory together

_FIRST_WITHOUT_CODE = 4  # `datasets` 4 removed loading scripts

_BUILDERS = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".json": "json", ".jsonl": "json", ".arrow": "arrow"}

_TABLES = (".parquet", ".arrow")  # what nothing else reads

_SAVED = ("dataset_dict.json", "state.json")  # what `save_to_disk` leaves in a folder


class DatasetAddress(NamedTuple):
    """What `hf:NAME:CONFIG#PART` names."""

    name: str
    config: str | None
    split: str


def parse_address(path: str) -> DatasetAddress:
    """The parts of an address; without `#PART` it is the training part."""
    whole = path.removeprefix(PREFIX)
    if Path(whole).exists():
        return DatasetAddress(whole, None, "train")
    name, _, split = whole.partition("#")
    if Path(name).exists():
        return DatasetAddress(name, None, split or "train")
    name, _, config = name.partition(":")
    return DatasetAddress(name, config or None, split or "train")


def is_data_set(path: str | Path) -> bool:
    """Whether a path is for `datasets`: an address, a Parquet or Arrow file, a folder of those or of `save_to_disk`."""
    if str(path).startswith(PREFIX) or Path(path).suffix.lower() in _TABLES:
        return True
    folder = Path(path)
    if not folder.is_dir():
        return False
    if any((folder / name).is_file() for name in _SAVED):
        return True
    return any(next(folder.glob(f"{depth}*{suffix}"), None) for depth in ("", "*/") for suffix in _TABLES)


def load_data_set(path: str) -> Any:
    """The rows of an address or a local path, a `datasets.Dataset`.

    Raises DataError if `datasets` is too old, or the data set or its part can't be had.
    """
    address = parse_address(path)
    datasets = importlib.import_module("datasets")  # slow to import
    if int(datasets.__version__.split(".")[0]) < _FIRST_WITHOUT_CODE:
        found = f"found datasets {datasets.__version__}, which may run code that a data set brings"
        raise DataError(f"{found}; expected {_FIRST_WITHOUT_CODE} or newer: pip install -U datasets", path)
    source = Path(address.name)
    arguments: dict[str, Any] = {"path": address.name, "name": address.config}
    if source.is_file() or (source.suffix.lower() in _TABLES and not path.startswith(PREFIX)):
        arguments = _of_file(source, path)
    with _quiet(datasets):
        try:
            if any((source / name).is_file() for name in _SAVED):
                return _saved(datasets, address)
            return datasets.load_dataset(split=address.split, **arguments)
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            advice = "check name, config and part (hf:NAME:CONFIG#PART)"
            raise DataError(f"can't be loaded: {reason.rstrip('.')}; {advice}", path) from error


def _of_file(source: Path, path: str) -> dict[str, Any]:
    """What `load_dataset` is to be told of one file."""
    if not source.exists():
        raise DataError("can't be read: No such file or directory", path)
    suffix = source.suffix.lower()
    builder = _BUILDERS.get(suffix)
    if builder is None:
        raise DataError(f"expected a file with one of the endings {', '.join(_BUILDERS)}, or a folder", path)
    return {"path": builder, "data_files": str(source)} | ({"sep": "\t"} if suffix == ".tsv" else {})


def _saved(datasets: Any, address: DatasetAddress) -> Any:
    """A part of what `save_to_disk` left: one data set, which is its own training part, or several by name."""
    found = datasets.load_from_disk(address.name)
    parts = found if isinstance(found, dict) else {"train": found}
    sizes = {name: len(part) for name, part in parts.items()}
    if set(sizes) == {"train"} and address.split == "train":
        return parts["train"]
    ranges = datasets.ReadInstruction.from_spec(address.split).to_absolute(sizes)
    return datasets.concatenate_datasets([parts[each.splitname].select(range(each.from_, each.to)) for each in ranges])


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """No bars and no log lines: an error is one line, ours."""
    showed_progress = not datasets.utils.are_progress_bars_disabled()
    verbosity = datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if showed_progress:
            datasets.enable_progress_bars()
