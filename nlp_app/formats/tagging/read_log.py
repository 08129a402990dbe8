"""Log of a read: remarks on how a file was read, and counts of the parts that its records do not hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


class ReadLog:
    """Remarks on how a file was read, and counts of the parts that its reader skips.

    A reader fills the log that it gets. With `counting=False` it only adds remarks, which saves the time for counting
    during training.
    """

    def __init__(self, *, counting: bool = True) -> None:
        self.counting = counting
        self.remarks: list[str] = []
        self._counts: Counter[tuple[str, str]] = Counter()
        self._uncounted: dict[str, None] = {}

    def remark(self, remark: str) -> None:
        """Add a remark, unless the log already contains it: a file may be read more than once with the same log.

        Args:
            remark: A phrase for the user.
        """
        if remark not in self.remarks:
            self.remarks.append(remark)

    def skip(self, part: str, count: int = 1, *, prefix: str = "") -> None:
        """Add to the count of a skipped part.

        Args:
            part: A plural noun phrase, such as `comments`.
            count: The number to add.
            prefix: Words before the number, such as `the names of `.
        """
        self._counts[prefix, part] += count

    def skip_keys(self, keys: Iterable[str], read: Iterable[str], parent: str = "") -> None:
        """Count the keys of a JSON object that were not read.

        Args:
            keys: All keys of the object.
            read: The keys that were read.
            parent: The path of the object with a dot at the end, such as `spans.` for the key `spans.score`.
        """
        read = set(read)
        for key in keys:
            if key not in read:
                self.skip(f"values of the key {parent}{key}")

    def skip_uncounted(self, phrase: str) -> None:
        """Add a skipped part that has no count.

        Args:
            phrase: A noun phrase, such as `the column id`.
        """
        self._uncounted[phrase] = None

    def skipped(self) -> list[str]:
        """Return phrases for all skipped parts.

        Returns:
            Phrases with counts, in the order in which the parts first occurred; then phrases without counts.
        """
        counted = [f"{prefix}{count:,} {part}" for (prefix, part), count in self._counts.items() if count]
        return [*counted, *self._uncounted]
