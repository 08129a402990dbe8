"""Log of a read: remarks on how a file was read, and counts of the parts that its records do not hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_EXAMPLE = ", as in "


class ReadLog:
    """Remarks on how a file was read, and counts of the parts that its reader skips.

    A reader fills the log that it gets, once for each time that a file is read. Remarks and repairs are for every user
    of the file. Skipped parts are for those who convert it: with `counting=False` they are not counted, which saves
    time during training.
    """

    def __init__(self, *, counting: bool = True) -> None:
        self.counting = counting
        self.restart()

    def restart(self) -> None:
        """Clear the log, because the file is read from its beginning."""
        self._remarks: dict[str, None] = {}
        self._repairs: dict[str, tuple[int, str]] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._uncounted: dict[str, None] = {}
        self.detected: dict[str, str] = {}  # settings that the file shows, which other files of the corpus may not

    @property
    def remarks(self) -> list[str]:
        """All remarks, then a phrase for each kind of repair with its count and the place of the first one."""
        repairs = (f"{what}: {count:,} (the first: {place})" for what, (count, place) in self._repairs.items())
        return [*self._remarks, *repairs]

    def remark(self, remark: str, example: str = "") -> None:
        """Add a remark, unless the log already contains it.

        Args:
            remark: A phrase for the user.
            example: A part of the file that shows it.
        """
        self._remarks[f"{remark}{_EXAMPLE}{example}" if example else remark] = None

    def repair(self, what: str, place: int | str) -> None:
        """Count a repair: something in the file that was changed or skipped so that the file could be read.

        Args:
            what: A plural noun phrase with the problem and its repair, such as `empty tokens, read as _`.
            place: The number of the line, or a phrase such as `doc1.ann:3`. Only the first one of a kind is reported.
        """
        count, first = self._repairs.get(what, (0, f"line {place}" if isinstance(place, int) else place))
        self._repairs[what] = (count + 1, first)

    def skip(self, part: str, count: int = 1, *, prefix: str = "") -> None:
        """Add to the count of a skipped part.

        Args:
            part: A plural noun phrase, such as `comments`.
            count: The number to add.
            prefix: Words before the number, such as `the names of `.
        """
        if self.counting:
            self._counts[prefix, part] += count

    def skip_keys(self, keys: Iterable[str], read: Iterable[str], parent: str = "") -> None:
        """Count the keys of a JSON object that were not read.

        Args:
            keys: All keys of the object.
            read: The keys that were read.
            parent: The path of the object with a dot at the end, such as `spans.` for the key `spans.score`.
        """
        if not self.counting:
            return
        read = set(read)
        for key in keys:
            if key not in read:
                self.skip(f"values of the key {parent}{key}")

    def skip_uncounted(self, phrase: str) -> None:
        """Add a skipped part that has no count.

        Args:
            phrase: A noun phrase, such as `the column id`.
        """
        if self.counting:
            self._uncounted[phrase] = None

    def skipped(self) -> list[str]:
        """Return phrases for all skipped parts.

        Returns:
            Phrases with counts, in the order in which the parts first occurred; then phrases without counts.
        """
        counted = [f"{prefix}{count:,} {part}" for (prefix, part), count in self._counts.items() if count]
        return [*counted, *self._uncounted]


def new_remarks(remarks: Iterable[str], known: Iterable[str]) -> list[str]:
    """Select the remarks on a file that are not known from another file.

    Args:
        remarks: The remarks on the file.
        known: The remarks on another file, such as the training file.

    Returns:
        The new remarks. A remark that differs in its example only is not new.
    """
    seen = {remark.partition(_EXAMPLE)[0] for remark in known}
    return [remark for remark in remarks if remark.partition(_EXAMPLE)[0] not in seen]
