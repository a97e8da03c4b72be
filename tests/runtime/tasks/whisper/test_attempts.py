"""Which attempts at a window fail, and which windows are silent: the conditions of whisper/transcribe.py."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import pytest

from intaglio.runtime.tasks.whisper.attempts import Attempt, attempt, compression_ratio
from intaglio.runtime.tasks.whisper.options import Options
from intaglio.runtime.tasks.whisper.programs import Decoded


def decoded(average: float, no_speech: float = 0.0, tokens: Sequence[int] = (1, 2, 3)) -> Decoded:
    return Decoded([*tokens], average * (len(tokens) + 1), no_speech, True)


def reference(options: Options, average: float, no_speech: float, ratio: float) -> tuple[bool, bool]:
    """Whether it needs a fallback, and whether the window is skipped: the lines of whisper/transcribe.py."""
    fallback = options.compression_ratio_threshold is not None and ratio > options.compression_ratio_threshold
    low = options.logprob_threshold is not None and average < options.logprob_threshold
    fallback = fallback or low
    skip = options.no_speech_threshold is not None and no_speech > options.no_speech_threshold
    if skip and low:
        fallback = False
    if options.logprob_threshold is not None and average > options.logprob_threshold:
        skip = False
    return fallback, skip


@pytest.mark.parametrize(
    "change",
    [{}, {"compression_ratio_threshold": None}, {"logprob_threshold": None}, {"no_speech_threshold": None}],
)
def test_conditions(change: dict[str, Any]) -> None:
    options = Options(**change)
    for average in (-2.0, -1.0, -0.5):
        for no_speech in (0.1, 0.6, 0.9):
            for ratio in (1.0, 2.4, 3.0):
                made = Attempt(decoded(average, no_speech), 0.0, ratio)
                expected = reference(options, made.decoded.average, no_speech, ratio)
                assert (made.fails(options), made.silent(options)) == expected, (average, no_speech, ratio)


class Model:
    """Says what it is told for each temperature, one text after the other; `asked` has temperatures and seeds."""

    def __init__(self, says: dict[float, list[Decoded]]) -> None:
        self.says, self.asked = {t: list(texts) for t, texts in says.items()}, list[tuple[float, int]]()

    def decode(self, temperature: float, seed: int) -> Decoded:
        self.asked.append((temperature, seed))
        return self.says[temperature].pop(0)


def text(tokens: list[int]) -> str:
    return "".join(map(chr, tokens))


def test_the_first_temperature_that_does_not_fail_counts() -> None:
    model = Model({0.0: [decoded(-1.5)], 0.2: [decoded(-1.2)], 0.4: [decoded(-0.9)], 0.6: []})
    made = attempt(model.decode, text, Options(), 0)
    assert made.temperature == 0.4 and made.decoded.average == pytest.approx(-0.9)
    assert [temperature for temperature, _ in model.asked] == [0.0, 0.2, 0.4]


def test_a_repetitive_text_fails() -> None:
    loop = decoded(-0.1, tokens=[97, 98, 99] * 50)
    made = attempt(Model({0.0: [loop], 1.0: [decoded(-0.5)]}).decode, text, Options(temperature=(0, 1)), 0)
    assert made.temperature == 1


def test_the_last_temperature_counts_even_if_it_fails() -> None:
    made = attempt(Model({0.0: [decoded(-3)], 0.5: [decoded(-2)]}).decode, text, Options(temperature=(0.0, 0.5)), 0)
    assert made.temperature == 0.5 and made.fails(Options())


def test_silence_is_not_tried_again() -> None:
    model = Model({0.0: [decoded(-3, no_speech=0.9)]})
    assert attempt(model.decode, text, Options(), 0).silent(Options()) and len(model.asked) == 1


def test_the_best_of_several_counts_by_the_average_of_its_tokens() -> None:
    """The penalty of OpenAI's reference divides by the tokens without the end."""
    short, long = Decoded([1], -2.0, 0, True), Decoded([1] * 10, -5.0, 0, True)
    options = Options(temperature=0.5, best_of=2, logprob_threshold=None)
    assert attempt(Model({0.5: [short, long]}).decode, text, options, 0).decoded is long
    options = Options(temperature=0.5, best_of=2, logprob_threshold=None, length_penalty=0.0)
    assert attempt(Model({0.5: [long, short]}).decode, text, options, 0).decoded is short


def test_every_draw_has_a_seed_of_its_own_and_the_same_one_next_time() -> None:
    def seeds(seed: int, seek: int) -> list[int]:
        model = Model({t: [decoded(-2)] * 3 for t in (0.0, 0.4, 0.8)})
        attempt(model.decode, text, Options(temperature=(0.0, 0.4, 0.8), best_of=3, seed=seed), seek)
        return [seed for temperature, seed in model.asked if temperature]

    first = seeds(0, 0)
    assert len({*first, *seeds(0, 3000), *seeds(1, 0)}) == 3 * len(first) == 18 and seeds(0, 0) == first


def test_the_compression_ratio_is_zlibs() -> None:
    assert compression_ratio("ä" * 100) == 200 / len(zlib.compress("ä".encode() * 100)) > 2.4
    assert compression_ratio("") == 0
