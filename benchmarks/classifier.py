"""The classifier on public sets, beside scikit-learn's linear models, fastText and a tutorial's TextCNN.

    python benchmarks/classifier.py accuracy FOLDER [--sets thucnews trec6] [--seeds 1 2 3]
    python benchmarks/classifier.py speed FOLDER
    python benchmarks/classifier.py memory FILE [--copies 1 4 16]

FOLDER holds the sets in the files in which they were published, one folder each (see SETS); FILE is labeled texts, a
line each. CPU seconds (`time.process_time`) at one thread; everything of a command in one run. Ours has its default
settings, and the whole run is counted: reading, training, checkpoints, scores. scikit-learn's counts fitting alone,
fastText's `train_supervised`. Without a dev file ours trains on all training texts and keeps the last epoch; with
several labels a text it holds a tenth out, to tune the thresholds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import textcnn
import torch
from class_peers import FastText, Labels, Linear, scores
from tutorial_textcnn import read as read_titles

import nlp_app
from nlp_app.config import ClassificationSettings, read_settings
from nlp_app.core.paths import bundled_path
from nlp_app.data.classification.splits import ClassSplit, read_class_splits
from nlp_app.training import train_cls

ROUNDS = 5
DOCUMENTED = {"lr": 0.5, "epoch": 25}  # of fastText, for small data
MEASURES = {"accuracy": ("accuracy",), "macro_f1": ("macro_f1",), "several": ("micro_f1", "macro_f1")}


class Set(NamedTuple):
    """A set's files, what is measured, the scores that are wanted, and what our reader and training are told."""

    train: str
    test: str
    bars: tuple[float, ...]
    measures: tuple[str, ...] = MEASURES["accuracy"]
    dev: str = ""
    options: tuple[str, ...] = ("data.dev_share=0",)
    chinese: bool = False
    coarse: bool = False  # labels end at the colon

    @property
    def multi_label(self) -> bool:
        return self.measures == MEASURES["several"]


SETS = {
    "thucnews": Set("thucnews_titles/dev.txt", "thucnews_titles/test.txt", (0.885,), chinese=True),
    "trec6": Set("trec/TREC.train", "trec/TREC.test", (0.915,), coarse=True),
    "trec50": Set("trec/TREC.train", "trec/TREC.test", (0.850,)),
    "banking77": Set("banking77/train.csv", "banking77/test.csv", (0.920,)),
    "sms": Set(
        "sms_spam/split_seed42/train.tsv",
        "sms_spam/split_seed42/test.tsv",
        (0.980,),
        MEASURES["macro_f1"],
        dev="sms_spam/split_seed42/dev.tsv",
        options=(),
    ),
    "cooking": Set(
        "cooking_multilabel/cooking-train.jsonl",
        "cooking_multilabel/cooking-dev.jsonl",
        (0.870, 0.680),
        MEASURES["several"],
        options=("train.imbalance=weights",),
    ),
}


CONFIGS = {"combined": "cls_combined", "embedding_bag": "cls_embeddingbag", "textcnn": "cls_textcnn"}


class Result(NamedTuple):
    """Scores of a run on test, its CPU seconds of training."""

    scores: dict[str, float]
    seconds: float


def coarse_copy(path: Path, folder: Path) -> Path:
    """The file with labels up to their colon."""
    lines = path.read_text(encoding="latin-1").splitlines()
    copy = folder / path.name
    pairs = (line.split(" ", 1) for line in lines)
    copy.write_text("".join(f"{label.split(':')[0]} {text}\n" for label, text in pairs), encoding="latin-1")
    return copy


def changes_of(chosen: Set, folder: Path, scratch: Path) -> list[str]:
    """The settings that name a set's files."""
    names = {"train": chosen.train, "dev": chosen.dev, "test": chosen.test}
    files = {name: folder / path for name, path in names.items() if path}
    if chosen.coarse:
        files = {name: coarse_copy(path, scratch) for name, path in files.items()}
    return [*(f"data.{name}={path}" for name, path in files.items()), *chosen.options, "track.plots=false"]


def train_ours(kind: str, changes: Sequence[str], output: Path) -> Result:
    """`train cls` with the committed settings of a kind, changed."""
    settings = read_settings(ClassificationSettings, bundled_path(f"configs/{CONFIGS[kind]}.toml"), changes)
    began = time.process_time()
    metrics = train_cls(settings, output, quiet=True)
    return Result(metrics.get("test", {}), time.process_time() - began)


def run_ours(kind: str, changes: Sequence[str]) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        return train_ours(kind, changes, Path(folder) / "run")


def texts_of(split: ClassSplit | Any) -> tuple[list[str], Labels]:
    records = list(split)
    return [record.text for record in records], [record.labels for record in records]


def timed(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def peers(
    chosen: Set, changes: Sequence[str], seeds: Sequence[int], scratch: Path
) -> Iterator[tuple[str, list[Result]]]:
    """Each peer's runs, one a seed where it has one, on all texts of the training file."""
    reading = [change for change in changes if change.startswith(("data.train", "data.test"))]
    data = read_class_splits(read_settings(ClassificationSettings, None, [*reading, "data.dev_share=0"]).data, 1)
    train, (texts, gold) = texts_of(data.train), texts_of(data.test.records if data.test else [])
    several, chinese = chosen.multi_label, chosen.chinese
    linear = {"TF-IDF + logistic regression": [Linear.logistic(chinese, several)]}
    if several:
        linear["the same, classes balanced"] = [Linear.logistic(chinese, several, "balanced")]
    else:
        linear = {"TF-IDF + LinearSVC": [Linear.svm(chinese, seed) for seed in seeds[:1]]} | linear
    for name, models in linear.items():
        seconds = [timed(lambda model=model: model.train(*train)) for model in models]
        answers = [model.classify(texts) for model in models]
        yield name, [Result(scores(gold, a), s) for a, s in zip(answers, seconds, strict=True)]
    for name, options in (("fastText, bigrams, untuned", {}), ("fastText, bigrams, 25 epochs, rate .5", DOCUMENTED)):
        found = []
        for seed in seeds:
            model = FastText(chinese, several, scratch / "fasttext.txt", seed=seed, **options)
            model.prepare(*train)
            used = timed(model.train)
            found.append(Result(scores(gold, model.classify(texts)), used))
        yield name, found


def accuracy_line(name: str, system: str, chosen: Set, runs: Sequence[Result]) -> str:
    cells = [name, system]
    for measure in chosen.measures:
        each = [run.scores[measure] for run in runs]
        mean = f"{statistics.mean(each):.4f}"
        cells.append(mean + (f" ({' '.join(f'{score:.4f}' for score in each)})" if len(each) > 1 else ""))
    cells.append(f"{statistics.mean(run.seconds for run in runs):.1f}")
    return f"| {' | '.join(cells)} |"


def accuracy(arguments: argparse.Namespace) -> None:
    """Scores on test."""
    for name in arguments.sets:
        chosen = SETS[name]
        head = " | ".join(measure.replace("_f1", " F1") for measure in chosen.measures)
        wanted = " / ".join(f"{bar:.3f}" for bar in chosen.bars)
        print(f"\n| set | wanted: {wanted} | {head} | CPU s to train |\n|---|---|{'---|' * len(chosen.bars)}---|")
        with tempfile.TemporaryDirectory() as folder:
            changes = changes_of(chosen, arguments.folder, Path(folder))
            for kind in ("combined", "embedding_bag"):
                runs = [run_ours(kind, [*changes, f"train.seed={seed}"]) for seed in arguments.seeds]
                print(accuracy_line(name, f"nlp_app, {kind}", chosen, runs), flush=True)
            for system, runs in peers(chosen, changes, arguments.seeds, Path(folder)):
                print(accuracy_line(name, system, chosen, runs), flush=True)


@contextmanager
def trained(changes: Sequence[str], kind: str) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as folder:
        train_ours(kind, changes, Path(folder) / "run")
        yield nlp_app.load(str(Path(folder) / "run"))


def training_times(changes: Sequence[str], train: tuple[list[str], Labels], scratch: Path) -> FastText:
    """Print the seconds of our bags and of fastText, trained in turn; returns fastText at its defaults, trained."""
    models = {"defaults": FastText(True, False, scratch / "fasttext.txt")}
    models["25 epochs, rate .5"] = FastText(True, False, scratch / "fasttext.txt", **DOCUMENTED)
    models["defaults"].prepare(*train)
    run_ours("embedding_bag", changes)  # imports what is imported late
    print("| fastText | its CPU s | nlp_app, embedding_bag, CPU s | ratio |\n|---|---|---|---|")
    for name, model in models.items():
        pairs = [(timed(model.train), run_ours("embedding_bag", changes).seconds) for _ in range(3)]
        columns = [" ".join(f"{seconds:.2f}" for seconds in column) for column in zip(*pairs, strict=True)]
        ratio = statistics.median(ours / theirs for theirs, ours in pairs)
        print(f"| {name} | {columns[0]} | {columns[1]} | {ratio:.2f} |", flush=True)
    return models["defaults"]


def speed_line(name: str, classify: Callable[[list[str]], Any], titles: list[str]) -> str:
    classify(titles[:1000])
    seconds = statistics.median(timed(lambda: classify(titles)) for _ in range(ROUNDS))
    return f"| {name} | {len(titles) / seconds:,.0f} |"


def speed(arguments: argparse.Namespace) -> None:
    """Training and classifying THUCNews titles."""
    chosen = SETS["thucnews"]
    files = arguments.folder / chosen.train, arguments.folder / chosen.test
    train, test = (read_titles(path) for path in files)
    texts, labels = [title for title, _ in train], [(label,) for _, label in train]
    titles = [title for title, _ in test]
    changes = [f"data.train={files[0]}", *chosen.options, "track.plots=false"]
    with tempfile.TemporaryDirectory() as folder:
        peer = training_times(changes, (texts, labels), Path(folder))
    print("\n| from raw titles | titles/s |\n|---|---|")
    for kind in ("embedding_bag", "textcnn", "combined"):
        with trained(changes, kind) as classifier:
            print(speed_line(f"nlp_app, {kind}", classifier.classify, titles), flush=True)
    print(speed_line("fastText, bigrams", peer.classify, titles), flush=True)
    svm = Linear.svm(chinese=True)
    svm.train(texts, labels)
    print(speed_line("TF-IDF + LinearSVC", svm.classify, titles), "\n", flush=True)
    textcnn.compare(train, test, textcnn.Options(files[0], epochs=arguments.epochs))


def peak_megabytes(*arguments: str) -> float:
    """Of a run of the command line, in a process of its own."""
    program = [sys.executable, "-c", "from nlp_app.cli import main; main()", *arguments]
    # A process starts out with the peak of the one that started it: so a small one stands between.
    launcher = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", launcher, *program], check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.split()[-1]) / 1024


def memory(arguments: argparse.Namespace) -> None:
    """Peak memory on a file and on its copies."""
    print("| copies | texts | MB of file | peak MB of training | of classifying |\n|---|---|---|---|---|")
    content = arguments.file.read_bytes()
    for copies in arguments.copies:
        with tempfile.TemporaryDirectory() as folder:
            file, model = Path(folder) / arguments.file.name, Path(folder) / "run"
            with file.open("wb") as out:
                for _ in range(copies):
                    out.write(content)
            settings = [
                f"data.train={file}",
                "model.kind=embedding_bag",
                "train.epochs=1",
                "data.dev_share=0",
                "train.checkpoint_seconds=0",
            ]
            sets = [word for setting in settings for word in ("--set", setting)]
            training = peak_megabytes("train", "cls", "--output", str(model), "--quiet", *sets)
            found = str(Path(folder) / "found.jsonl")
            classifying = peak_megabytes("classify", str(model), "--input", str(file), "--output", found, "--quiet")
            texts = content.count(b"\n") * copies
            size = len(content) * copies / 1e6
        print(f"| {copies} | {texts:,} | {size:.1f} | {training:.0f} | {classifying:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    modes = parser.add_subparsers(required=True)
    for function in (accuracy, speed, memory):
        mode = modes.add_parser(function.__name__, help=function.__doc__)
        mode.set_defaults(function=function)
        mode.add_argument("file" if function is memory else "folder", type=Path)
        if function is accuracy:
            mode.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
            mode.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
        elif function is speed:
            mode.add_argument("--epochs", type=int, default=5, help="of the tutorial's TextCNN")
        else:
            mode.add_argument("--copies", nargs="+", type=int, default=[1, 4, 16])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.function(arguments)


if __name__ == "__main__":
    main()
