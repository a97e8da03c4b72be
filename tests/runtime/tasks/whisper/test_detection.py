"""The language is that of the first speech, by several windows if one is unsure, and of each window on request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import whisper_script
from whisper_script import DE, EN, ENGLISH, SETTINGS, START, Script, text

from intaglio.runtime.tasks import tokenizer as runtime_tokenizer
from intaglio.runtime.tasks.whisper.detection import chosen
from intaglio.runtime.tasks.whisper.live import Live
from intaglio.runtime.tasks.whisper.options import Options
from intaglio.runtime.tasks.whisper.transcriber import Transcriber

SENSE = Path(__file__).parents[3] / "fixtures" / "audio" / "librivox_sense_0890.wav"
SECOND = 16_000


class Hears(Script):
    """Says that windows with sound are English, and silent ones German."""

    def __init__(self, windows: int, probability: float = 0.9) -> None:
        super().__init__([text(" ask")] * windows)
        self.probability = probability

    def _detect(self, symbols: dict[str, int]) -> None:
        english = np.abs(self.values["audio"].ravel()[1000:-1000]).max() > 0.01
        p = self.probability if english else 1 - self.probability
        self.values["languages"] = np.array([1 - p, p], np.float32)


@pytest.fixture(scope="module")
def tokenizer() -> runtime_tokenizer.Tokenizer:
    return whisper_script.tokenizer()


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return soundfile.read(SENSE, dtype="float32")[0][: 2 * SECOND]


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ([{"de": 0.2, "en": 0.8}, {"de": 0.9, "en": 0.1}], ("en", 0.8)),
        ([{"de": 0.45, "en": 0.4}, {"de": 0.2, "en": 0.8}], ("en", 0.8)),
        ([{"de": 0.4, "en": 0.3}, {"de": 0.3, "en": 0.45}, {"de": 0.41, "en": 0.3}], ("de", 0.41)),
        ([{"de": 0.5, "en": 0.3}], ("de", 0.5)),
    ],
)
def test_a_sure_window_decides_or_else_most_windows(
    windows: list[dict[str, float]], expected: tuple[str, float]
) -> None:
    """As WhisperModel.detect_language of faster-whisper 1.2.1 does."""
    assert chosen(iter(windows), 0.5) == expected


def test_windows_after_a_sure_one_are_not_heard() -> None:
    def windows():
        yield {"de": 0.9, "en": 0.1}
        raise AssertionError

    assert chosen(windows(), 0.5) == ("de", 0.9)


def test_the_language_is_that_of_speech_and_not_of_the_silence_before_it(
    tokenizer: runtime_tokenizer.Tokenizer, speech: np.ndarray
) -> None:
    samples = np.concatenate([np.zeros(5 * SECOND, np.float32), speech])
    heard = Transcriber(Hears(7), SETTINGS, tokenizer).transcribe(samples)
    assert (heard.language, heard.language_probability) == ("en", pytest.approx(0.9))
    live = Live(Transcriber(Hears(40), SETTINGS, tokenizer), Options())
    for part in np.array_split(samples, 14):
        if live.add(part):
            live.update()
    last = live.finish().transcript
    assert last is not None and (last.language, last.language_probability) == ("en", pytest.approx(0.9))


def test_without_speech_the_first_window_is_heard_once(tokenizer: runtime_tokenizer.Tokenizer) -> None:
    script = Hears(2)
    samples, options = np.zeros(2 * SECOND, np.float32), Options(require_speech=False)
    assert Transcriber(script, SETTINGS, tokenizer).transcribe(samples, options).language == "de"
    assert len(script.features) == 2


def test_more_windows_are_heard_if_the_first_is_unsure(
    tokenizer: runtime_tokenizer.Tokenizer, speech: np.ndarray
) -> None:
    for segments, count in (1, 1), (2, 2):
        script = Hears(2, probability=0.45)
        options = Options(language_detection_segments=segments, language_detection_threshold=0.6, vad=True)
        Transcriber(script, SETTINGS, tokenizer).transcribe(speech, options)
        assert [program for program, *_ in script.calls].count("detect") == count


def test_each_window_has_its_language_on_request(tokenizer: runtime_tokenizer.Tokenizer, speech: np.ndarray) -> None:
    script = Hears(4)
    samples = np.concatenate([speech, np.zeros(2 * SECOND, np.float32)])
    heard = Transcriber(script, SETTINGS, tokenizer).transcribe(
        samples, Options(multilingual=True, require_speech=False)
    )
    assert heard.language == "en"
    languages = [prompt[prompt.index(START) + 1] for prompt in script.prompts]
    assert languages == [EN, EN, DE, DE]
    with pytest.raises(ValueError, match="English-only"):
        Transcriber(Script([]), ENGLISH, tokenizer).course(Options(multilingual=True))


@pytest.mark.parametrize("values", [{"language_detection_segments": 0}, {"language_detection_threshold": 1.5}])
def test_wrong_options_are_named(values: dict[str, float]) -> None:
    (name,) = values
    with pytest.raises(ValueError, match=name):
        Options(**values)
