"""The options of a transcription: their values, and the rules that they set."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest
from whisper_script import END, NO_TIMESTAMPS, PREVIOUS, SETTINGS, START, TRANSCRIBE, TRANSLATE

from intaglio.runtime.tasks.whisper.options import Options, descriptions
from intaglio.runtime.tasks.whisper.rules import Rules
from intaglio.runtime.tasks.whisper.settings import Settings


@pytest.mark.parametrize(
    "options, fact",
    [
        ({"temperature": ()}, "temperature"),
        ({"temperature": -0.5}, "-0.5"),
        ({"temperature": "hot"}, "'hot'"),
        ({"temperature": (0.0, math.nan)}, "temperature"),
        ({"best_of": 0}, "best_of"),
        ({"sample_len": 1.5}, "1.5"),
        ({"length_penalty": 2}, "0 to 1"),
        ({"seed": -1}, "seed"),
        ({"clip_timestamps": "5,2"}, "5,2"),
        ({"clip_timestamps": [-1]}, "clip_timestamps"),
        ({"clip_timestamps": [1, 2], "vad": True}, "without vad"),
        ({"suppress_tokens": "a"}, "'a'"),
        ({"suppress_tokens": [-2]}, "-2"),
        ({"hallucination_silence_threshold": 2.0}, "word_timestamps"),
        ({"vad_parameters": {"threshold": 0.5}, "require_speech": False}, "vad=True"),
    ],
)
def test_values_out_of_range(options: dict[str, Any], fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        Options(**options)


def test_one_number_or_several() -> None:
    assert Options(temperature=0).temperatures == (0,)
    assert Options(temperature=[0.2, 0.4]).temperatures == (0.2, 0.4)


@pytest.mark.parametrize(
    "clips, expected",
    [
        ("0", [(0, math.inf)]),
        ("", [(0, math.inf)]),
        ("1.5,2", [(1.5, 2)]),
        ([1, 2, 5], [(1, 2), (5, math.inf)]),
    ],
)
def test_clips(clips: Any, expected: list[tuple[float, float]]) -> None:
    assert Options(clip_timestamps=clips).clips == expected


def test_every_option_is_described() -> None:
    assert descriptions().keys() == {field.name for field in fields(Options)} and all(descriptions().values())


def test_rules() -> None:
    settings = Settings.parse(SETTINGS | {"suppress": [3, 5, START], "suppress_first": [7, END]})
    special = {START, PREVIOUS, PREVIOUS - 1, settings.no_speech, TRANSCRIBE, TRANSLATE}

    def rules(**options: Any) -> Rules:
        return Rules.of(Options(**options), settings)

    usual = rules()
    assert usual.timed and {*usual.suppress} == {3, 5} | special and {*usual.suppress_first} == {7, END}
    assert usual.max_initial_timestamp == 50 and rules(max_initial_timestamp=0.2).max_initial_timestamp == 10
    assert rules(max_initial_timestamp=None).max_initial_timestamp > settings.vocabulary
    assert {*rules(suppress_tokens="9").suppress} == {9} | special
    assert {*rules(suppress_tokens=[-1, 9]).suppress} == {3, 5, 9} | special
    assert not rules(suppress_tokens="").suppress and not rules(suppress_blank=False).suppress_first
    assert not rules(without_timestamps=True).timed
    words = usual.bits
    assert {i for i in range(settings.vocabulary) if words[0, i // 32] >> i % 32 & 1} == {3, 5} | special
    assert words[1, 0] == 1 << 7 and NO_TIMESTAMPS not in special
