"""Words of tokens: by spaces and punctuation, or by characters."""

from __future__ import annotations

import pytest
import whisper_script
from whisper_script import text

from intaglio.runtime.tasks.whisper.spelling import words


@pytest.mark.parametrize(
    "language, spoken, expected",
    [
        ("en", " ask not, you", [" ask", " not", ",", " you"]),
        ("en", "it's 5 €!", ["it", "'s", " 5", " €", "!"]),
        ("de", " für Ärger", [" für", " Ärger"]),
        ("zh", "你好，世", ["你", "好", "，", "世"]),
        ("ja", " a", [" ", "a"]),
        ("en", "", []),
    ],
)
def test_words_by_language(language: str, spoken: str, expected: list[str]) -> None:
    """A token is a byte here, so characters have several. OpenAI's tokenizer divides these texts in the same way."""
    found = words(text(spoken), whisper_script.tokenizer(), language)
    assert [word.text for word in found] == expected
    assert sum(word.tokens for word in found) == len(text(spoken))


def test_bytes_that_are_no_character_are_part_of_a_word() -> None:
    broken = [*text(" a"), *text("你")[:2]]
    found = words(broken, whisper_script.tokenizer(), "en")
    assert sum(word.tokens for word in found) == len(broken) and found[0].text.startswith(" a")
