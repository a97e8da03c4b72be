"""Transcripts of the recordings: the measure itself, the recordings, and what a real model hears in a few of them.

`python -m benchmarks.word_errors` measures all.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import intaglio
from benchmarks.recordings import FOREIGN, RATE, RECORDINGS, faster, hiss, joined, lasting, over, silence, speech
from benchmarks.word_errors import OPENAI, TRANSCRIPTS, Row, apart, errors, row, stored, table, words
from intaglio.runtime.tasks.whisper.transcript import Segment, Transcript


def test_words_have_neither_case_nor_punctuation() -> None:
    assert words("“Mr. O’Brien's ill-disposed,” — he said…") == ["mister", "o'brien's", "ill", "disposed", "he", "said"]


@pytest.mark.parametrize(
    "heard, count",
    [
        ("one two three", 0),
        ("", 3),
        ("one three", 1),
        ("one one two three", 1),
        ("one too three", 1),
        ("two three one", 2),
    ],
)
def test_words_that_are_missing_added_and_replaced_count(heard: str, count: int) -> None:
    assert errors("One, two, three.", heard) == count


def test_words_where_nothing_is_said_are_errors() -> None:
    assert errors("", "Thank you.") == 2


def test_times_are_compared_segment_by_segment() -> None:
    ours = [Segment(0.0, 1.0, "a", [1]), Segment(1.0, 2.5, "b", [2])]
    theirs = [{"start": 0.1, "end": 1.0}, {"start": 1.0, "end": 3.0}]
    assert apart(ours, theirs, 9.0) == pytest.approx(0.5) and apart(ours, theirs, 2.5) == pytest.approx(0.1)
    assert apart(ours, theirs[:1], 9.0) is None and apart([], [], 9.0) == 0


def test_more_errors_than_one_of_the_others_are_marked() -> None:
    def setting(text: str) -> dict:
        return {"text": text, "segments": []}

    heard = {"openai": setting(" a b"), "faster-whisper-vad": setting("a b c")}
    take = replace(silence(1), words="a b c")
    better = row("x", take, Transcript("a b c", [], "en", []), heard)
    worse = row("y", take, Transcript("a b", [], "en", []), heard)
    assert not better.worse and not better.same and worse.worse and worse.same
    assert table([better, worse]).splitlines()[-1] == "| all | 6 | 1 | 2 | 0 | 1 same | |"


def test_joined_takes_have_all_words_and_all_samples() -> None:
    take = joined(speech("0880"), silence(1), speech("0930"), gap=0.5)
    assert take.words == f"{speech('0880').words} {speech('0930').words}"
    assert len(take.samples) == len(speech("0880").samples) + len(speech("0930").samples) + 2 * RATE


def test_a_take_lasts_as_long_as_asked_and_ends_in_speech() -> None:
    take = lasting(29.995, speech("jfk"), speech("0870"))
    assert len(take.samples) == 479_920
    np.testing.assert_array_equal(take.samples[-113_600:], speech("0870").samples)


def test_noise_is_as_weak_as_asked() -> None:
    take = speech("jfk")
    noise = over(take, hiss(2, 0), 10).samples - take.samples
    assert 10 * np.log10(np.mean(take.samples**2) / np.mean(noise**2)) == pytest.approx(10, abs=0.01)


def test_faster_speech_has_the_same_pitch() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    take = faster(replace(silence(1), samples=tone, words="hum"), 1.6)
    assert len(take.samples) == RATE / 1.6 and take.words == "hum"
    spectrum = np.abs(np.fft.rfft(take.samples))
    assert np.fft.rfftfreq(len(take.samples), 1 / RATE)[spectrum.argmax()] == pytest.approx(440, abs=4)


@pytest.mark.parametrize("model", [path.stem for path in TRANSCRIPTS.glob("*.json")])
def test_stored_transcripts_are_of_these_recordings(model: str) -> None:
    for name, heard in stored(model).items():
        assert (RECORDINGS | FOREIGN)[name]().description == pytest.approx(heard["recording"], abs=0.02), name


def test_all_recordings_have_transcripts() -> None:
    assert stored("tiny.en").keys() == RECORDINGS.keys() and stored("base").keys() >= FOREIGN.keys()


@pytest.fixture(scope="module")
def bundle(tiny_en_bundle: Path) -> intaglio.Bundle:
    return intaglio.load(tiny_en_bundle)


def heard(bundle: intaglio.Bundle, name: str, setting: str, **options: object) -> Row:
    take = RECORDINGS[name]()
    return row(name, take, bundle.transcribe(take.samples, RATE, **options), stored("tiny.en")[name], setting)


@pytest.mark.parametrize("name", ["silence-31-speech", "length-30.005"])
def test_with_openais_settings_text_and_times_are_openais(name: str, bundle: intaglio.Bundle) -> None:
    compared = heard(bundle, name, OPENAI, require_speech=False, condition_on_previous_text=True)
    assert compared.same and compared.apart is not None and compared.apart <= 0.1


@pytest.mark.parametrize("name", ["very-quiet", "speech-silence-20", "length-59.99"])
def test_by_default_there_are_no_more_word_errors_than_in_other_engines(name: str, bundle: intaglio.Bundle) -> None:
    assert not heard(bundle, name, OPENAI).worse


@pytest.mark.parametrize("name", ["silence-5", "silence-40", "hiss-faint-8", "hiss-35", "hum-10", "music-40"])
def test_by_default_nothing_is_heard_where_nothing_is_said(name: str, bundle: intaglio.Bundle) -> None:
    assert heard(bundle, name, OPENAI).text == ""
