"""Lists of words as features of a tagger: they are matched on token boundaries, without vectors."""

from __future__ import annotations
