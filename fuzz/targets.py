"""The targets by name. Each takes bytes, and returns if nlp_app keeps what it promises; all else is a fault.

Promised is: a result, or an error of ours; offsets that are exact; files only where they are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from fuzz import command_line, conversion, language, lexicons, models, readers, seeds, settings
from fuzz.choices import Choices


class Target(NamedTuple):
    """What is fuzzed, from which inputs on, and how long an input may become."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    longest: int = 4096


TARGETS: Mapping[str, Target] = MappingProxyType({
    "sequences": Target(readers.sequences, seeds.sequences),
    "classes": Target(readers.classes, seeds.classes),
    "lines": Target(readers.lines, seeds.lines),
    "tokenizers": Target(language.tokenizers, seeds.texts),
    "schemes": Target(language.schemes, seeds.tags),
    "alignment": Target(language.alignment, seeds.texts),
    "lexicons": Target(lexicons.lexicons, seeds.word_lists),
    "settings": Target(settings.settings, seeds.settings),
    "conversion": Target(conversion.conversion, seeds.sequences),
    "taggers": Target(models.taggers, seeds.edits, 1024),
    "classifiers": Target(models.classifiers, seeds.edits, 1024),
    "transformers": Target(models.transformers, seeds.edits, 1024),
    "foreign": Target(models.foreign, seeds.edits, 1024),
    "command_line": Target(command_line.command_line, seeds.commands),
})  # fmt: skip


def mixed(data: bytes) -> None:
    """Any of the targets: a short run needs one process for all of them."""
    choices = Choices(data)
    TARGETS[choices.pick(tuple(TARGETS))].run(choices.rest())


def _mixed_seeds() -> list[bytes]:
    """Some of each target's, so that a run of few inputs gets beyond them."""
    return [bytes([number]) + seed for number, target in enumerate(TARGETS.values()) for seed in target.seeds()[::9]]


MIXED = "mixed"


def target_named(name: str) -> Target:
    """A target, or `mixed`. Raises KeyError for another name."""
    return Target(mixed, _mixed_seeds) if name == MIXED else TARGETS[name]
