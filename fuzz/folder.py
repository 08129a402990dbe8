"""The folder in which targets keep their files: the only place where anything may be written."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path

VARIABLE = "NLP_APP_FUZZ_FOLDER"


@cache
def folder() -> Path:
    """What the variable names, or a new one."""
    named = os.environ.get(VARIABLE)
    path = Path(named) if named else Path(tempfile.mkdtemp(prefix="nlp_app-fuzz-"))
    path.mkdir(parents=True, exist_ok=True)
    return path


def file_of(name: str, content: bytes) -> Path:
    """A file there, written anew."""
    path = folder() / name
    path.write_bytes(content)
    return path
