"""Lists of words: files in any state, and their matches in any text."""

from __future__ import annotations

from fuzz.choices import Choices
from fuzz.folder import file_of
from nlp_app.core.errors import NlpAppError
from nlp_app.features.lexicon.lexicon import Lexicon
from nlp_app.features.lexicon.lexicon_features import LEXICON_WINDOWS, lexicon_keys
from nlp_app.features.lexicon.token_keys import describe_forms
from nlp_app.features.lexicon.word_lists import read_word_list
from nlp_app.text import make_tokenizer


def lexicons(data: bytes) -> None:
    """A list and a text: features of each token, or an error of one line."""
    choices = Choices(data)
    tokenizer = make_tokenizer(choices.pick(("basic", "char", "whitespace")))
    text = choices.part().decode("utf-8", "surrogateescape")
    try:
        words = read_word_list(str(file_of("list.txt", choices.rest())))
        lexicon, skipped = Lexicon.build([words], tokenizer.norms)
    except NlpAppError as error:
        assert "\n" not in " ".join(str(error).split())
        return
    assert 0 < len(words.words) == len(words.frequencies) == len(words.classes)
    assert len(lexicon) + skipped <= len(words.words)
    norms = tokenizer(text).norms
    keys = lexicon_keys(lexicon, describe_forms(norms, norms), [len(norms)])
    assert keys.shape == (len(norms), len(LEXICON_WINDOWS.templates))
