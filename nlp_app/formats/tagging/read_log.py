"""Report of a read: how a file was read, and the parts of it that its records do not hold, counted on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


class ReadLog:
    """Remarks on how a file was read, and counts of the parts that its reader skips.

    A reader fills the log it is given. With `counting` off it fills only the remarks, so training does not pay for
    counts.
    """

    def __init__(self, *, counting: bool = True) -> None:
        self.counting = counting
        self.remarks: list[str] = []
        self._counts: Counter[tuple[str, str]] = Counter()
        self._uncounted: dict[str, None] = {}

    def remark(self, remark: str) -> None:
        """Add a remark, unless it was made before: a file may be read more than once with one log."""
        if remark not in self.remarks:
            self.remarks.append(remark)

    def skip(self, what: str, count: int = 1, *, before: str = "") -> None:
        """Add to the count of a skipped part; `before` stands before the number in its phrase."""
        self._counts[before, what] += count

    def skip_keys(self, keys: Iterable[str], read: Iterable[str], parent: str = "") -> None:
        """Count the keys of a JSON object that are not `read`, named with their parent's key: `spans.score`."""
        read = set(read)
        for key in keys:
            if key not in read:
                self.skip(f"values of the key {parent}{key}")

    def skip_uncounted(self, phrase: str) -> None:
        """Add a skipped part that has no number."""
        self._uncounted[phrase] = None

    def skipped(self) -> list[str]:
        """Phrases with counts, in the order in which the parts were first met; those without a number at the end."""
        counted = [f"{before}{count:,} {what}" for (before, what), count in self._counts.items() if count]
        return [*counted, *self._uncounted]
