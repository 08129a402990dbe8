"""The log of a read: counts, remarks and repairs."""

from __future__ import annotations

from nlp_app.formats.tagging import ReadLog


def test_repairs_are_reported_once_with_count_and_first_place() -> None:
    log = ReadLog(counting=False)
    log.remark("the encoding is latin-1")
    for line in (3, 7, 9):
        log.repair("comment lines that were skipped", line)
    log.repair("texts without annotations", "b.txt")
    log.remark("the encoding is latin-1")
    assert log.remarks == [
        "the encoding is latin-1",
        "comment lines that were skipped: 3 (the first: line 3)",
        "texts without annotations: 1 (the first: b.txt)",
    ]


def test_skipped_parts_are_counted_only_on_request() -> None:
    logs = ReadLog(counting=False), ReadLog()
    for log in logs:
        log.skip("comments", 2)
        log.skip_keys(["text", "id"], ["text"])
        log.skip_uncounted("the column id")
    assert logs[0].skipped() == []
    assert logs[1].skipped() == ["2 comments", "1 values of the key id", "the column id"]


def test_restart_clears_the_log() -> None:
    log = ReadLog()
    log.remark("a")
    log.repair("b", 1)
    log.skip("c")
    log.skip_uncounted("d")
    log.restart()
    assert (log.remarks, log.skipped()) == ([], [])
