"""Text to tokens and back, with tiny tokenizers of two families: bytes, and pieces that begin with a space."""

from __future__ import annotations

import json

import pytest
from small_tokenizers import BYTES, by_bytes, by_pieces
from tokenizers import Tokenizer, processors

from intaglio.runtime.tasks.streaming import Decoder
from intaglio.runtime.tasks.tokenizer import Tokenizer as Ours


def ours(made: Tokenizer) -> Ours:
    return Ours(made.to_str().encode())


def test_special_tokens_are_those_of_the_tokenizer_itself() -> None:
    pieces = ours(by_pieces())
    assert pieces.encode("ab a") == [1, pieces.encode("ab", special=False)[0], *pieces.encode("a", special=False)]
    assert pieces.encode("<s>ab", special=False)[0] == 1, "written out, as a chat template does"
    assert ours(by_bytes()).encode("a") == [BYTES.index("a")]
    assert ours(by_bytes()).encode("") == []


def test_texts_are_not_cut_or_filled_up() -> None:
    """Some exports say so, because the model was trained like that."""
    made = by_bytes()
    made.enable_truncation(3)
    made.enable_padding(length=10)
    assert json.loads(made.to_str())["truncation"]
    assert len(ours(made).encode("abcde")) == 5 and len(ours(made).encode("a")) == 1


@pytest.mark.parametrize("make", [by_bytes, by_pieces])
@pytest.mark.parametrize("before", ["", "ab", "ab ", " ", "5 €", "a" * 50])
@pytest.mark.parametrize("after", [" ab", "ab", "€ a", "你好 🎉", "a  b", "\n\n"])
def test_text_comes_in_pieces(make, before: str, after: str) -> None:
    """They make up what all tokens say together, less what the prompt says."""
    tokenizer = ours(make())
    prompt, all = tokenizer.encode(before), tokenizer.encode(before + after)
    if all[: len(prompt)] != prompt:
        prompt = all[: next(i for i, (a, b) in enumerate(zip(all, prompt, strict=False)) if a != b)]
    decoder = Decoder(tokenizer, prompt)
    pieces = [decoder.add(token) for token in all[len(prompt) :]]
    assert "".join(pieces) == (before + after)[len(tokenizer.decode(prompt)) :]
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_prompt_may_end_inside_a_character() -> None:
    """Then the character is new as a whole."""
    tokenizer = ours(by_bytes())
    tokens = tokenizer.encode("5 €!")
    decoder = Decoder(tokenizer, tokens[:3])
    assert [decoder.add(token) for token in tokens[3:]] == ["", "€", "!"]


@pytest.mark.parametrize("most", [3, 4, 5, 7, 8, 20])
@pytest.mark.parametrize("texts", [("abcdef",), ("a", "bcdefg"), ("abcdefg", "b"), ("abcde", "fghij"), ("", "abc")])
@pytest.mark.parametrize("side", ["left", "right"])
def test_texts_that_fit(most: int, texts: tuple[str, ...], side: str) -> None:
    """Long texts lose tokens, and no special ones, as the library itself cuts them."""
    made = by_bytes()
    ends = [(name, made.token_to_id(name)) for name in ("<s>", "</s>")]
    made.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B:1 </s>:1", ends)
    fitted = ours(made).fit(texts[0], texts[1] if len(texts) > 1 else None, most, side == "left")
    assert fitted.count == len(made.encode(*texts).ids)
    made.enable_truncation(most, direction=side)
    expected = made.encode(*texts)
    assert (fitted.ids, fitted.types) == (expected.ids, expected.type_ids)
