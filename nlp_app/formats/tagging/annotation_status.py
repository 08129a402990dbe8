"""Count the examples of an export without a finished annotation, and refuse a file that has no other."""

from __future__ import annotations

from nlp_app.core.errors import DataError
from nlp_app.formats.io.label_studio import NO_ANNOTATION, ONLY_PREDICTIONS
from nlp_app.formats.tagging.read_log import ReadLog

UNANNOTATED = "examples without a finished annotation (skipped by the annotator, or not annotated), skipped"

PREDICTED = "examples with the annotations of a model (data.predictions)"


class AnnotationStatus:
    """The status of the examples that were read from a file so far."""

    def __init__(self, name: str, log: ReadLog) -> None:
        """Begin a file.

        Args:
            name: The file's name, for messages.
            log: Counts examples that are skipped, and those with predictions.
        """
        self._name, self._log = name, log
        self._is_any_annotated = False
        self._first_skipped: int | None = None
        self._first_predicted: int | None = None

    def count_annotated(self) -> None:
        """Count an example with a finished annotation."""
        self._is_any_annotated = True

    def count_predicted(self, line: int) -> None:
        """Count an example that is read with predictions instead of an annotation.

        Args:
            line: The example's line.
        """
        self._is_any_annotated = True
        self._log.repair(PREDICTED, line)

    def count_skipped(self, line: int, *, has_predictions: bool) -> None:
        """Count an example without a finished annotation.

        Args:
            line: The example's line.
            has_predictions: The example has predictions, which are not read.
        """
        self._log.repair(UNANNOTATED, line)
        self._first_skipped = self._first_skipped or line
        if has_predictions:
            self._first_predicted = self._first_predicted or line

    def finish(self) -> None:
        """Check the whole file.

        Raises:
            DataError: Examples were skipped, and none was annotated.
        """
        if self._is_any_annotated or self._first_skipped is None:
            return
        if self._first_predicted is not None:
            reason = f"{ONLY_PREDICTIONS}; to read the predictions, set data.predictions=true"
            raise DataError(reason, self._name, self._first_predicted)
        raise DataError(NO_ANNOTATION, self._name, self._first_skipped)
