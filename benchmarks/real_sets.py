"""Accuracy and cost on public sets with the default settings, beside a feature CRF: the tables, made by one command.

    python benchmarks/real_sets.py FOLDER [--sets resume,weibo] [--seeds 1,2,3] [--resources text,vectors]
        [--vectors glove=FILE,tencent=FILE] [--json FILE] [--print]

FOLDER holds the sets as they were published (see SETS) and the vectors (see VECTORS). The epoch is chosen on dev; where
a set has none, a tenth of the training sentences is held out, but not from the feature CRF, which needs none. Readers
and scorer are the same. With --json each run is kept in a file, one JSON line each, and runs found there are left out
(begin a new file when the program has changed); --print makes the tables from that file alone.

Seconds are CPU seconds at one thread without imports: ours of the whole run (reading, training, dev scores, final
scores, checkpoints), the feature CRF's of features and training. Tokens a second are from lists of tokens to lists of
tags, the whole of test, in turns; ms a sentence: the median of the first ones of test, each tagged alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import crfsuite_tagger as feature_crf
import torch

from nlp_app.config import TaggingSettings, read_settings
from nlp_app.core.paths import bundled_path
from nlp_app.data.tagging.splits import read_splits
from nlp_app.inference import Tagger
from nlp_app.labels.schemes import NONE
from nlp_app.labels.tag_set import TagSet
from nlp_app.metrics.spans import score_spans, selection_score
from nlp_app.models import read_model
from nlp_app.models.directory import DESCRIPTION
from nlp_app.training import train_ner

TURNS = 5
SENTENCES_ALONE = 200
CONFIG = "configs/ner_bilstm_crf.toml"
TEXT = "text"  # the resource of a run that has none but its training text
VECTORS = {"glove": "embeddings/glove.twitter.27B.25d.top12k.txt", "tencent": "thucnews_titles/embedding_Tencent.npz"}
Record = dict[str, Any]


class Set(NamedTuple):
    """A set's files (train, dev, test), the scores to reach on test by resource, and what its reader is told."""

    folder: str
    files: tuple[str, str | None, str]
    wanted: dict[str, float]
    options: tuple[str, ...] = ()


_RESUME = ("train.char.bmes", "dev.char.bmes", "test.char.bmes")
_WEIBO = ("weiboNER_2nd_conll.train", "weiboNER_2nd_conll.dev", "weiboNER_2nd_conll.test")
_WNUT = ("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated")
_EWT = ("en_ewt-ud-train.weblog+reviews.conllu", "en_ewt-ud-dev.conllu", "en_ewt-ud-test.conllu")
_CROSSNER = ("train.txt", "dev.txt", "test.txt")
SETS = {
    "resume": Set("resume_ner", _RESUME, {TEXT: 0.952, "tencent": 0.957}),
    "weibo": Set("weibo_ner", _WEIBO, {TEXT: 0.535, "tencent": 0.580}, ("data.token_pattern=segmented",)),
    "wnut17": Set("wnut17", _WNUT, {TEXT: 0.250, "glove": 0.320}),
    "ncbi": Set("ncbi_disease", ("train.tsv", "devel.tsv", "test.tsv"), {TEXT: 0.820}),
    "sec": Set("sec_filings", ("FIN5.txt", None, "FIN3.txt"), {TEXT: 0.845}),
    "politics": Set("crossner/politics", _CROSSNER, {TEXT: 0.56, "glove": 0.60}),
    "science": Set("crossner/science", _CROSSNER, {TEXT: 0.50, "glove": 0.53}),
    "music": Set("crossner/music", _CROSSNER, {TEXT: 0.45, "glove": 0.48}),
    "literature": Set("crossner/literature", _CROSSNER, {TEXT: 0.50, "glove": 0.53}),
    "ai": Set("crossner/ai", _CROSSNER, {TEXT: 0.45, "glove": 0.48}),
    "ewt": Set("ud_english_ewt", _EWT, {TEXT: 0.935}),
    "gsd": Set("ud_chinese_gsd", ("zh_gsd-ud-dev.conllu", None, "zh_gsd-ud-test.conllu"), {TEXT: 0.845}),
}


class Runs:
    """The records of runs, kept in a file if there is one: a record for each seed, and one for the feature CRF."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []
        self.records: list[Record] = [json.loads(line) for line in lines]

    def add(self, *records: Record) -> None:
        self.records += records
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(record) + "\n" for record in records))

    def of(self, name: str, tagger: str, resource: str = TEXT) -> list[Record]:
        """The records of one set by seed, the latest of each."""
        wanted = {"set": name, "tagger": tagger, "resource": resource}
        found = {record["seed"]: record for record in self.records if wanted.items() <= record.items()}
        return [found[seed] for seed in sorted(found)]


def settings_of(folder: Path, name: str, seed: int, *changes: str) -> TaggingSettings:
    chosen, splits = SETS[name], zip(("train", "dev", "test"), SETS[name].files, strict=True)
    files = [f"data.{split}={folder / chosen.folder / file}" for split, file in splits if file is not None]
    return read_settings(
        TaggingSettings, bundled_path(CONFIG), [*files, *chosen.options, f"train.seed={seed}", *changes]
    )


def train_ours(settings: TaggingSettings, output: Path) -> Record:
    """Scores, seconds and size of one run, whose model is left in `output`."""
    began = time.process_time()
    metrics = train_ner(settings, output, quiet=True)
    seconds = time.process_time() - began
    description = json.loads((output / DESCRIPTION).read_text(encoding="utf-8"))
    size = sum((output / file).stat().st_size for file in [DESCRIPTION, *description["files"]])
    return {
        "measure": "F1" if "f1" in metrics["test"] else "accuracy",
        "dev": selection_score(metrics["dev"]),
        "test": selection_score(metrics["test"]),
        "seconds": seconds,
        "megabytes": size / 1e6,
        "coverage": description["about"].get("vector_coverage", {}).get("test"),
    }


def compare(settings: TaggingSettings, ours: Path) -> Record:
    """Train the feature CRF on the same data; its scores and seconds, and the speeds of both."""
    data = read_splits(settings.data, settings.train.seed)
    sentences = data.test.sentences if data.test is not None else []
    test = [sentence.tokens for sentence in sentences]
    tag_set = TagSet.of(data.train.sentences, NONE if data.train.scheme == NONE else "BIO")
    gold = [[tag_set.tags[tag] for tag in tag_set.targets([sentence]).tolist()] for sentence in data.train.sentences]
    tagger = Tagger(read_model(ours))  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.crfsuite"
        seconds = feature_crf.train([sentence.tokens for sentence in data.train.sentences], gold, model)
        turns = [(seconds_of(lambda: tagger.tag_tokens(test)), feature_crf.tag(model, test)) for _ in range(TURNS)]
        size = model.stat().st_size
    tokens = sum(map(len, test))
    found = [tag_set.spans([tag_set.ids[tag] for tag in tags]) for tags in turns[0][1][0]]
    alone = [seconds_of(lambda one=one: tagger.tag_tokens([one])) for one in test[:SENTENCES_ALONE]]  # type: ignore[misc]
    return {
        "test": selection_score(score_spans(tag_set, sentences, found)),
        "seconds": seconds,
        "megabytes": size / 1e6,
        "tokens_per_second": tokens / statistics.median(seconds for _, (_, seconds) in turns),
        "our_tokens_per_second": tokens / statistics.median(seconds for seconds, _ in turns),
        "our_milliseconds_alone": 1e3 * statistics.median(alone),
    }


def seconds_of(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def warm_up() -> None:
    """Train on a few sentences, so that imports are no part of what is measured."""
    with tempfile.TemporaryDirectory() as folder:
        train_ner(
            read_settings(TaggingSettings, bundled_path(CONFIG), ["train.epochs=1"]), Path(folder) / "run", quiet=True
        )


def run(folder: Path, name: str, seed: int, resource: str, vectors: dict[str, Path], runs: Runs) -> None:
    """One run of ours, with the feature CRF after the first one of a set; both are recorded together."""
    changes = [] if resource == TEXT else [f"model.vectors={vectors[resource]}"]
    with tempfile.TemporaryDirectory() as place:
        output = Path(place) / "run"
        mark = {"set": name, "seed": seed, "resource": resource}
        records = [mark | {"tagger": "ours"} | train_ours(settings_of(folder, name, seed, *changes), output)]
        if resource == TEXT and not runs.of(name, "crfsuite"):
            whole = settings_of(folder, name, seed, *([] if SETS[name].files[1] else ["data.dev_share=0"]))
            records.append(mark | {"tagger": "crfsuite"} | compare(whole, output))
    runs.add(*records)
    print(f"{name} {seed} {resource}: test {records[0]['test']:.4f}", file=sys.stderr, flush=True)


def mean(records: list[Record], key: str) -> float:
    return statistics.fmean(record[key] for record in records)


def scores(records: list[Record], wanted: float) -> str:
    """dev | test | each seed | wanted; a test score that reaches what is wanted is bold."""
    test, each = mean(records, "test"), " ".join(f"{record['test']:.4f}" for record in records)
    bold = "**" if test >= wanted else ""
    return f"{mean(records, 'dev'):.4f} | {bold}{test:.4f}{bold} | {each} | {wanted:.3f}"


def text_rows(runs: Runs, names: list[str]) -> Iterator[str]:
    yield (
        "| set | measure | feature CRF test | ours dev | ours test | each seed | wanted | CRFsuite CPU s | ours CPU s "
        "| ratio | ours tokens/s | CRFsuite tokens/s | ours ms a sentence | ours MB | CRFsuite MB |"
    )
    yield "|---|---|" + "---|" * 13
    for name in names:
        ours, crf = runs.of(name, "ours"), runs.of(name, "crfsuite")
        for peer in crf[-1:] if ours else ():
            seconds = mean(ours, "seconds")
            yield (
                f"| {name} | {ours[0]['measure']} | {peer['test']:.4f} | {scores(ours, SETS[name].wanted[TEXT])} "
                f"| {peer['seconds']:.1f} | {seconds:.1f} | {seconds / peer['seconds']:.2f} "
                f"| {peer['our_tokens_per_second']:,.0f} | {peer['tokens_per_second']:,.0f} "
                f"| {peer['our_milliseconds_alone']:.2f} | {mean(ours, 'megabytes'):.1f} | {peer['megabytes']:.1f} |"
            )


def vector_rows(runs: Runs, names: list[str]) -> Iterator[str]:
    yield "| set | vectors | ours dev | ours test | each seed | wanted | test tokens covered | CPU s | MB |"
    yield "|---|---|" + "---|" * 7
    for name in names:
        for resource, wanted in SETS[name].wanted.items():
            ours = runs.of(name, "ours", resource)
            if resource == TEXT or not ours:
                continue
            covered = "" if ours[-1]["coverage"] is None else f"{ours[-1]['coverage']:.1%}"
            cost = f"{mean(ours, 'seconds'):.1f} | {mean(ours, 'megabytes'):.1f}"
            yield f"| {name} | {resource} | {scores(ours, wanted)} | {covered} | {cost} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="where the sets are")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--resources", default="text,vectors", help="text: runs without vectors; vectors: with them")
    parser.add_argument("--vectors", default="", help="files of vectors elsewhere: glove=FILE,tencent=FILE")
    parser.add_argument("--json", type=Path, help="keeps the runs, one JSON line each")
    parser.add_argument("--print", action="store_true", help="tables of the runs that are kept, and nothing else")
    arguments = parser.parse_args()
    if arguments.print != (arguments.folder is None) or (arguments.print and arguments.json is None):
        parser.error("give FOLDER, or --json FILE --print")
    elsewhere = {key: Path(path) for key, _, path in (item.partition("=") for item in arguments.vectors.split(","))}
    names, runs = arguments.sets.split(","), Runs(arguments.json)
    if not arguments.print:
        torch.set_num_threads(1)
        warm_up()
        vectors = {key: arguments.folder / path for key, path in VECTORS.items()} | elsewhere
        for name, resource, seed in itertools.product(names, (TEXT, *VECTORS), map(int, arguments.seeds.split(","))):
            kind = TEXT if resource == TEXT else "vectors"
            done = any(record["seed"] == seed for record in runs.of(name, "ours", resource))
            if resource in SETS[name].wanted and kind in arguments.resources.split(",") and not done:
                run(arguments.folder, name, seed, resource, vectors, runs)
    print("\n".join([*text_rows(runs, names), "", *vector_rows(runs, names)]))


if __name__ == "__main__":
    main()
