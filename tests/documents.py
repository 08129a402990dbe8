"""Fenced blocks of the documentation, for tests that run them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Block(NamedTuple):
    """A fenced block: what stands after the fence, and its lines."""

    info: str
    text: str


def blocks(path: Path, kind: str) -> list[Block]:
    """The fenced blocks of a document whose info string begins with `kind`."""
    found = re.findall(r"^```([^\n]*)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(info, text) for info, text in found if info.split(" ")[0] == kind]
