"""Tokens with normal forms and offsets: MB/s of UTF-8 on one thread, beside the Rust BERT tokenizer.

    python benchmarks/tokenizer.py [--megabytes 4] [--rounds 5]

CPU seconds (`time.process_time`), best of the rounds, which alternate between the tokenizers. The text is
made here: sentences of Chinese, English and both, some with accents, full-width signs and emoji.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from functools import partial

from nlp_app.text import BasicTokenizer, CharTokenizer, WhitespaceTokenizer, unidata_version

CLAUSES = [
    "公司昨天在上海发布了新一代语音助手",
    "the new release cuts start-up time by 40% on most laptops",
    "王教授的团队用PyTorch训练了一个命名实体识别模型",
    "we met Zoë Müller and José Álvarez at the café near Gare de l'Est",
    "他说：“明年第3季度，我们会在杭州和Berlin同时开始测试。”",
    "prices rose from $1,299.50 to $1,450 (a record) in less than two weeks",
    "这款手机的屏幕很亮，但是battery life只有8个小时",
    "Please send the signed contract to support@example.org before 17:30",
    "小明👍今天学会了做番茄炒蛋❤️，味道不错",
    "the committee's report, published in 2021, was ignored by nearly everyone",
    "北京大学与MIT的联合实验室位于中关村南大街５号",
    "ICE trains between München and Zürich run every two hours",
]


def mixed_lines(size: int) -> list[str]:
    """Lines of about 100 characters, `size` bytes in all."""
    source = random.Random(20)
    lines: list[str] = []
    while size > 0:
        line = ""
        while len(line) < 80:
            line += source.choice(CLAUSES) + source.choice(["。", ". ", "，", "; "])
        lines.append(line)
        size -= len(line.encode()) + 1
    return lines


def rust() -> Callable[[str], object]:
    from tokenizers import PreTokenizedString
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    normalizer, splitter = BertNormalizer(), BertPreTokenizer()

    def tokenize(text: str) -> object:
        string = PreTokenizedString(text)
        string.normalize(normalizer.normalize)
        splitter.pre_tokenize(string)
        return string.get_splits(offset_referential="original", offset_type="char")

    return tokenize


def line_by_line(tokenize: Callable[[str], object], lines: list[str]) -> list[object]:
    return [tokenize(line) for line in lines]


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--megabytes", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    lines = mixed_lines(int(options.megabytes * 1e6))
    text = "\n".join(lines)
    size = len(text.encode()) / 1e6

    theirs = rust()
    runs: dict[str, Callable[[], object]] = {
        "Rust, a text": partial(theirs, text),
        "Rust, line by line": partial(line_by_line, theirs, lines),
    }
    for tokenizer in (BasicTokenizer(), BasicTokenizer(False), CharTokenizer(), WhitespaceTokenizer()):
        lowered = ", lower" if tokenizer.do_lower_case else ""
        runs |= {
            f"{tokenizer.name}{lowered}, a text": partial(tokenizer, text),
            f"{tokenizer.name}{lowered}, a batch": partial(tokenizer.batch, lines),
            f"{tokenizer.name}{lowered}, line by line": partial(line_by_line, tokenizer, lines),
        }
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(options.rounds):
        for name, run in runs.items():
            best[name] = min(best[name], seconds(run))

    print(f"{size:.1f} MB, {len(lines)} lines of {len(text) / len(lines):.0f} characters, ", end="")
    print(f"{len(BasicTokenizer()(text))} tokens; Unicode {unidata_version()}")
    fastest = min(best["Rust, a text"], best["Rust, line by line"])
    print(f"{'':32}{'MB/s':>8}{'x Rust':>8}")
    for name, taken in best.items():
        print(f"{name:32}{size / taken:8.1f}{fastest / taken:8.1f}")


if __name__ == "__main__":
    main()
