"""What scikit-learn takes for y in classification, as the names of classes and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target

Form = Literal["labels", "lists", "indicator"]


@dataclass(frozen=True)
class Targets:
    """The classes of a y and the form that it has: a label a text, a list of labels a text, or an indicator matrix.

    `classes`: (k,) sorted, of y's own type; of an indicator matrix the numbers of its columns. `names`: what the model
    calls each of them.
    """

    form: Form
    classes: NDArray[Any]
    names: tuple[str, ...]

    @classmethod
    def of(cls, y: Any) -> Targets:
        """The classes in y. Raises ValueError if it is none of the three forms or has one class only."""
        form = detect_form(y)
        if form == "indicator":
            classes = np.arange(_matrix(y).shape[1])
            only = not (_matrix(y) == 0).any() or not _matrix(y).any()
        elif form == "lists":
            classes = np.unique([label for labels in y for label in labels])
            only = all({to_python(label) for label in labels} == {*classes.tolist()} for labels in y)
        else:
            classes = np.unique(_column(y))
            only = len(classes) == 1
            if len(classes) == len(y) > 2:
                raise ValueError(
                    f"y: found a class of its own for each of {len(y):,} texts, expected classes to repeat"
                )
        if only:
            shown = (
                f"one class only ({classes[0].item()!r})" if len(classes) == 1 else "nothing that tells classes apart"
            )
            raise ValueError(f"y: found {shown}, expected two classes at least")
        names = tuple(str(label).strip() for label in classes.tolist())
        if len({*names} - {""}) < len(names):
            raise ValueError("y: found labels that are empty or differ in the spaces around them only; rename them")
        return cls(form, classes, names)

    @property
    def several(self) -> bool:
        """Whether a text may have several labels."""
        return self.form != "labels"

    def write(self, y: Any, name: str) -> list[list[str]]:
        """The names of each text's classes. Raises ValueError for another form than that of fit, and for labels that
        it didn't have."""
        if detect_form(y) != self.form:
            raise ValueError(f"{name}: found {detect_form(y)}, expected {self.form} as fit was given")
        if self.form == "indicator":
            matrix = _matrix(y)
            if matrix.shape[1] != len(self.names):
                raise ValueError(f"{name}: found {matrix.shape[1]} columns, expected {len(self.names)}")
            return [[self.names[column] for column in np.flatnonzero(row)] for row in matrix]
        known = dict(zip(self.classes.tolist(), self.names, strict=True))
        rows = [[label] for label in _column(y).tolist()] if self.form == "labels" else y
        try:
            return [[known[to_python(label)] for label in row] for row in rows]
        except KeyError as error:
            raise ValueError(f"{name}: found the label {error}, which y never has; leave its texts out") from error

    def read(self, found: Sequence[Sequence[str]]) -> Any:
        """What was found as y has it: (n,) classes, a list of tuples of classes, or an (n, k) indicator matrix."""
        places = {name: place for place, name in enumerate(self.names)}
        if self.form == "labels":
            return self.classes[np.array([places[name] for (name,) in found], dtype=np.intp)]
        if self.form == "lists":
            classes = self.classes.tolist()
            return [tuple(classes[place] for place in sorted(places[name] for name in names)) for names in found]
        matrix = np.zeros((len(found), len(self.names)), dtype=np.int64)
        for row, names in enumerate(found):
            matrix[row, [places[name] for name in names]] = 1
        return matrix


def detect_form(y: Any) -> Form:
    """The form of a target. Raises ValueError for what is no classes."""
    if getattr(y, "ndim", 1) == 2 and y.shape[1] > 1:
        if type_of_target(y, input_name="y") != "multilabel-indicator":
            raise ValueError("y: found a matrix of other numbers, expected labels, or an indicator matrix of 0 and 1")
        return "indicator"
    if getattr(y, "ndim", 1) == 1 and not isinstance(y, str) and hasattr(y, "__len__"):
        listed = sum(isinstance(item, list | tuple | set | frozenset | np.ndarray) for item in y)
        if listed and listed < len(y):
            raise ValueError("y: found lists among single labels, expected a list of labels for each text, or for none")
        if listed:
            return "indicator" if _is_indicator(y) else "lists"
    return "labels"


def _is_indicator(rows: Iterable[Any]) -> bool:
    """Whether lists are the rows of an indicator matrix: as lists of labels, 0 and 1, they would all be the same."""
    listed = [row for row in rows if not isinstance(row, set | frozenset)]
    lengths = {len(row) for row in listed}
    return len(lengths) == 1 and lengths != {1} and all(to_python(item) in (0, 1) for row in listed for item in row)


def exact_matches(gold: Iterable[Iterable[Any]], found: Iterable[Iterable[Any]]) -> list[bool]:
    """For each text whether all its labels were found, and no others."""
    return [{to_python(label) for label in one} == set(two) for one, two in zip(gold, found, strict=True)]


def to_python(label: Any) -> Any:
    """A label as Python has it, not NumPy."""
    return label.item() if isinstance(label, np.generic) else label


def _column(y: Any) -> NDArray[Any]:
    column: NDArray[Any] = column_or_1d(y, warn=True)
    assert_all_finite(column, input_name="y")
    check_classification_targets(column)
    return column


def _matrix(y: Any) -> NDArray[Any]:
    return np.asarray(y.toarray() if hasattr(y, "toarray") else list(y) if isinstance(y, tuple) else y)
