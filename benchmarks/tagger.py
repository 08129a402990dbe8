"""The tagger beside a tutorial's BiLSTM + pytorch-crf and python-crfsuite: training and tagging, in one run.

    python benchmarks/tagger.py --train F --dev F --test F [--epochs 10] [--set model.hidden_size=128]

CPU seconds (`time.process_time`) at one thread. Epochs of both networks alternate, so that a machine whose speed
drifts is fair to both; an epoch counts batching, forward, backward and update. Tagging counts everything from lists of
tokens to lists of tags, of the whole test file, where taggers take turns too, and of sentences one at a time. F1 of
entities (seqeval) after the same number of epochs; the feature CRF trains to its end.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import crfsuite_tagger as feature_crf
import torch
import tutorial_tagger as tutorial
from torch.utils.data import DataLoader

from nlp_app import engine as training
from nlp_app.config import TaggingSettings, read_settings
from nlp_app.data.tagging.splits import read_splits
from nlp_app.inference import Tagger
from nlp_app.training.examples import LearningRates
from nlp_app.training.learner_setup import make_learner
from nlp_app.training.tagging.examples import EncodedSentences
from nlp_app.training.tagging.setup import make_parts

TAGGING_ROUNDS = 9
SENTENCES_ALONE = 400


class Tutorial:
    """The tutorial's tagger on the same files."""

    def __init__(self, train: list[tutorial.Sentence]) -> None:
        tokens = (token for sentence, _ in train for token in sentence)
        self.tokens = tutorial.numbered(tokens, (tutorial.PADDING, tutorial.UNKNOWN))
        self.tags = tutorial.numbered(tag for _, tags in train for tag in tags)
        self.model = tutorial.TutorialTagger(len(self.tokens), len(self.tags))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.batches = self._loader(train, shuffle=True)

    def _loader(self, sentences: list[tutorial.Sentence], shuffle: bool = False) -> Any:
        collate = tutorial.collate_with(self.tokens, self.tags)
        return DataLoader(sentences, batch_size=32, shuffle=shuffle, collate_fn=collate)

    def epoch(self) -> float:
        began = time.process_time()
        tutorial.train_epoch(self.model, self.batches, self.optimizer)
        return time.process_time() - began

    def tag(self, sentences: list[tutorial.Sentence]) -> tuple[list[list[str]], float]:
        began = time.process_time()
        found = tutorial.tag(self.model, self._loader(sentences), list(self.tags))
        return found, time.process_time() - began


class Ours:
    """The tagger with its default settings (but for the number of epochs), without dev scores and checkpoints."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        files = [f"data.{name}={getattr(arguments, name)}" for name in ("train", "dev", "test")]
        own = [f"train.epochs={arguments.epochs}", f"train.seed={arguments.seed}", *arguments.changes]
        self.settings = read_settings(TaggingSettings, None, [*files, *own])
        training.seed_everything(arguments.seed)
        data = read_splits(self.settings.data, arguments.seed)
        self.parts = make_parts(self.settings, data)
        self.examples = EncodedSentences.encode(self.settings, self.parts, data.train.sentences)
        train = self.settings.train
        rates: LearningRates = {
            "sparse_rate": train.sparse_learning_rate,
            "rate_factors": {"crf.": train.crf_learning_rate / train.learning_rate},
        }
        self.learner = make_learner(train, self.parts.network, self.examples.batch_count(), rates)

    def epoch(self) -> float:
        began = time.process_time()
        options = training.LoopOptions(epochs=self.learner.state.epoch + 1)
        list(training.train(self.learner, self.examples.batches, None, options))
        return time.process_time() - began

    def tag(self, sentences: list[tutorial.Sentence]) -> tuple[list[list[str]], float]:
        tagger = Tagger(self.parts)
        forms = [tokens for tokens, _ in sentences]
        began = time.process_time()
        found = tagger.tag_tokens(forms)
        return found, time.process_time() - began

    def spans_seconds(self, sentence: tutorial.Sentence) -> float:
        """CPU seconds from a raw text to its spans with their probabilities."""
        tagger, text = Tagger(self.parts), " ".join(sentence[0])
        began = time.process_time()
        tagger.tag(text)
        return time.process_time() - began


class FeatureCrf:
    """The feature CRF, in the files' own tags."""

    def __init__(self, train: list[tutorial.Sentence], path: Path) -> None:
        self.path = path
        self.seconds = feature_crf.train([tokens for tokens, _ in train], [tags for _, tags in train], path)

    def tag(self, sentences: list[tutorial.Sentence]) -> tuple[list[list[str]], float]:
        return feature_crf.tag(self.path, [tokens for tokens, _ in sentences])


Taggers = dict[str, Tutorial | Ours | FeatureCrf]


def print_speeds(taggers: Taggers, test: list[tutorial.Sentence]) -> None:
    rounds = [[tagger.tag(test) for tagger in taggers.values()] for _ in range(TAGGING_ROUNDS)]
    tokens = sum(len(sentence) for sentence, _ in test)
    for name, runs in zip(taggers, zip(*rounds, strict=True), strict=True):
        speed = tokens / statistics.median(seconds for _, seconds in runs)
        print(f"{name:<30}  test F1 {tutorial.entity_f1(test, runs[0][0]):.4f}  {speed:>9,.0f} tokens/s", flush=True)


def print_times_alone(taggers: Taggers, test: list[tutorial.Sentence]) -> None:
    chosen = test[:SENTENCES_ALONE]
    times = {name: [tagger.tag([sentence])[1] for sentence in chosen] for name, tagger in taggers.items()}
    for name, tagger in taggers.items():
        if isinstance(tagger, Ours):
            times[f"{name}, text to spans"] = [tagger.spans_seconds(sentence) for sentence in chosen]
    for name, seconds in times.items():
        parts = statistics.quantiles(seconds, n=20)
        print(f"{name:<30}  a sentence alone: median {1e3 * parts[9]:.2f} ms, 95 % within {1e3 * parts[18]:.2f} ms")


def main() -> None:
    parser = tutorial.argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--set", dest="changes", action="append", default=[], help="a setting of ours to change")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    train, test = tutorial.read(arguments.train), tutorial.read(arguments.test)
    theirs, ours = Tutorial(train), Ours(arguments)
    pairs = []
    for epoch in range(1, arguments.epochs + 1):
        pairs.append((theirs.epoch(), ours.epoch()))
        print(f"epoch {epoch:>2}: tutorial {pairs[-1][0]:.2f} s, nlp_app {pairs[-1][1]:.2f} s", flush=True)
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"median epoch: tutorial {medians[0]:.2f} CPU s, nlp_app {medians[1]:.2f} CPU s, ratio {ratio:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        crf = FeatureCrf(train, Path(folder) / "model.crfsuite")
        print(f"feature CRF: trained in {crf.seconds:.1f} CPU s")
        taggers: Taggers = {"tutorial BiLSTM + pytorch-crf": theirs, "python-crfsuite": crf, "nlp_app": ours}
        print_speeds(taggers, test)
        print_times_alone(taggers, test)


if __name__ == "__main__":
    main()
