"""Tiny random pretrained models, in directories as transformers would leave them: config.json, model.safetensors,
tokenizer.json, tokenizer_config.json. Built offline and from a seed; none knows anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertTokenizer,
    DistilBertConfig,
    ElectraConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaTokenizer,
)

HEADS = {
    "base": AutoModel,
    "token": AutoModelForTokenClassification,
    "sequence": AutoModelForSequenceClassification,
}
ASCII = [chr(code) for code in range(33, 127)]


def tiny_bert(
    directory: Path,
    words: Iterable[str] = (),
    head: str = "base",
    labels: Sequence[str] = ("A", "B"),
    *,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 2,
    positions: int = 64,
    cased: bool = True,
    **options: Any,
) -> Path:
    """BERT with WordPiece: the words whole, their characters and ASCII as pieces; `options` go to the configuration."""
    vocabulary = word_pieces(words if cased else (word.lower() for word in words))
    tokenizer = BertTokenizer(vocab=vocabulary, do_lower_case=not cased, model_max_length=positions)
    config = BertConfig(
        vocab_size=len(vocabulary), max_position_embeddings=positions, **_sizes(hidden, layers, heads), **options
    )
    return _write(directory, config, tokenizer, head, labels)


def tiny_distilbert(
    directory: Path,
    words: Iterable[str] = (),
    head: str = "base",
    labels: Sequence[str] = ("A", "B"),
    *,
    positions: int = 64,
    **options: Any,
) -> Path:
    """DistilBERT, uncased: it takes no token types, and its configuration has names of its own."""
    vocabulary = word_pieces(word.lower() for word in words)
    tokenizer = BertTokenizer(vocab=vocabulary, model_max_length=positions)
    config = DistilBertConfig(
        vocab_size=len(vocabulary),
        max_position_embeddings=positions,
        **{"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, **options},
    )
    return _write(directory, config, tokenizer, head, labels)


def tiny_electra(
    directory: Path,
    words: Iterable[str] = (),
    head: str = "base",
    labels: Sequence[str] = ("A", "B"),
    *,
    positions: int = 64,
    **options: Any,
) -> Path:
    """ELECTRA, uncased: embeddings narrower than the layers, projected up."""
    vocabulary = word_pieces(word.lower() for word in words)
    tokenizer = BertTokenizer(vocab=vocabulary, model_max_length=positions)
    config = ElectraConfig(
        vocab_size=len(vocabulary),
        embedding_size=16,
        max_position_embeddings=positions,
        **{**_sizes(32, 2, 2), **options},
    )
    return _write(directory, config, tokenizer, head, labels)


def tiny_roberta(
    directory: Path,
    words: Iterable[str] = (),
    head: str = "base",
    labels: Sequence[str] = ("A", "B"),
    *,
    positions: int = 64,
    **options: Any,
) -> Path:
    """RoBERTa with byte-level BPE: a byte is a piece, and each word's merges from the left make it whole."""
    vocabulary, merges = byte_pairs(words)
    tokenizer = RobertaTokenizer(vocab=vocabulary, merges=merges, add_prefix_space=True, model_max_length=positions)
    config = RobertaConfig(
        vocab_size=len(vocabulary),
        max_position_embeddings=positions + 2,  # the first position is the padding's number plus one
        type_vocab_size=1,
        pad_token_id=vocabulary["<pad>"],
        bos_token_id=vocabulary["<s>"],
        eos_token_id=vocabulary["</s>"],
        **{**_sizes(32, 2, 2), **options},
    )
    return _write(directory, config, tokenizer, head, labels)


def tiny_xlm_roberta(
    directory: Path,
    words: Iterable[str] = (),
    head: str = "base",
    labels: Sequence[str] = ("A", "B"),
    *,
    positions: int = 64,
    **options: Any,
) -> Path:
    """XLM-R with SentencePiece's unigrams: the words behind a space, single characters, and an unknown piece."""
    words = list(dict.fromkeys(words))
    characters = dict.fromkeys(["▁", *ASCII, *sorted(set("".join(words)))])
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *(f"▁{word}" for word in words if len(word) > 1), *characters, "<mask>"]
    vocabulary = [(piece, -float(len(piece) == 1) * 8 - 2) for piece in pieces]
    tokenizer = XLMRobertaTokenizer(vocab=vocabulary, model_max_length=positions)
    config = XLMRobertaConfig(
        vocab_size=len(pieces),
        max_position_embeddings=positions + 2,
        type_vocab_size=1,
        **{**_sizes(32, 2, 2), **options},
    )
    return _write(directory, config, tokenizer, head, labels)


TINY = {
    "bert": tiny_bert,
    "roberta": tiny_roberta,
    "distilbert": tiny_distilbert,
    "electra": tiny_electra,
    "xlm-roberta": tiny_xlm_roberta,
}


def word_pieces(words: Iterable[str]) -> dict[str, int]:
    """A WordPiece vocabulary: special pieces, characters (first and inner), words."""
    words = list(dict.fromkeys(words))
    characters = dict.fromkeys([*ASCII, *sorted(set("".join(words)))])
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{c}" for c in characters), *words]
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}


def byte_pairs(words: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-level BPE vocabulary and its merges, in which each word behind a space is one piece."""
    from tokenizers.pre_tokenizers import ByteLevel

    split = ByteLevel(add_prefix_space=True, use_regex=False)
    pieces = dict.fromkeys(["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet())])
    merges: dict[tuple[str, str], None] = {}
    for word in words:
        written = split.pre_tokenize_str(word)[0][0]
        for end in range(1, len(written)):
            merges[written[:end], written[end]] = None
            pieces[written[: end + 1]] = None
    pieces["<mask>"] = None
    return {piece: number for number, piece in enumerate(pieces)}, list(merges)


def load_body(directory: Path, head: str = "base") -> PreTrainedModel:
    """The model of a directory, for evaluation."""
    body: PreTrainedModel = HEADS[head].from_pretrained(directory)
    return body


def _sizes(hidden: int, layers: int, heads: int) -> dict[str, int]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 2 * hidden,
    }


def _write(
    directory: Path, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast, head: str, labels: Sequence[str]
) -> Path:
    if head != "base":
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: number for number, label in enumerate(labels)}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HEADS[head].from_config(config)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
