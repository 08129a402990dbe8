"""Entity F1 on public sets with the default settings: the README's table, made by one command.

    python benchmarks/real_sets.py FOLDER [--sets resume,weibo] [--seeds 1,2,3]

FOLDER holds the sets in the files in which they were published, one folder each (see SETS). No external resource is
used. The epoch is chosen on dev; where a set has none (SEC filings), a tenth of the training sentences is held out.
Test is scored once a seed. CPU seconds are those of the whole run, reading, dev scores and checkpoints included.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from nlp_app.config import TaggingSettings, read_settings
from nlp_app.experiment import train_ner
from nlp_app.resources import bundled


class Set(NamedTuple):
    """A set's files, what its reader is told, and the F1 of a linear-chain CRF with plain features."""

    train: str
    dev: str | None
    test: str
    floor: float
    options: tuple[str, ...] = ()


SETS = {
    "resume": Set("resume_ner/train.char.bmes", "resume_ner/dev.char.bmes", "resume_ner/test.char.bmes", 0.9410),
    "weibo": Set(
        "weibo_ner/weiboNER_2nd_conll.train",
        "weibo_ner/weiboNER_2nd_conll.dev",
        "weibo_ner/weiboNER_2nd_conll.test",
        0.5137,
        ("data.token_pattern=segmented",),
    ),
    "wnut17": Set("wnut17/wnut17train.conll", "wnut17/emerging.dev.conll", "wnut17/emerging.test.annotated", 0.1475),
    "ncbi": Set("ncbi_disease/train.tsv", "ncbi_disease/devel.tsv", "ncbi_disease/test.tsv", 0.7952),
    "sec": Set("sec_filings/FIN5.txt", None, "sec_filings/FIN3.txt", 0.8299),
    "politics": Set("crossner/politics/train.txt", "crossner/politics/dev.txt", "crossner/politics/test.txt", 0.5425),
}


def run(folder: Path, chosen: Set, seed: int) -> tuple[float, float, float]:
    """Dev F1, test F1, CPU seconds."""
    changes = [f"data.train={folder / chosen.train}", f"data.test={folder / chosen.test}", *chosen.options]
    changes += [f"data.dev={folder / chosen.dev}"] if chosen.dev else []
    settings = read_settings(TaggingSettings, bundled("configs/ner_bilstm_crf.toml"), [*changes, f"train.seed={seed}"])
    with tempfile.TemporaryDirectory() as output:
        began = time.process_time()
        metrics = train_ner(settings, Path(output) / "run", quiet=True)
        return metrics["dev"]["f1"], metrics["test"]["f1"], time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", default="1,2,3")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| set | dev F1 | test F1 | each seed | feature CRF | CPU s a run |\n|---|---|---|---|---|---|")
    for name in arguments.sets.split(","):
        runs = [run(arguments.folder, SETS[name], int(seed)) for seed in arguments.seeds.split(",")]
        dev, test, seconds = (statistics.mean(column) for column in zip(*runs, strict=True))
        each = " ".join(f"{result[1]:.4f}" for result in runs)
        print(f"| {name} | {dev:.4f} | {test:.4f} | {each} | {SETS[name].floor:.4f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
