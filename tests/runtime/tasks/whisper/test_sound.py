"""The windows of a recording, and their spectrograms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime
import pytest
import whisper_script
from whisper_script import BANDS, FRAMES, SETTINGS, Script, any_sound, at, sound

from intaglio.compiler.models.whisper import mel
from intaglio.runtime.tasks import tokenizer as runtime_tokenizer
from intaglio.runtime.tasks.whisper.settings import Settings
from intaglio.runtime.tasks.whisper.sound import Sound
from intaglio.runtime.tasks.whisper.transcriber import Transcriber


@pytest.fixture(scope="module")
def tokenizer() -> runtime_tokenizer.Tokenizer:
    return whisper_script.tokenizer()


class Spectrogram(Script):
    """The same with the real log-mel, by onnxruntime."""

    def __init__(self, windows: Sequence[Sequence[int]]) -> None:
        super().__init__(windows)
        self._session = onnxruntime.InferenceSession(mel.model(BANDS, FRAMES).SerializeToString())

    def _mel(self, symbols: dict[str, int]) -> None:
        inputs = {name: self.values[name].astype(np.float32) for name in ("audio", "loudest")}
        inputs |= {name: np.array([symbols[name]]) for name in ("opening", "padding")}
        self.values["input_features"], self.values["loudest"] = self._session.run(None, inputs)


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
    Transcriber(script, SETTINGS, tokenizer).transcribe(samples := sound(seconds), any_sound(language="en"))
    frames = max(1, len(samples) // 160)
    np.testing.assert_allclose(script.features[0][:, :frames], reference(samples)[:, :frames], atol=1e-4)
    assert not script.features[0][:, frames:].any()


@pytest.mark.parametrize("seconds", [1.01, 1.5, 2.0, 2.345])
@pytest.mark.parametrize("loud", [0.0, 0.2, 0.999, 0.9999])
def test_the_spectrogram_of_a_long_recording(tokenizer, seconds, loud):
    """The loudest place sets the floor everywhere; inner edges of windows hear their neighbours; after the end is 0."""
    samples = sound(seconds) * 1e-5
    burst = round(loud * len(samples))
    samples[burst : burst + 50] = 0.9
    script = Spectrogram([[at(0), 65, at(0.7), at(0.7)], [at(0), 65, at(0.3), at(0.3)], [], [], []])
    Transcriber(script, SETTINGS, tokenizer).transcribe(samples, any_sound(language="en"))
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
