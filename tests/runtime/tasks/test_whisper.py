"""What is made of a recording: windows, spectrogram, prompts, timestamps. The model is a script of tokens.

The expected segments are those of OpenAI's whisper 20250625, run on the same scripts.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from intaglio.compiler.models.whisper import mel
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.tasks import decode, whisper
from intaglio.runtime.tasks import tokenizer as runtime_tokenizer
from intaglio.runtime.tasks.audio import AudioError
from intaglio.runtime.tasks.whisper import Piece, Segment, Settings, Sound, Transcriber, cut

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
END, START, EN, DE, TRANSLATE, TRANSCRIBE, NO_TIMESTAMPS = range(256, 263)
FIRST = 263  # the timestamp 0.00
BANDS, FRAMES = 80, 100  # windows of one second
SETTINGS = {
    "start": START,
    "end": END,
    "no_timestamps": NO_TIMESTAMPS,
    "first_timestamp": FIRST,
    "multilingual": True,
    "languages": {"de": DE, "en": EN},
    "tasks": {"transcribe": TRANSCRIBE, "translate": TRANSLATE},
    "suppress": [],
    "suppress_first": [],
    "max_initial_timestamp": 50,
    "max_length": 64,
    "rate": 16_000,
    "hop": 160,
    "context": 400,
    "frames": FRAMES,
    "frames_per_timestamp": 2,
    "silence": -10.0,
}
ENGLISH = SETTINGS | {"multilingual": False, "languages": {}, "tasks": {}}


@pytest.fixture(scope="module")
def tokenizer() -> runtime_tokenizer.Tokenizer:
    """A token for each byte, then the special tokens."""
    made = Tokenizer(models.BPE({c: i for i, c in enumerate(BYTES)}, []))
    made.decoder = decoders.ByteLevel()
    names = ["endoftext", "startoftranscript", "en", "de", "translate", "transcribe", "notimestamps"]
    made.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in names])
    made.add_tokens([AddedToken(f"<|{i / 50:.2f}|>") for i in range(51)])
    return runtime_tokenizer.Tokenizer(made.to_str().encode())


def text(words: str) -> list[int]:
    table = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return [BYTES.index(c) for c in table.pre_tokenize_str(words)[0][0]] if words else []


def at(seconds: float) -> int:
    return FIRST + round(seconds * 50)


class Script:
    """A session whose model says what the script says: tokens for each window, and one likeliest language."""

    def __init__(self, windows: Sequence[Sequence[int]], language: int = EN) -> None:
        names = ("mel", "encode", "detect", "prefill", "step")
        self.plan = SimpleNamespace(programs=dict.fromkeys(names), symbols={"past": (0, 63), "new_tokens": (1, 64)})
        self.windows, self.language = list(windows), language
        self.values: dict[str, np.ndarray] = {}
        self.tokens = np.zeros(65, np.int32)
        self.writes = 0
        self.features: list[np.ndarray] = []  # what each `encode` was given
        self.calls: list[tuple[Any, ...]] = []
        self.prompts: list[list[int]] = []
        self.answer: list[int] = []

    def write(self, name: str, array: np.ndarray, offset: int = 0) -> None:
        self.writes += 1
        if name == "tokens":
            self.tokens[offset : offset + array.size] = array
        else:
            self.values[name] = np.array(array)

    def submit(self, program: str, symbols: dict[str, int], read: tuple[str, int, int] | None = None) -> Any:
        return self.replay(program, [symbols], read)

    def replay(self, program: str, runs: list[dict[str, int]], read: tuple[str, int, int] | None = None) -> Any:
        self.writes += 1
        self.calls.append((program, *runs, read))
        for symbols in runs:
            getattr(self, f"_{program}")(symbols)
        if read is None:
            return None
        name, first, count = read
        assert name == "tokens"
        return self.tokens[first : first + count].copy()

    def _mel(self, symbols: dict[str, int]) -> None:
        self.values["input_features"] = np.ones((1, BANDS, FRAMES), np.float32)

    def _encode(self, symbols: dict[str, int]) -> None:
        self.features.append(self.values["input_features"][0])

    def _detect(self, symbols: dict[str, int]) -> None:
        assert (self.tokens[0], symbols["past"], symbols["begin"]) == (START, 0, 1)
        self.tokens[1] = self.language

    def _prefill(self, symbols: dict[str, int]) -> None:
        assert symbols["past"] == 0
        count = symbols["new_tokens"]
        self.prompts.append(self.tokens[:count].tolist())
        self.answer = [*self.windows.pop(0), END]
        self.tokens[count] = self.answer.pop(0)

    def _step(self, symbols: dict[str, int]) -> None:
        self.tokens[symbols["past"] + 1] = self.answer.pop(0) if self.answer else END


class Spectrogram(Script):
    """The same with the real log-mel, by onnxruntime."""

    def __init__(self, windows: Sequence[Sequence[int]]) -> None:
        super().__init__(windows)
        self._session = onnxruntime.InferenceSession(mel.model(BANDS, FRAMES).SerializeToString())

    def _mel(self, symbols: dict[str, int]) -> None:
        inputs = {name: self.values[name].astype(np.float32) for name in ("audio", "loudest")}
        inputs |= {name: np.array([symbols[name]]) for name in ("opening", "padding")}
        self.values["input_features"], self.values["loudest"] = self._session.run(None, inputs)


def sound(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * 16_000)).astype(np.float32)


def spoken(segments: list[Segment]) -> list[tuple[float, float, str]]:
    return [(round(s.start, 6), round(s.end, 6), s.text) for s in segments]


# one window


def test_a_short_recording_is_one_segment(tokenizer):
    script = Script([text(" ask not")])
    heard = Transcriber(script, SETTINGS, tokenizer).transcribe(sound(0.7), language="en")
    assert heard.text == "ask not" and heard.language == "en" and heard.tokens == text(" ask not")
    assert heard.segments == [Segment(0.0, 0.7, "ask not", text(" ask not"))]
    assert script.prompts == [[START, EN, TRANSCRIBE, NO_TIMESTAMPS]]


def test_steps_run_several_in_a_submit_and_what_follows_the_end_is_dropped(tokenizer, monkeypatch):
    monkeypatch.setattr(decode.time, "perf_counter", itertools.count(0, whisper.BUDGET / 4).__next__)
    monkeypatch.setattr(decode, "SLOTS", 2)
    script = Script([text("abcd")])
    heard = Transcriber(script, SETTINGS, tokenizer).transcribe(sound(0.9), language="en")
    assert heard.tokens == text("abcd")
    rules = {"begin": 4, "timed": 0}
    assert script.calls == [
        ("mel", {"opening": 1, "padding": 0}, None),
        ("encode", {}, None),
        ("prefill", {**rules, "past": 0, "new_tokens": 4}, ("tokens", 4, 1)),
        ("step", {**rules, "past": 4}, ("tokens", 5, 1)),
        ("step", {**rules, "past": 5}, {**rules, "past": 6}, ("tokens", 6, 2)),
        ("step", {**rules, "past": 7}, {**rules, "past": 8}, ("tokens", 8, 2)),
    ]


@pytest.mark.parametrize(
    "settings, options, prompt",
    [
        (SETTINGS, {"language": "de"}, [START, DE, TRANSCRIBE, NO_TIMESTAMPS]),
        (SETTINGS, {"language": "de", "task": "translate"}, [START, DE, TRANSLATE, NO_TIMESTAMPS]),
        (SETTINGS, {"language": "de", "timestamps": True}, [START, DE, TRANSCRIBE]),
        (ENGLISH, {}, [START, NO_TIMESTAMPS]),
        (ENGLISH, {"language": "en", "timestamps": True}, [START]),
    ],
)
def test_prompts(tokenizer, settings, options, prompt):
    script = Script([[]])
    Transcriber(script, settings, tokenizer).transcribe(sound(1), **options)
    assert script.prompts == [prompt]
    _, symbols, _ = next(call for call in script.calls if call[0] == "prefill")
    assert symbols["begin"] == len(prompt)
    assert symbols["timed"] == int(options.get("timestamps", False))


@pytest.mark.parametrize("language, code", [(EN, "en"), (DE, "de")])
def test_the_language_is_found_out_once(tokenizer, language, code):
    script = Script([text("a"), text("b")], language)
    heard = Transcriber(script, SETTINGS, tokenizer).transcribe(sound(1.5), timestamps=False)
    assert heard.language == code
    assert script.prompts == [[START, language, TRANSCRIBE, NO_TIMESTAMPS]] * 2
    assert [program for program, *_ in script.calls].count("detect") == 1
    assert [program for program, *_ in script.calls if program != "step"].count("encode") == 2


@pytest.mark.parametrize("length", [10, 64])
def test_stops_when_the_context_is_full(tokenizer, length):
    script = Script([text("a") * 100])
    heard = Transcriber(script, SETTINGS | {"max_length": length}, tokenizer).transcribe(sound(1), language="en")
    assert len(heard.tokens) == length - 4
    program, *runs, _ = script.calls[-1]
    assert (program, runs[-1]["past"]) == ("step", length - 2)


def test_silence_has_no_segments(tokenizer):
    for said in [], text("  "):
        heard = Transcriber(Script([said]), SETTINGS, tokenizer).transcribe(sound(1), language="en")
        assert (heard.text, heard.segments, heard.tokens) == ("", [], [])


def test_a_character_cut_by_the_end_is_dropped_from_the_text_alone(tokenizer):
    euro = text("5 €")
    heard = Transcriber(Script([euro[:-1]]), SETTINGS, tokenizer).transcribe(sound(1), language="en")
    assert (heard.text, heard.tokens) == ("5", euro[:-1])
    assert tokenizer.decode(euro) == "5 €"
    assert tokenizer.decode([START, *euro, END]) == "5 €"
    only = Transcriber(Script([euro[-2:]]), SETTINGS, tokenizer).transcribe(sound(1), language="en")
    assert (only.text, only.tokens) == ("", euro[-2:])


# several windows


def test_without_timestamps_whole_windows_follow(tokenizer):
    script = Script([text(" a"), [*text(" b"), at(0.4), at(0.4)], text(" c")])
    heard = Transcriber(script, SETTINGS, tokenizer).transcribe(sound(2.25), language="en", timestamps=False)
    assert spoken(heard.segments) == [(0, 1, "a"), (1, 2, "b"), (2, 2.25, "c")]
    assert heard.text == "a b c" and heard.tokens == text(" a b c")


def test_long_recordings_advance_by_timestamps(tokenizer):
    first = [at(0), *text(" a"), at(0.4), at(0.5), *text(" b"), at(0.72), at(0.72), *text(" unfini")]
    second = [at(0.1), *text(" finished"), at(0.9)]  # from 0.72 on; one timestamp ends it
    third = [at(0.2), *text(" c"), at(0.3)]  # from 1.72 on, 0.68 s long
    script = Script([first, second, third])
    heard = Transcriber(script, SETTINGS, tokenizer).transcribe(sound(2.4), language="en")
    assert script.prompts == [[START, EN, TRANSCRIBE]] * 3
    assert spoken(heard.segments) == [(0, 0.4, "a"), (0.5, 0.72, "b"), (0.72, 1.62, "finished"), (1.72, 2.02, "c")]
    assert heard.text == "a b finished c" and heard.tokens == text(" a b finished c")


def test_progress_is_reported(tokenizer):
    told = []
    script = Script([[at(0), at(0.5), at(0.5)], [], []])
    Transcriber(script, SETTINGS, tokenizer).transcribe(sound(1.5), "en", progress=lambda *work: told.append(work))
    assert told == [("transcribing", 50, 150), ("transcribing", 150, 150)]


A, B, C = 65, 66, 67
CUTS = {
    "nothing": ([], 100, [(0, 100, [])], 100),
    "no timestamps": ([A], 70, [(0, 70, [A])], 70),
    "a start": ([at(0), A], 70, [(0, 70, [at(0), A])], 70),
    "a late start": ([at(0.2), A], 70, [(0, 20, [at(0.2), A])], 70),
    "start and end": ([at(0.2), A, at(0.5)], 70, [(0, 50, [at(0.2), A, at(0.5)])], 70),
    "a pair, then more": ([at(0), A, at(0.4), at(0.5), B], 100, [(0, 40, [at(0), A, at(0.4)])], 40),
    "a pair at the end": ([at(0), A, at(0.4), at(0.4)], 100, [(0, 40, [at(0), A, at(0.4)])], 40),
    "a pair, then one at the end": (
        [at(0), A, at(0.4), at(0.5), B, at(0.9)],
        100,
        [(0, 40, [at(0), A, at(0.4)]), (50, 90, [at(0.5), B, at(0.9)])],
        100,
    ),
    "two pairs": (
        [at(0.1), A, at(0.4), at(0.5), B, at(0.9), at(0.9), C],
        100,
        [(10, 40, [at(0.1), A, at(0.4)]), (50, 90, [at(0.5), B, at(0.9)])],
        90,
    ),
    "a pair at zero still moves on": ([at(0), at(0), A], 100, [(0, 0, [at(0)])], 100),
}


@pytest.mark.parametrize("case", CUTS)
def test_cut(case):
    tokens, size, pieces, advance = CUTS[case]
    assert cut(tokens, size, Settings.parse(SETTINGS)) == ([Piece(*piece) for piece in pieces], advance)


# the spectrogram


def reference(samples: np.ndarray) -> np.ndarray:
    """whisper.audio.log_mel_spectrogram(samples, padding=a window): [bands, frames]; torch.stft pads by reflection."""
    padded = np.pad(samples.astype(np.float64), (0, FRAMES * 160))
    padded = np.pad(padded, 200, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160][:-1]
    power = np.abs(np.fft.rfft(frames * hann)) ** 2
    log = np.log10(np.maximum(mel.filters(BANDS).T @ power.T, 1e-10))
    return (np.maximum(log, log.max() - 8) + 4) / 4


@pytest.mark.parametrize("seconds", [0.0002, 0.01, 0.0125, 0.3, 0.98, 0.99, 0.995, 1.0])
def test_the_spectrogram_of_a_short_recording(tokenizer, seconds):
    script = Spectrogram([[]])
    Transcriber(script, SETTINGS, tokenizer).transcribe(samples := sound(seconds), language="en")
    np.testing.assert_allclose(script.features[0], reference(samples)[:, :FRAMES], atol=1e-4)


@pytest.mark.parametrize("seconds", [1.01, 1.5, 2.0, 2.345])
@pytest.mark.parametrize("loud", [0.0, 0.2, 0.999, 0.9999])
def test_the_spectrogram_of_a_long_recording(tokenizer, seconds, loud):
    """The loudest place sets the floor everywhere; inner edges of windows hear their neighbours; after the end is 0."""
    samples = sound(seconds) * 1e-5
    burst = round(loud * len(samples))
    samples[burst : burst + 50] = 0.9
    script = Spectrogram([[at(0), A, at(0.7), at(0.7)], [at(0), A, at(0.3), at(0.3)], [], [], []])
    Transcriber(script, SETTINGS, tokenizer).transcribe(samples, language="en")
    expected = np.zeros((BANDS, 1000))
    frames = len(samples) // 160
    expected[:, :frames] = reference(samples)[:, :frames]
    for heard, seek in zip(script.features, [0, 70, 100, 200], strict=False):
        np.testing.assert_allclose(heard, expected[:, seek : seek + FRAMES], atol=1e-4)


def test_windows_hold_their_neighbours():
    samples = np.arange(1, 48_001, dtype=np.float32)
    recording = Sound(samples, Settings.parse(SETTINGS))
    first, second, last = (recording.window(seek)[0, 0] for seek in (0, 100, 250))
    assert recording.frames == 300
    assert not first[:200].any()
    np.testing.assert_array_equal(first[200:], samples[:16_200])
    np.testing.assert_array_equal(second, samples[15_800:32_200])
    np.testing.assert_array_equal(last[:8200], samples[39_800:])
    assert not last[8200:].any()


# refusals


@pytest.mark.parametrize(
    "settings, options, message",
    [
        (SETTINGS, {"language": "xx"}, "'xx'; this model supports 2, such as en, de"),
        (SETTINGS, {"task": "sing"}, "'sing'; expected transcribe or translate"),
        (ENGLISH, {"task": "sing"}, "'sing'; expected"),
        (ENGLISH, {"task": "translate"}, "English-only: it cannot translate"),
        (ENGLISH, {"language": "de"}, "English-only: it has no language 'de'"),
    ],
)
def test_what_the_model_does_not_know(tokenizer, settings, options, message):
    script = Script([])
    with pytest.raises(ValueError, match=message):
        Transcriber(script, settings, tokenizer).transcribe(sound(1), **options)
    assert not script.calls


def test_an_empty_recording(tokenizer):
    with pytest.raises(AudioError, match="no samples"):
        Transcriber(Script([]), SETTINGS, tokenizer).transcribe(np.zeros(0, np.float32))


@pytest.mark.parametrize(
    "change",
    [
        {"end": None},
        {"end": "256"},
        {"start": -1},
        {"hop": 0},
        {"frames": True},
        {"frames_per_timestamp": 0},
        {"silence": 1.0},
        {"silence": "-10"},
        {"languages": []},
        {"languages": {"en": "0"}},
        {"tasks": {}},
        {"max_length": 65},
    ],
)
def test_broken_settings(tokenizer, change):
    with pytest.raises(BadBundle, match=r"generation\.json"):
        Transcriber(Script([]), SETTINGS | change, tokenizer)


def test_language_and_task_of_the_settings():
    plain, fixed = Settings.parse(SETTINGS), Settings.parse(SETTINGS | {"language": "de", "task": "translate"})
    assert plain.choices(None, None) == (None, "transcribe")
    assert fixed.choices(None, None) == ("de", "translate")
    assert fixed.choices("auto", "transcribe") == (None, "transcribe")
    assert fixed.choices("en", None) == ("en", "translate")
    with pytest.raises(BadBundle, match=r"generation\.json is broken"):
        Settings.parse(SETTINGS | {"language": "xx"})


def test_missing_settings(tokenizer):
    with pytest.raises(BadBundle, match=r"generation\.json is broken: 'start'"):
        Transcriber(Script([]), {}, tokenizer)


def test_another_plan(tokenizer):
    script = Script([])
    script.plan.programs = {"main": None}
    with pytest.raises(BadBundle, match="not the plan of a Whisper"):
        Transcriber(script, SETTINGS, tokenizer)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[1, 2]"])
def test_a_broken_tokenizer(content):
    with pytest.raises(BadBundle, match=r"tokenizer\.json is broken"):
        runtime_tokenizer.Tokenizer(content)
