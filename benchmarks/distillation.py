"""What a small network keeps of a fine-tuned transformer: scores, speed and size of teacher, student and student alone.

    python benchmarks/distillation.py FOLDER TEACHER SET [--unlabeled FILE] [--seeds 1,2,3] [--set A.B=C]...

FOLDER holds the sets as they were published, TEACHER is a directory that `train ner` left, SET a name of
transformer.py's sets of entities. Teacher, and student with and without it, have the same training and dev files; test
is scored once a seed. Speed is of raw text of the test file, one thread, CPU seconds, the faster of two passes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from transformer import SETS

import nlp_app
from nlp_app.config import DistilledTaggingSettings, TaggingSettings, read_settings
from nlp_app.core.paths import bundled_path
from nlp_app.data.tagging.corpus import CorpusOptions, read_corpus
from nlp_app.training import train_ner


def tokens_per_second(model: Path, test: Path, precision: str = "full") -> float:
    """Of raw text, offsets and scores of spans included."""
    tagger: Any = nlp_app.load(model, precision=precision)
    sentences = read_corpus(test, CorpusOptions()).sentences
    texts, tokens = [sentence.text for sentence in sentences], sum(map(len, sentences))
    seconds = []
    for _ in range(2):
        began = time.process_time()
        tagger.tag(texts)
        seconds.append(time.process_time() - began)
    return tokens / min(seconds)


def megabytes(model: Path) -> float:
    """Of what tagging needs."""
    files = [model / "nlp_app.json", model / "model.safetensors", model / "tokenizer.json", *model.glob("vocab/*")]
    return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def student(
    files: Sequence[str], output: Path, changes: Sequence[str], teacher: Path | None
) -> tuple[dict[str, Any], float]:
    """Scores by split, and CPU seconds of the run."""
    kind = TaggingSettings if teacher is None else DistilledTaggingSettings
    taught = [] if teacher is None else [f"distill.teacher={teacher}", *changes]
    began = time.process_time()
    metrics = train_ner(
        read_settings(kind, bundled_path("configs/ner_bilstm_crf.toml"), [*files, *taught]), output, quiet=True
    )
    return metrics, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("name", choices=[name for name, each in SETS.items() if each.task == "ner"])
    parser.add_argument("--unlabeled", type=Path)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--set", dest="changes", action="append", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = SETS[arguments.name]
    paths = {"train": chosen.train, "dev": chosen.dev, "test": chosen.test}
    files = [f"data.{split}={arguments.folder / path}" for split, path in paths.items() if path]
    changes = [*arguments.changes, *([f"distill.unlabeled={arguments.unlabeled}"] if arguments.unlabeled else [])]
    test = arguments.folder / chosen.test
    print("| | dev F1 | test F1 | each seed | tokens a CPU s | MB | CPU s a run |\n|---|---|---|---|---|---|---|")
    for what, teacher in (("student alone", None), ("taught", arguments.teacher)):
        rows = []
        for seed in arguments.seeds.split(","):
            with tempfile.TemporaryDirectory() as directory:
                run = Path(directory) / "run"
                metrics, seconds = student([*files, f"train.seed={seed}"], run, changes, teacher)
                speed = tokens_per_second(run, test)
                rows.append((metrics["dev"]["f1"], metrics["test"]["f1"], speed, megabytes(run), seconds))
        dev, score, speed, size, seconds = (statistics.mean(column) for column in zip(*rows, strict=True))
        each = " ".join(f"{row[1]:.4f}" for row in rows)
        print(f"| {what} | {dev:.4f} | {score:.4f} | {each} | {speed:,.0f} | {size:.0f} | {seconds:.0f} |", flush=True)
    for precision in ("full", "auto"):
        speed = tokens_per_second(arguments.teacher, test, precision)
        print(f"| teacher, {precision} | | | | {speed:,.0f} | {megabytes(arguments.teacher):.0f} | |", flush=True)


if __name__ == "__main__":
    main()
