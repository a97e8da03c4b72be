"""With `vad`, a Whisper hears only speech, and the times of segments are those in the recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import whisper_script
from whisper_script import END, SETTINGS, Script, at, text

from intaglio.runtime.tasks import tokenizer as runtime_tokenizer
from intaglio.runtime.tasks.voice.speech import Excerpt, Parameters, Span
from intaglio.runtime.tasks.whisper.options import Options
from intaglio.runtime.tasks.whisper.transcriber import Transcriber
from intaglio.runtime.tasks.whisper.transcript import Segment, Word
from intaglio.runtime.tasks.whisper.voice import Voice, amplified, restored

SENSE = Path(__file__).parents[3] / "fixtures" / "audio" / "librivox_sense_0890.wav"
SECOND = 16_000


@pytest.fixture(scope="module")
def tokenizer() -> runtime_tokenizer.Tokenizer:
    return whisper_script.tokenizer()


def spoken() -> np.ndarray:
    return soundfile.read(SENSE, dtype="float32")[0][: int(0.9 * SECOND)]


def test_silence_around_speech_is_not_heard_and_times_count_it(tokenizer: runtime_tokenizer.Tokenizer) -> None:
    script = Script([[at(0.1), *text(" ask"), at(0.4), END]])
    samples = np.concatenate([np.zeros(10 * SECOND, np.float32), spoken(), np.zeros(10 * SECOND, np.float32)])
    options = Options(language="en", vad=True, vad_parameters={"speech_pad_ms": 0})
    heard = Transcriber(script, SETTINGS, tokenizer).transcribe(samples, options)
    assert heard.text == "ask" and len(script.prompts) == 1
    (segment,) = heard.segments
    assert 10 <= segment.start < 10.8 and segment.end == pytest.approx(segment.start + 0.4)


def test_windows_and_segments_without_speech_are_left_out(tokenizer: runtime_tokenizer.Tokenizer) -> None:
    """Ten windows of silence are not transcribed. In the one that has the speech, a segment lies before it."""
    script = Script([[at(0.0), *text(" You"), at(0.1), at(0.5), *text(" ask"), at(0.9), END]])
    samples = np.concatenate([np.zeros(10 * SECOND + SECOND // 2, np.float32), spoken()[: SECOND // 2]])
    options = Options(language="en", temperature=0, vad_parameters={"speech_pad_ms": 0})
    heard = Transcriber(script, SETTINGS, tokenizer).transcribe(samples, options)
    assert heard.text == "ask" and len(script.prompts) == 1
    assert [(s.id, s.start, s.end) for s in heard.segments] == [(0, 10.5, 10.9)]
    assert any("1 segment" in note and "--no-require-speech" in note for note in heard.notes)


def test_quiet_speech_is_speech() -> None:
    """At -60 dB the detector by itself finds none."""
    quiet = soundfile.read(SENSE, dtype="float32")[0] / 1000
    assert np.abs(amplified(quiet)).max() == pytest.approx(0.5) and amplified(np.zeros(9)).max() == 0
    ((start, end),) = [(span.start, span.end) for span in Voice(Script([])).spans(quiet, Parameters())]
    assert start < 0.5 * SECOND and end > 5 * SECOND


@pytest.mark.parametrize("samples", [np.zeros(5 * SECOND), np.random.default_rng(0).normal(0, 0.03, 5 * SECOND)])
@pytest.mark.parametrize("options", [Options(), Options(vad=True)], ids=["default", "vad"])
def test_without_speech_there_is_no_text(
    samples: np.ndarray, options: Options, tokenizer: runtime_tokenizer.Tokenizer
) -> None:
    script = Script([text(" You")])
    heard = Transcriber(script, SETTINGS, tokenizer).transcribe(samples, options)
    assert (heard.text, heard.segments, heard.language, script.prompts) == ("", [], None, [])


def test_a_segment_ends_before_a_silence_and_the_next_begins_after_it() -> None:
    excerpt = Excerpt([Span(1 * SECOND, 2 * SECOND), Span(5 * SECOND, 8 * SECOND)])
    segments = [Segment(0.25, 1.0, "a", [1]), Segment(1.0, 2.5, "b", [2])]
    assert [(s.start, s.end, s.text) for s in restored(segments, excerpt)] == [(1.25, 2.0, "a"), (5.0, 6.5, "b")]


def test_a_word_stays_in_the_span_where_its_middle_is_and_bounds_its_segment() -> None:
    excerpt = Excerpt([Span(1 * SECOND, 2 * SECOND), Span(5 * SECOND, 8 * SECOND)])
    words = [Word(0.5, 1.1, " a", 1.0), Word(0.9, 1.5, " b", 1.0)]
    (segment,) = restored([Segment(0.0, 2.0, "a b", [1, 2], words=words)], excerpt)
    assert segment.words is not None
    assert [(word.start, word.end) for word in segment.words] == [(1.5, 2.1), (4.9, 5.5)]
    assert (segment.start, segment.end) == (1.5, 5.5)


def test_parameters_of_speech_need_the_detector_and_are_checked() -> None:
    with pytest.raises(ValueError, match="vad=True"):
        Options(vad_parameters={"threshold": 0.4}, require_speech=False)
    with pytest.raises(ValueError, match="treshold"):
        Options(vad=True, vad_parameters={"treshold": 0.4})
