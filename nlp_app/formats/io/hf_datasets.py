"""Load datasets with the package `datasets`, from the Hugging Face Hub (`hf:NAME[:CONFIG][#SPLIT]`) or local files.

Rows come from memory-mapped Arrow files, in the cache of `datasets` or in a folder written by `save_to_disk`. Code
that comes with a dataset is never run: the accepted versions of `datasets` have no support for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from nlp_app.core.errors import DataError

PREFIX = "hf:"

BATCH = 1000  # rows in memory at the same time

_FIRST_SAFE_VERSION = 4  # `datasets` 4 removed loading scripts

_BUILDERS = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".json": "json", ".jsonl": "json", ".arrow": "arrow"}

_TABLE_SUFFIXES = (".parquet", ".arrow")  # formats that only `datasets` reads

_SAVED_FILES = ("dataset_dict.json", "state.json")  # files that `save_to_disk` writes in a folder


class DatasetAddress(NamedTuple):
    """The parts of an address `hf:NAME:CONFIG#SPLIT`.

    Attributes:
        name: The dataset's name on the Hub, or a local path.
        config: The configuration; None for the default one.
        split: The split, `train` by default. May be a slice, such as `train[:80%]`.
    """

    name: str
    config: str | None
    split: str


def parse_address(path: str) -> DatasetAddress:
    """Split the address of a dataset into its parts.

    Args:
        path: An address `hf:NAME[:CONFIG][#SPLIT]`, or a local path with or without `hf:` in front.

    Returns:
        The parts. Without `#SPLIT` the split is `train`.
    """
    whole = path.removeprefix(PREFIX)
    if Path(whole).exists():
        return DatasetAddress(whole, None, "train")
    name, _, split = whole.partition("#")
    if Path(name).exists():
        return DatasetAddress(name, None, split or "train")
    name, _, config = name.partition(":")
    return DatasetAddress(name, config or None, split or "train")


def is_data_set(path: str | Path) -> bool:
    """Return True if a path has to be loaded with `datasets`.

    Args:
        path: An address or a local path.

    Returns:
        True for an address with `hf:`, a Parquet or Arrow file, a folder with Parquet or Arrow files, and a folder
        written by `save_to_disk`.
    """
    if str(path).startswith(PREFIX) or Path(path).suffix.lower() in _TABLE_SUFFIXES:
        return True
    folder = Path(path)
    if not folder.is_dir():
        return False
    if any((folder / name).is_file() for name in _SAVED_FILES):
        return True
    return any(next(folder.glob(f"{depth}*{suffix}"), None) for depth in ("", "*/") for suffix in _TABLE_SUFFIXES)


def load_data_set(path: str) -> Any:
    """Load a dataset from the Hub or from a local path.

    Args:
        path: An address or a local path; see `parse_address`.

    Returns:
        The rows, as a `datasets.Dataset`.

    Raises:
        DataError: The installed `datasets` is too old, or the dataset or its split cannot be loaded.
    """
    address = parse_address(path)
    datasets = importlib.import_module("datasets")  # slow to import
    if int(datasets.__version__.split(".")[0]) < _FIRST_SAFE_VERSION:
        found = f"found datasets {datasets.__version__}, which may run code that comes with a dataset"
        raise DataError(f"{found}; expected {_FIRST_SAFE_VERSION} or newer: pip install -U datasets", path)
    source = Path(address.name)
    arguments: dict[str, Any] = {"path": address.name, "name": address.config}
    if source.is_file() or (source.suffix.lower() in _TABLE_SUFFIXES and not path.startswith(PREFIX)):
        arguments = _file_arguments(source, path)
    with _silence(datasets):
        try:
            if any((source / name).is_file() for name in _SAVED_FILES):
                return _load_saved(datasets, address)
            return datasets.load_dataset(split=address.split, **arguments)
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            advice = "check name, config and split (hf:NAME:CONFIG#SPLIT)"
            raise DataError(f"can't be loaded: {reason.rstrip('.')}; {advice}", path) from error


def _file_arguments(source: Path, path: str) -> dict[str, Any]:
    """Return the arguments of `load_dataset` for a single file."""
    if not source.exists():
        raise DataError("can't be read: No such file or directory", path)
    suffix = source.suffix.lower()
    builder = _BUILDERS.get(suffix)
    if builder is None:
        raise DataError(f"expected a file with one of the endings {', '.join(_BUILDERS)}, or a folder", path)
    return {"path": builder, "data_files": str(source)} | ({"sep": "\t"} if suffix == ".tsv" else {})


def _load_saved(datasets: Any, address: DatasetAddress) -> Any:
    """Load a split that `save_to_disk` wrote. A single dataset counts as the split `train`."""
    saved = datasets.load_from_disk(address.name)
    splits = saved if isinstance(saved, dict) else {"train": saved}
    sizes = {name: len(split) for name, split in splits.items()}
    if set(sizes) == {"train"} and address.split == "train":
        return splits["train"]
    ranges = datasets.ReadInstruction.from_spec(address.split).to_absolute(sizes)
    return datasets.concatenate_datasets([splits[part.splitname].select(range(part.from_, part.to)) for part in ranges])


@contextmanager
def _silence(datasets: Any) -> Iterator[None]:
    """Hide the progress bars and log messages of `datasets`; errors are reported in one line of our own."""
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
