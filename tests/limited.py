"""The command line in a fork of this process, with a limit on the size of files: a full disk, without a new Python."""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection

from conftest import Outcome

PATIENCE = 900.0  # seconds; only what never ends takes as long


def run_on_full_disk(arguments: Sequence[str], limit: int, environment: dict[str, str]) -> Outcome:
    """Run a command whose files may not grow beyond `limit` bytes."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(theirs, arguments, limit, environment))
    process.start()
    theirs.close()
    try:
        assert ours.poll(PATIENCE)
        outcome: Outcome = ours.recv()
        process.join(PATIENCE)
    finally:
        process.kill()
        ours.close()
    return outcome


def _run(pipe: Connection, arguments: Sequence[str], limit: int, environment: dict[str, str]) -> None:
    import resource

    from nlp_app.cli import main

    os.environ.update(environment)
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    status = 0
    try:
        main(list(arguments))
    except SystemExit as stop:
        status = int(stop.code or 0)
    out, err = (stream.buffer.getvalue().decode() for stream in (sys.stdout, sys.stderr))
    pipe.send(Outcome(status, out, err))
