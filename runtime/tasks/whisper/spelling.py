"""Divides the tokens of a text into words, as OpenAI's reference, whisper/tokenizer.py, does."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

from intaglio.runtime.tasks.tokenizer import REPLACEMENT, Tokenizer

# Languages without spaces between words: Chinese, Japanese, Thai, Lao, Burmese, Cantonese.
UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


@dataclass(frozen=True)
class Spelled:
    """A word, with the space before it, and the number of its tokens."""

    text: str
    tokens: int


def words(tokens: Sequence[int], tokenizer: Tokenizer, language: str | None) -> list[Spelled]:
    """Return the words of a text. Where a language has no spaces, every whole character of tokens is one.

    tokens: without special ones. Punctuation is a word of its own.
    """
    pieces = _characters(tokens, tokenizer)
    if language in UNSPACED:
        return pieces
    joined: list[Spelled] = []
    for piece in pieces:
        begins = piece.text.startswith(" ") or piece.text.strip() in string.punctuation
        if begins or not joined:
            joined.append(piece)
        else:
            joined[-1] = Spelled(joined[-1].text + piece.text, joined[-1].tokens + piece.tokens)
    return joined


def _characters(tokens: Sequence[int], tokenizer: Tokenizer) -> list[Spelled]:
    """Return the shortest runs of tokens that end with a whole character, or with bytes that never become one."""
    whole = tokenizer.raw(tokens)
    pieces: list[Spelled] = []
    first = at = 0
    for end in range(1, len(tokens) + 1):
        text = tokenizer.raw(tokens[first:end])
        broken = text.find(REPLACEMENT)
        if broken < 0 or whole[at + broken : at + broken + 1] == REPLACEMENT or end == len(tokens):
            pieces.append(Spelled(text, end - first))
            first, at = end, at + len(text)
    return pieces
