"""A language is found under its code and its names, however people write them; near misses get suggestions."""

from __future__ import annotations

import pytest
from whisper_script import ENGLISH, SETTINGS

from intaglio.compiler.models.whisper.languages import names
from intaglio.runtime.tasks.whisper.languages import code, similar
from intaglio.runtime.tasks.whisper.settings import Settings

NAMES = names(["en", "de", "zh", "es", "ht", "haw", "jw", "no"])


@pytest.mark.parametrize(
    "text, expected",
    [
        ("en", "en"),
        ("EN", "en"),
        ("English", "en"),
        (" english ", "en"),
        ("en-US", "en"),
        ("en_GB", "en"),
        ("<|en|>", "en"),
        ("zh-Hant-TW", "zh"),
        ("zh-Hant", "zh"),
        ("mandarin", "zh"),
        ("Castilian", "es"),
        ("Haitian Creole", "ht"),
        ("haw", "haw"),
        ("jv", "jw"),
        ("nb-NO", "no"),
        ("", None),
        ("fr", None),
        ("<||>", None),
        ("englisch", None),
    ],
)
def test_code(text, expected):
    assert code(text, NAMES) == expected


@pytest.mark.parametrize(
    "text, expected", [("Englsh", ["English (en)"]), ("germann", ["German (de)"]), ("castillian", ["Spanish (es)"])]
)
def test_similar(text, expected):
    assert similar(text, NAMES) == expected


def test_what_is_not_similar_to_any():
    assert similar("quenya", NAMES) == []


@pytest.mark.parametrize("text", ["English", "english", "EN", "en-US", "<|en|>", "auto", "AUTO", None])
def test_english_under_any_name_on_a_model_for_english(text):
    assert Settings.parse(ENGLISH).choices(text, None) == ("en", "transcribe")


@pytest.mark.parametrize("text, expected", [("German", "de"), ("Auto", None), (None, None)])
def test_choices(text, expected):
    assert Settings.parse(SETTINGS).choices(text, "translate") == (expected, "translate")
