"""Progress in a log: whole lines, now and then, and none where nobody has to wait."""

from __future__ import annotations

import io
import re
import time

import pytest

from nlp_app.core import progress_bar


def told(monkeypatch: pytest.MonkeyPatch, steps: int, quiet: bool = False, total: int | None = 10) -> str:
    """What a bar writes to a log, at a pace of a tenth of a second a step and a line a tenth."""
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    monkeypatch.setattr(progress_bar, "_LOG_INTERVAL", 0.1)
    with progress_bar.progress_bar(quiet, " steps", total) as bar:
        for _ in range(steps):
            time.sleep(0.1)
            bar.set_postfix_str("loss 0.5", refresh=False)
            bar.update()
    return log.getvalue()


def test_a_log_gets_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told(monkeypatch, 5).split("\n")
    assert lines.pop() == ""
    assert 2 <= len(lines) <= 6
    pattern = r"(\d+) %, (\d+) of 10 steps, [\d.?]+ steps/s, [\d:?]+ left, loss 0.5"
    found = [re.fullmatch(pattern, line) for line in lines]
    assert all(found), lines
    done = [int(match[2]) for match in found if match]
    assert done == sorted(done)
    assert done[-1] == 5


def test_where_the_end_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    line = told(monkeypatch, 4, total=None).split("\n")[0]
    assert re.fullmatch(r"\d steps, [\d.?]+ steps/s, loss 0.5", line), line


def test_nothing_is_said_of_what_is_soon_done_or_when_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, 0) == ""
    assert told(monkeypatch, 4, quiet=True) == ""


def test_a_status_waits_for_the_next_line_of_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    with progress_bar.progress_bar(False, " folds", 3) as bar:
        for epoch in range(50):
            progress_bar.show_status(bar, f"fold 1, epoch {epoch}")
    assert log.getvalue() == ""
