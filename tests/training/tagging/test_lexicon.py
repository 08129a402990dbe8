"""Train with lists of words: the model contains them, and needs neither files nor packages to tag."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import SMALL, Outcome, Small, refused

import nlp_app
from nlp_app.inference import Tagger

Cli = Callable[..., Outcome]

SENTENCES = [list("马云在杭州"), ["Anna", "Smith", "lives", "in", "New", "York"], []]


def train(cli: Cli, small: Small, output: Path, *more: object) -> Outcome:
    files = ("--train", small.train, "--dev", small.dev, "--test", small.test)
    return cli("train", "ner", *files, "--output", output, *SMALL, *more)


@pytest.fixture
def products(small: Small, tmp_path: Path) -> Path:
    """A list of some of the words of the training set, and of pairs of them."""
    tokens = [line.split(" ")[0] for line in small.train.read_text(encoding="utf-8").splitlines() if line]
    words = [*tokens[::5], *(first + " " + second for first, second in pairwise(tokens))][:2000]
    path = tmp_path / "my_products.txt"
    path.write_text("".join(f"{word}\t{len(word)}\t{'ab'[len(word) % 2]}\n" for word in words), encoding="utf-8")
    return path


def test_the_model_contains_the_words(cli: Cli, small: Small, products: Path, tmp_path: Path) -> None:
    run, chosen = tmp_path / "run", f"--set=model.lexicon=names,{products}"
    outcome = train(cli, small, run, chosen)
    assert outcome.status == 0
    assert f"lexicon {products}: 2,000 words, 2 classes" in outcome.err
    description = json.loads((run / "nlp_app.json").read_text(encoding="utf-8"))
    assert "vocab/lexicon.npy" in description["files"]
    assert [each["name"] for each in description["about"]["lexicon"]] == ["names", str(products)]
    again = cli("train", "ner", "--output", run, "--resume", "--quiet")
    assert again.status == 0
    products.unlink()
    found = json.loads(cli("evaluate", run, small.test, "--json", "--quiet").out)
    del found["gold"]
    assert found == json.loads((run / "metrics.json").read_text(encoding="utf-8"))["test"]
    refused(cli("train", "ner", "--output", run, "--resume", "--quiet"), "my_products.txt")
    (run / "vocab/lexicon.npy").unlink()
    refused(cli("tag", run, "a"), "lexicon.npy")


def test_another_list_is_another_run(cli: Cli, small: Small, products: Path, tmp_path: Path) -> None:
    chosen = f"--set=model.lexicon={products}"
    assert train(cli, small, tmp_path / "run", chosen, "--quiet").status == 0
    with products.open("a", encoding="utf-8") as file:
        file.write("zzz\t1\ta\n")
    refused(train(cli, small, tmp_path / "run", chosen, "--quiet", "--resume"), products, "has changed since the run")
    assert train(cli, small, tmp_path / "other", chosen, "--quiet").status == 0  # not from the cache of the first one
    loaded = [nlp_app.load(tmp_path / name) for name in ("run", "other")]
    sizes = [len(tagger.parts.encoder.lexicon) for tagger in loaded if isinstance(tagger, Tagger)]  # type: ignore
    assert sizes[1] == sizes[0] + 1


@pytest.mark.parametrize("more", [(), ("--set=data.lower_case=false",), ("--set=data.tokenizer=char",)])
def test_training_goes_on_with_the_words(
    cli: Cli, small: Small, products: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    run, next_run = tmp_path / "run", tmp_path / "next"
    assert train(cli, small, run, f"--set=model.lexicon={products}", "--quiet", *more).status == 0
    assert train(cli, small, next_run, f"--set=model.initial_model={run}", "--quiet").status == 0
    taggers = [nlp_app.load(directory) for directory in (run, next_run)]
    lexicons = [tagger.parts.encoder.lexicon for tagger in taggers if isinstance(tagger, Tagger)]  # type: ignore
    assert (lexicons[0].index.keys == lexicons[1].index.keys).all()


def test_tagging_needs_no_package(cli: Cli, small: Small, tmp_path: Path) -> None:
    pytest.importorskip("jieba")
    assert train(cli, small, tmp_path / "run", "--set=model.lexicon=jieba", "--quiet").status == 0
    tagger = nlp_app.load(tmp_path / "run")
    assert isinstance(tagger, Tagger)
    assert tagger.tag_tokens(SENTENCES) == nlp_app.load(tmp_path / "run", backend="numpy").tag_tokens(SENTENCES)
    code = (
        "import sys; sys.modules['jieba'] = None; import nlp_app, json\n"
        "print(json.dumps(nlp_app.load(sys.argv[1]).tag_tokens(json.loads(sys.argv[2]))))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run"), json.dumps(SENTENCES)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == json.loads(json.dumps(tagger.tag_tokens(SENTENCES)))
