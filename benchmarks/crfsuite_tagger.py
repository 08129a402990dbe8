"""A feature CRF on python-crfsuite: the line of comparison for accuracy and for tagging speed.

Features of a token, as strings: the form and its lower-cased form; lower-cased forms two to each side; the pairs with
either neighbor, the pairs beyond them and the three around the token; prefixes and suffixes of one to four letters;
the shape, its neighbors' shapes and the pairs of shapes. L-BFGS with c1 = 0.05, c2 = 0.1, at most 100 iterations.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pycrfsuite

Tokens = Sequence[str]


def shape(form: str) -> str:
    kinds = ["X" if c.isupper() else "x" if c.islower() else "d" if c.isdigit() else c for c in form]
    return "".join(kind for place, kind in enumerate(kinds) if kinds[place - 2 : place] != [kind, kind])


def features(tokens: Tokens) -> list[list[str]]:
    lower = ["<s>", "<s>", *(token.lower() for token in tokens), "</s>", "</s>"]
    shapes = ["<s>", *map(shape, tokens), "</s>"]
    rows = []
    for place, token in enumerate(tokens):
        a, b, c, d, e = lower[place : place + 5]
        x, y, z = shapes[place : place + 3]
        row = [f"w={token}", f"0={c}", f"-2={a}", f"-1={b}", f"1={d}", f"2={e}"]
        row += [
            f"-1|0={b}|{c}",
            f"0|1={c}|{d}",
            f"-1|1={b}|{d}",
            f"-2|-1={a}|{b}",
            f"1|2={d}|{e}",
            f"-1|0|1={b}|{c}|{d}",
        ]
        row += [f"s0={y}", f"s-1={x}", f"s1={z}", f"s-1|0={x}|{y}", f"s0|1={y}|{z}", f"s-1|0|1={x}|{y}|{z}"]
        row += [f"p{n}={c[:n]}" for n in range(1, min(5, len(c)))]
        row += [f"x{n}={c[-n:]}" for n in range(1, min(5, len(c)))]
        rows.append(row)
    return rows


def trainer_of(sentences: Sequence[Tokens], tags: Sequence[Tokens], iterations: int = 100) -> pycrfsuite.Trainer:
    """A trainer that holds the sentences' features and tags."""
    trainer = pycrfsuite.Trainer(verbose=False)
    for tokens, gold in zip(sentences, tags, strict=True):
        trainer.append(features(tokens), gold)
    trainer.select("lbfgs")
    trainer.set_params({"c1": 0.05, "c2": 0.1, "max_iterations": iterations, "feature.possible_transitions": True})
    return trainer


def train(sentences: Sequence[Tokens], tags: Sequence[Tokens], path: Path) -> float:
    """Train and save a model; CPU seconds, features included."""
    began = time.process_time()
    trainer_of(sentences, tags).train(str(path))
    return time.process_time() - began


def tag(path: Path, sentences: Sequence[Tokens]) -> tuple[list[list[str]], float]:
    """Tags of sentences and the CPU seconds it took, from raw tokens."""
    tagger = pycrfsuite.Tagger()
    tagger.open(str(path))
    began = time.process_time()
    found = [tagger.tag(features(tokens)) for tokens in sentences]
    return found, time.process_time() - began
