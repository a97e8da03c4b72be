"""Live transcription of a model that hears a letter in each tenth of a second: the result is that of `transcribe`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import whisper_script
from whisper_script import SETTINGS, Said, Script, any_sound, at, text

from intaglio.runtime.tasks import tokenizer as runtime_tokenizer
from intaglio.runtime.tasks.voice.speech import Excerpt, Parameters, Spans
from intaglio.runtime.tasks.whisper import growing
from intaglio.runtime.tasks.whisper.growing import GrowingSpeech
from intaglio.runtime.tasks.whisper.live import Heard, Live, agreed, extended
from intaglio.runtime.tasks.whisper.options import Options
from intaglio.runtime.tasks.whisper.settings import Settings
from intaglio.runtime.tasks.whisper.transcriber import Transcriber

SENSE = Path(__file__).parents[3] / "fixtures" / "audio" / "librivox_sense_0890.wav"
TENTH = 1600  # samples
OPTIONS = any_sound(language="en")


class Echo(Script):
    """Hears windows of a second. Letters between pauses are a segment, and one that the window cuts has no end. The
    last letter before a pause, or before the sound ends, is a capital."""

    def __init__(self) -> None:
        super().__init__([])

    def _encode(self, symbols: dict[str, int]) -> None:
        super()._encode(symbols)
        heard = self.values["audio"].ravel()[200:][TENTH // 2 :: TENTH][:10]
        letters = "".join(chr(round(value * 100)) if value else " " for value in heard)
        self.windows = [Said(self._tokens(letters))]

    def _tokens(self, letters: str) -> list[int]:
        tokens: list[int] = []
        for word in letters.split():
            first = letters.index(word)
            letters = letters.replace(word, "_" * len(word), 1)
            said = word if first + len(word) == 10 else word[:-1] + word[-1].upper()
            tokens += [at(first / 10), *text("".join(f" {letter}" for letter in said)), at((first + len(word)) / 10)]
        return tokens[:-1] if letters[9] != " " else tokens


def recording(letters: str) -> np.ndarray:
    """A tenth of a second for each letter; a space is silent."""
    return np.repeat([ord(letter) / 100 if letter != " " else 0.0 for letter in letters], TENTH).astype(np.float32)


@pytest.fixture(scope="module")
def tokenizer() -> runtime_tokenizer.Tokenizer:
    return whisper_script.tokenizer()


def heard_live(live: Live, samples: np.ndarray, chunk: int) -> list[Heard]:
    updates = [live.update() for i in range(0, len(samples), chunk) if live.add(samples[i : i + chunk])]
    return [*updates, live.finish()]


@pytest.mark.parametrize("seed", range(12))
def test_the_end_is_what_transcribe_says_and_stable_text_stays(
    seed: int, tokenizer: runtime_tokenizer.Tokenizer
) -> None:
    random = np.random.default_rng(seed)
    letters = "".join(random.choice([*"abcdefgh  "], int(random.integers(1, 60))))
    samples = recording(letters)
    expected = Transcriber(Echo(), SETTINGS, tokenizer).transcribe(samples, OPTIONS)
    live = Live(Transcriber(Echo(), SETTINGS, tokenizer), OPTIONS, float(random.choice([0.1, 0.3])))
    *updates, last = heard_live(live, samples, int(random.integers(200, 6000)))
    assert last.transcript is not None and replace(last.transcript, notes=expected.notes) == expected
    assert (last.text, last.tail, last.seconds) == (expected.text, "", len(samples) / 16_000)
    assert last.stable == expected.text  # this model does not change its mind
    for before, after in zip(updates, [*updates[1:], last], strict=True):
        assert after.stable.startswith(before.stable)
        assert before.transcript is None and before.text == before.stable + before.tail
    assert all(heard.latency >= 0 for heard in updates)


def test_text_is_stable_long_before_a_window_is_complete(tokenizer: runtime_tokenizer.Tokenizer) -> None:
    live = Live(Transcriber(Echo(), SETTINGS, tokenizer), OPTIONS, 0.1)
    updates = heard_live(live, recording("abcd efgh"), TENTH)
    assert [(u.stable, u.tail) for u in updates[:4]] == [("", "A"), ("", "a B"), ("a", " b C"), ("a b", " c D")]
    assert updates[-2].stable == "a b c D e f"


def test_what_was_transcribed_for_good_is_dropped(tokenizer: runtime_tokenizer.Tokenizer) -> None:
    """Each update costs the same, however long the sound is."""
    script = Echo()
    live = Live(Transcriber(script, SETTINGS, tokenizer), OPTIONS, 0.5)
    samples, encoded = recording("abc def gh " * 20), []
    for i in range(0, len(samples), TENTH * 5):
        live.add(samples[i : i + TENTH * 5])
        before = len(script.features)
        live.update()
        encoded.append(len(script.features) - before)
    assert max(encoded) <= 5
    assert live._growing.decided == len(samples) and len(live._growing._samples) < 3 * 16_000


def test_stable_text_stays_and_the_text_is_right_if_the_model_changes_its_mind(
    tokenizer: runtime_tokenizer.Tokenizer,
) -> None:
    script = Script([text(" a b c"), text(" a b c d"), text(" a, b c d e")])
    live = Live(Transcriber(script, SETTINGS, tokenizer), any_sound(language="en", without_timestamps=True), 0.1)
    live.add(recording("abc"))
    first, second, last = live.update(), live.update(), live.finish()
    assert (first.stable, second.stable, second.tail) == ("", "a b", " c d")
    assert (last.stable, last.text) == ("a b c d e", "a, b c d e")


@pytest.mark.parametrize("options", [Options("en"), Options("en", vad=True)], ids=["default", "vad"])
def test_silence_is_nothing(options: Options, tokenizer: runtime_tokenizer.Tokenizer) -> None:
    script = Echo()
    live = Live(Transcriber(script, SETTINGS, tokenizer), options, 0.5)
    last = heard_live(live, np.zeros(5 * 16_000, np.float32), 8000)[-1]
    assert (last.text, script.prompts) == ("", [])
    assert last.transcript is not None and last.transcript.segments == []


def test_windows_without_speech_are_left_out_live_too(tokenizer: runtime_tokenizer.Tokenizer) -> None:
    speech = soundfile.read(SENSE, dtype="float32")[0]
    samples = np.concatenate([np.zeros(5 * 16_000, np.float32), speech[: 4 * 16_000]])
    windows, options = [text(" a")] * 9, Options("en", temperature=0, without_timestamps=True)
    whole, script = Script(windows), Script(windows)
    expected = Transcriber(whole, SETTINGS, tokenizer).transcribe(samples, options)
    last = heard_live(Live(Transcriber(script, SETTINGS, tokenizer), options, 20), samples, 8000)[-1]
    assert last.transcript is not None and script.prompts == whole.prompts and len(script.prompts) in (4, 5)
    assert (last.text, last.transcript.segments) == (expected.text, expected.segments) != ("", [])


def test_no_sound_at_all(tokenizer: runtime_tokenizer.Tokenizer) -> None:
    last = Live(Transcriber(Echo(), SETTINGS, tokenizer), OPTIONS).finish()
    assert (last.text, last.seconds) == ("", 0)


@pytest.mark.parametrize("values", [{"interval": 0}, {"interval": -1.0}, {"agreement": 1}, {"agreement": 2.5}])
def test_wrong_options_are_named(values: dict[str, float], tokenizer: runtime_tokenizer.Tokenizer) -> None:
    (name,) = values
    with pytest.raises(ValueError, match=name):
        Live(Transcriber(Echo(), SETTINGS, tokenizer), OPTIONS, **values)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["ask not what", "ask not when"], "ask not"),
        (["ask not", "ask not what"], "ask"),
        (["ask not", "ask not"], "ask"),
        (["ask note", "ask not what"], "ask"),
        (["ask, not what", "ask not what"], ""),
        (["a b c d", "a b c e", "a b x"], "a b"),
        (["", "a"], ""),
        (["你好世界", "你好世人"], "你好世"),
    ],
)
def test_agreement_ends_with_a_word_that_another_one_follows(texts: list[str], expected: str) -> None:
    assert agreed(texts) == expected


@pytest.mark.parametrize(
    ("stable", "text", "expected"),
    [
        ("ask not", "ask not what", "ask not what"),
        ("ask not", "ask what you can", "ask not you can"),
        ("ask not", "ask", "ask not"),
        ("", "ask", "ask"),
        ("你好", "您好世界", "你好世界"),
    ],
)
def test_stable_text_is_never_taken_back(stable: str, text: str, expected: str) -> None:
    assert extended(stable, text) == expected


class Probabilities:
    """In the place of the detector: windows have these probabilities."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self._samples, self._given = values, 0, 0

    def add(self, samples: np.ndarray) -> np.ndarray:
        self._samples += len(samples)
        return self._next(self._samples // 512)

    def end(self) -> np.ndarray:
        return self._next(self._samples // 512 + 1)

    def _next(self, count: int) -> np.ndarray:
        values, self._given = self.values[self._given : count], count
        return values


@pytest.mark.parametrize("seed", range(40))
def test_speech_that_comes_in_parts_is_that_of_the_whole(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the parameters are, and what counts as decided never changes."""
    monkeypatch.setattr(growing, "Hearing", lambda values: Probabilities(values))
    random = np.random.default_rng(seed)
    windows, run = int(random.integers(1, 400)), int(random.integers(1, 60))
    values = np.repeat(random.random(windows // run + 1), run)[:windows] + random.normal(0, 0.05, windows)
    samples = np.arange(1, windows * 512 - int(random.integers(0, 512)), dtype=np.float32)
    parameters = Parameters(
        min_speech_duration_ms=float(random.choice([0, 250, 1000])),
        max_speech_duration_s=float(random.choice([np.inf, 3, 8])),
        min_silence_duration_ms=float(random.choice([0, 100, 500, 2000])),
        speech_pad_ms=float(random.choice([0, 33.3, 400])),
    )
    parts = GrowingSpeech(Settings.parse(SETTINGS), values, parameters)
    decided = np.empty(0, np.float32)
    for part in np.array_split(samples, int(random.integers(1, 50))):
        parts.add(part)
        assert parts.decided >= len(decided)
        np.testing.assert_array_equal(parts._samples[: len(decided)], decided)
        decided = parts._samples
    parts.end()
    spans = Spans(parameters)
    spans.add(values)
    excerpt = Excerpt(spans.so_far(len(samples)))
    assert parts.excerpt().spans == excerpt.spans
    sound = parts.sound()
    np.testing.assert_array_equal(np.empty(0) if sound is None else sound._samples, excerpt.samples(samples))
