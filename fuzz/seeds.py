"""What the fuzzer begins with: small files of every format, behind the decisions that read them so."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from types import MappingProxyType

from fuzz.readers import SEQUENCE_FORMATS, SUFFIXES

_CONLLU = "\n".join((
    "# sent_id = 1", "# text = Ann can't.",
    "1\tAnn\tAnn\tPROPN\tNNP\tCase=Nom\t2\tnsubj\t_\t_",
    "2-3\tcan't\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No",
    "2\tca\tcan\tAUX\tMD\t_\t0\troot\t_\t_", "3\tn't\tnot\tPART\tRB\t_\t2\tadvmod\t_\t_",
    "3.1\tx\tx\tX\t_\t_\t_\t_\t_\t_", "4\t.\t.\tPUNCT\t.\t_\t2\tpunct\t_\t_", "",
))  # fmt: skip

# By suffix: files of tokens with tags, or texts with spans.
SEQUENCES: Mapping[str, tuple[str, ...]] = MappingProxyType({
    ".conll": (
        "-DOCSTART- O\n\nAnna B-PER\nmet O\nBob B-PER\n\nin O\nRome B-LOC\n",
        "Anna NNP I-NP I-PER\nin IN I-PP O\n北京 NNP I-NP I-LOC\n\n", "京\tB-LOC\r\n东\tE-LOC\r\n\r\na\tS-X\r\n",
        "京0 B-LOC\n东1 I-LOC\n\n",
        "#\tsource\n1\tAnna\tB-PER\tO\n2\tmet\tO\tO\n\n#\tsource\n1\tBob\tB-PER\tB-LOC\t\n\n",
        "word tag\n# s1 x\nAnna B-PER\nmet O\n\n",
    ),
    ".txt": ("Anna lives in Rome.\n王磊在北京。\n", "Anna/NR\n", "\ufeffAnna met Bob in Rome\n\nx\n"),
    ".conllu": (_CONLLU, _CONLLU.replace("# text", "# foo")),
    ".jsonl": (
        '{"text": "Anna in Rome", "label": [[0, 4, "PER"], [8, 12, "LOC"]]}\n{"text": "x", "label": []}\n',
        '{"text": "Anna", "spans": [{"start": 0, "end": 4, "label": "PER", "text": "Anna"}], "answer": "accept"}\n',
        '{"id": 1, "text": "Anna", "entities": [{"start_offset": 0, "end_offset": 4, "label": "PER"}]}\n',
        '{"tokens": ["Anna", "in"], "ner_tags": ["B-PER", "O"], "text": "Anna in"}\n',
        '[\n {"text": "a", "labels": []},\n {"text": "b \\ud83d\\ude00", "labels": [[0, 1, "X"]]}\n]\n',
        '["Anna ran", {"entities": [[0, 4, "PER"]]}]\n["x", {"entities": [], "cats": {"y": 1}}]\n',
        '{"text": "Anna", "label": {"PER": {"Anna": [[0, 3]]}}}\n{"text": "x", "label": {}}\n',
        '{"tokenized_text": ["Anna", "Lo"], "ner": [[0, 1, "PER"], [1, 1, "X"]]}\n',
        '{"Note": "Anna ran", "id": 3, "ner": [{"start": 0, "end": 4, "text": "Anna", "labels": ["PER", "X"]}]}\n',
        '{"text": "Anna", "tokens": [], "annotation": [["PER", 0, 4]], "prediction": null, "status": "Validated"}\n'
        '{"text": "Anna", "annotation": null, "prediction": [{"start": 0, "end": 4, "label": "X"}], "status": ""}',
        '{"text": "Anna", "label": "x", "spans": [{"start": 0, "end": 4, "label": "X"}, {"start": 1, "end": 1}]}\n',
        '{"id": 0, "paragraphs": [{"raw": "Anna ran", "sentences": [{"tokens": [{"orth": "Anna", "ner": "U-PER"}, '
        '{"orth": "ran", "ner": "-"}]}]}]}\n',
        '{"classes": ["X"], "annotations": [["Anna", {"entities": [[0, 4, "X"]]}], null]}\n',
    ),
    ".csv": (
        'text,id,ner\n"Anna, ran",1,"[{""start"": 0, ""end"": 4, ""text"": ""Anna"", ""labels"": [""PER""]}]"\nx,2,\n',
        "text,ner\nAnna,\"[[0, 4, 'PER']]\"\n",
    ),
    ".tsv": (
        "#FORMAT=WebAnno TSV 3.3\n#T_RL=a.Dep|t|BT_x\n#T_SP=a.Name|id|value\n\n\n#Text=Anna \\t😀\n"
        "1-1\t0-4\tAnna\t_\t_\t*[1]|*[2]\tPER[1]|X\\|[2]\t\n1-2\t6-8\t😀\t_\t_\t*[1]\tPER[1]\t\n",
        "#FORMAT=WebAnno TSV 3.2\n#T_SP=a.Name|\n\n#Text=Anna\n#Text=ran\n1-1\t0-4\tAnna\t*\t\n1-1.1\t1-2\tn\t*\n",
    ),
    ".json": (
        json.dumps([{
            "data": {"text": "Anna in Rome"},
            "annotations": [{"result": [{
                "type": "labels", "from_name": "l", "to_name": "t",
                "value": {"start": 0, "end": 4, "text": "Anna", "labels": ["PER"]},
            }], "was_canceled": False, "ground_truth": True}],
            "predictions": [],
        }]),
    ),
})  # fmt: skip
_BRAT = ("T1\tPER 0 4\tAnna\nT2\tLOC 8 12\tRome\nR1\tIn Arg1:T1 Arg2:T2\n", "Anna in Rome\n")
_SPLIT_BRAT = ("T1\tPER 0 4;8 12\tAnna Rome\n#1\tAnnotatorNotes T1\tx\n", "Anna in Rome\n")

# By suffix: texts with classes.
CLASSES: Mapping[str, tuple[str, ...]] = MappingProxyType({
    ".csv": (
        "text,label\ngood phone,good\n\"bad, \"\"old\"\" phone\",bad\n\"two\nlines\",good\n",
        "a;1\nb;0\nc;1\n", "text,x,y\na,1,0\nb,0,1\nc,1,1\n",
        "id,review,sentiment\n1,\"nice\",pos\n2,bad,neg\n\n3,,neg\n",
        "1,\"a \\\"b\\\" c\"\n2,\"d\"\n", "text|label\na|x\nb|y\n",
    ),
    ".tsv": ("a b c\tx\nd e\ty\nf\tx\n", "label\ttext\nx\ta \"b\ny\tc\" d\n"),
    ".txt": (
        "__label__x __label__y good phone\n__label__x bad\n", "NUM:dist How far is it ?\nLOC:city Where ?\n",
        "pos good\nneg bad\npos nice\nneg ugly\n", "only a text\nand another\n", "手机很好用\n退货太慢了\n",
    ),
    ".jsonl": (
        '{"text": "a", "label": "x"}\n{"text": "b", "label": ["x", "y"]}\n{"text": "c", "label": null}\n',
        '{"text": "a", "cats": {"x": 1.0, "y": 0.0}}\n', '{"text": "a", "accept": ["x"], "answer": "accept"}\n',
        '{"text": "a", "annotations": [{"label": 15, "user": 1}]}\n', '{"a": {"b": "c"}, "text": "x", "label": 3}\n',
        '{"data": {"text": "a"}, "annotations": [{"result": [{"type": "choices", "from_name": "c", '
        '"value": {"choices": ["x"]}}]}]}\n',
    ),
})  # fmt: skip

_TEXTS = (
    "Anna's phone, e.g. 3.5 (or 4)!", "王磊在北京大学读书。", "e\u0301\u200b\ufeff\u3000x\u00ad\u0130 ß ﬁ",
    "😀👨\u200d👩 \u0e01\u0e33 한국어 \u1100\u1161", "a\r\nb\u2028c\x85d\x1ce\x00f\ufffd", "\u0344\u0345\u1e9b\u0323",
)  # fmt: skip
_TAGS = (
    "B-PER I-PER O B-LOC", "I-PER I-LOC B-LOC O E-X", "B-A M-A E-A S-B O", "B-A I-A L-A U-B", "NOUN VERB X", "B M E S",
    "B-creative-work I-creative-work", "B- - -x O-x",
)  # fmt: skip
_SETTINGS = (
    '[data]\ntrain = "a"\ndev_share = 0.2\n[train]\nepochs = 3\nseed = 1\n', '[model]\nkind = "transformer"\n',
    '[data]\nformat = "conll"\nscheme = "BIO"\nstrict = true\n',
    "model.kind = \"combined\"\ntrain = {learning_rate = 1e-3}\n",
    "[train]\nrate = 0x10\nseed = 1979-05-27\nclip = [[[1]]]\n",
)  # fmt: skip


def _behind(decisions: list[int], content: str) -> bytes:
    return bytes(decisions) + content.encode()


def sequences() -> list[bytes]:
    """For `sequences` and `conversion`: a suffix, no format, no options; what follows is a file."""
    made = [
        _behind([SUFFIXES.index(suffix), 0, 1, 0], content) for suffix, files in SEQUENCES.items() for content in files
    ]
    made += [
        _behind([SUFFIXES.index(suffix), 0, 1, target, 0, 0], content)
        for suffix, files in SEQUENCES.items()
        for target, content in enumerate(files)
    ]
    brat = SEQUENCE_FORMATS.index("brat")
    for spans, text in (_BRAT, _SPLIT_BRAT):
        share = -(-255 * len(spans) // len(spans + text))
        made.append(_behind([SUFFIXES.index(".ann"), brat, 1, 0, share], spans + text))
    return made + [_behind([0, 0, 4, *[0] * 11, 1, 0], content) for files in SEQUENCES.values() for content in files]


def classes() -> list[bytes]:
    """A suffix, no options, labels wanted; then a file."""
    made = [_behind([SUFFIXES.index(suffix), 1, 1], content) for suffix, files in CLASSES.items() for content in files]
    return made + [_behind([0, 3, *[0] * 7, 1], content) for files in CLASSES.values() for content in files]


def lines() -> list[bytes]:
    """An encoding, the size of the chunks; then bytes in several encodings."""
    text = "\ufeffAnna\r\n王磊 é\u2028x\n\n😀"
    made = [bytes((0, size)) + text.encode(name) for size in (0, 3) for name in ("utf-8", "utf-16", "gb18030", "utf-7")]
    return [*made, b"\x03\x02" + "王磊".encode("gb18030"), b"\x00\x01a\0b\n"]


def texts() -> list[bytes]:
    """A tokenizer, whether it lower-cases, UTF-8; then a text."""
    return [_behind([name, lower, 0], text) for text in _TEXTS for name in range(3) for lower in (0, 1)]


def tags() -> list[bytes]:
    """A scheme; then tags with spaces between."""
    return [_behind([scheme], line) for line in _TAGS for scheme in range(10)]


def word_lists() -> list[bytes]:
    contents = ("New York 40 CITY\nB超 3 n\n", "Aspirin\t\tDRUG\n大學\t7\nMay\n", "新闻\n\ufeff北京大学\r\n")
    return [b"\x01\x0cin New York " + content.encode() for content in contents]


def settings() -> list[bytes]:
    """A task, no changes or one; then a file."""
    made = [_behind([task, 0], text) for text in _SETTINGS for task in (0, 1)]
    changes = ("train.epochs=3", "model.kind=transformer", "data.train='a'", "train.learning_rate=[[", "x.y=1")
    return made + [
        _behind([task, 1, -(-255 * len(change) // len(change + _SETTINGS[0]))], change + _SETTINGS[0])
        for change in changes
        for task in (0, 1)
    ]


def edits() -> list[bytes]:
    """Changes of any kind."""
    random_bytes = random.Random(0)
    return [bytes(12), *(random_bytes.randbytes(4 + number % 30) for number in range(120))]


def commands() -> list[bytes]:
    """Each command with each kind of model, no option; then a file."""
    contents = [files[0] for files in (*SEQUENCES.values(), *CLASSES.values())]
    made = [
        _behind([command, 0, model, 1, 0, 0], content)
        for command in range(6)
        for model in range(3)
        for content in contents
    ]
    random_bytes = random.Random(1)
    return made + [
        bytes([number % 8]) + random_bytes.randbytes(12) + contents[number % len(contents)].encode()
        for number in range(200)
    ]
