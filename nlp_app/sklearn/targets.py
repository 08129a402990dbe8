"""Convert scikit-learn targets to class names and back."""

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
    """The classes of a target and its form.

    Attributes:
        form: `labels` for one label per text, `lists` for a list of labels per text, or `indicator` for an indicator
            matrix.
        classes: Sorted classes, (n_classes,), in the type of the labels; for an indicator matrix, its column numbers.
        names: Name of each class in the model.
    """

    form: Form
    classes: NDArray[Any]
    names: tuple[str, ...]

    @classmethod
    def from_y(cls, y: Any) -> Targets:
        """Detect the form and the classes of a target.

        Args:
            y: The target of `fit`.

        Returns:
            Its form and classes.

        Raises:
            ValueError: y has an unsupported form, does not separate any classes, or has labels whose names are empty
                or the same.
        """
        form = detect_form(y)
        if form == "indicator":
            classes = np.arange(_matrix(y).shape[1])
            is_constant = not (_matrix(y) == 0).any() or not _matrix(y).any()
        elif form == "lists":
            classes = np.unique([label for labels in y for label in labels])
            is_constant = all({to_python(label) for label in labels} == {*classes.tolist()} for labels in y)
        else:
            classes = np.unique(_column(y))
            is_constant = len(classes) == 1
            if len(classes) == len(y) > 2:
                raise ValueError(
                    f"y: found a different label for each of {len(y):,} texts, expected labels that repeat"
                )
        if is_constant:
            if len(classes) == 1:
                raise ValueError(f"y: found only one class ({classes[0].item()!r}), expected at least two classes")
            raise ValueError("y: found the same labels for all texts, expected texts with different labels")
        names = tuple(str(label).strip() for label in classes.tolist())
        if len({*names} - {""}) < len(names):
            raise ValueError("y: found labels that are empty or differ only in surrounding spaces; rename them")
        return cls(form, classes, names)

    @property
    def multi_label(self) -> bool:
        """True if a text may have several labels."""
        return self.form != "labels"

    def to_names(self, y: Any, name: str) -> list[list[str]]:
        """Convert a target to class names.

        Args:
            y: A target in the form of `fit`'s y.
            name: Name of the argument, for messages.

        Returns:
            The class names of each text.

        Raises:
            ValueError: y has another form, or labels that do not occur in `fit`'s y.
        """
        if detect_form(y) != self.form:
            raise ValueError(f"{name}: found {detect_form(y)}, expected {self.form} as in y")
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
            raise ValueError(f"{name}: label {error} does not occur in y; remove its texts") from error

    def from_names(self, predicted: Sequence[Sequence[str]]) -> Any:
        """Convert predicted class names to the form of `fit`'s y.

        Args:
            predicted: The class names of each text.

        Returns:
            Labels, (n,); a list of n tuples of labels; or an indicator matrix, (n, n_classes).
        """
        indices = {name: index for index, name in enumerate(self.names)}
        if self.form == "labels":
            return self.classes[np.array([indices[name] for (name,) in predicted], dtype=np.intp)]
        if self.form == "lists":
            classes = self.classes.tolist()
            return [tuple(classes[index] for index in sorted(indices[name] for name in names)) for names in predicted]
        matrix = np.zeros((len(predicted), len(self.names)), dtype=np.int64)
        for row, names in enumerate(predicted):
            matrix[row, [indices[name] for name in names]] = 1
        return matrix


def detect_form(y: Any) -> Form:
    """Detect the form of a target.

    Args:
        y: The target.

    Returns:
        `labels`, `lists` or `indicator`.

    Raises:
        ValueError: y is a matrix of other values than 0 and 1, or mixes lists and single labels.
    """
    if getattr(y, "ndim", 1) == 2 and y.shape[1] > 1:
        if type_of_target(y, input_name="y") != "multilabel-indicator":
            raise ValueError("y: found a matrix with other values, expected labels, or an indicator matrix of 0 and 1")
        return "indicator"
    if getattr(y, "ndim", 1) == 1 and not isinstance(y, str) and hasattr(y, "__len__"):
        listed = sum(isinstance(item, list | tuple | set | frozenset | np.ndarray) for item in y)
        if listed and listed < len(y):
            raise ValueError("y: found lists and single labels, expected a list of labels for each text, or for none")
        if listed:
            return "indicator" if _is_indicator(y) else "lists"
    return "labels"


def _is_indicator(rows: Iterable[Any]) -> bool:
    """Check if lists are the rows of an indicator matrix: of the same length, and only 0 and 1."""
    listed = [row for row in rows if not isinstance(row, set | frozenset)]
    lengths = {len(row) for row in listed}
    return len(lengths) == 1 and lengths != {1} and all(to_python(item) in (0, 1) for row in listed for item in row)


def exact_matches(gold: Iterable[Iterable[Any]], predicted: Iterable[Iterable[Any]]) -> list[bool]:
    """Compare the sets of gold and predicted labels.

    Args:
        gold: Gold labels of each text.
        predicted: Predicted labels of each text.

    Returns:
        True for each text whose labels are all correct and complete.
    """
    return [{to_python(label) for label in one} == set(two) for one, two in zip(gold, predicted, strict=True)]


def to_python(label: Any) -> Any:
    """Convert a NumPy scalar to a Python value.

    Args:
        label: A label.

    Returns:
        The label as a Python value; other types unchanged.
    """
    return label.item() if isinstance(label, np.generic) else label


def _column(y: Any) -> NDArray[Any]:
    column: NDArray[Any] = column_or_1d(y, warn=True)
    assert_all_finite(column, input_name="y")
    check_classification_targets(column)
    return column


def _matrix(y: Any) -> NDArray[Any]:
    return np.asarray(y.toarray() if hasattr(y, "toarray") else list(y) if isinstance(y, tuple) else y)
