"""Recordings of any rate, channel count and sample format become the same 16 kHz samples; what is none is refused."""

from __future__ import annotations

import io
import tracemalloc
import warnings

import numpy as np
import pytest
import soundfile

from intaglio.runtime.audio import samples as module
from intaglio.runtime.audio.recording import AudioError
from intaglio.runtime.audio.samples import Part, convert, read

SECONDS = 2
TONE = 440.0  # Hz
LEVEL = 0.5


def tone(rate: int, hertz: float = TONE, level: float = LEVEL) -> np.ndarray:
    """f64[SECONDS * rate], a sine."""
    return level * np.sin(2 * np.pi * hertz * np.arange(SECONDS * rate) / rate)


def peak(samples: np.ndarray, rate: int = 16_000) -> tuple[float, float]:
    """Frequency in Hz and amplitude of the strongest sine, away from the edges, where a resampler rings."""
    middle = samples[rate // 2 : -rate // 2]  # one second, so bins are 1 Hz
    spectrum = np.abs(np.fft.rfft(middle)) * 2 / len(middle)
    return int(spectrum.argmax()) * rate / len(middle), float(spectrum.max())


def recorded(samples: np.ndarray, rate: int, **format: str) -> io.BytesIO:
    """A recording as a WAV of floats."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", "subtype": "FLOAT"} | format)
    file.seek(0)
    return file


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_a_sine_keeps_its_frequency_level_and_phase(rate):
    samples = convert(tone(rate), rate)
    assert samples.dtype == np.float32 and samples.flags.c_contiguous
    assert samples.shape == (SECONDS * 16_000,)
    assert peak(samples) == pytest.approx((TONE, LEVEL), rel=1e-3)
    inside = slice(4_000, -4_000)
    np.testing.assert_allclose(samples[inside], tone(16_000)[inside], atol=2e-4)


def test_what_16_khz_cannot_hold_is_removed_not_folded():
    assert np.abs(convert(tone(48_000, hertz=11_000), 48_000)[4_000:-4_000]).max() < 1e-3


def test_equal_rates_leave_samples_alone():
    samples = tone(16_000).astype(np.float32)
    np.testing.assert_array_equal(convert(samples, 16_000), samples)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged(channels):
    rate = 44_100
    stack = np.stack([tone(rate, level=level) for level in np.linspace(0.1, 0.7, channels)], axis=1)
    np.testing.assert_allclose(convert(stack, rate), convert(stack.mean(axis=1), rate), atol=1e-6)


@pytest.mark.parametrize(
    "samples, message",
    [
        (np.zeros(0), "no samples"),
        (np.zeros((0, 2)), "no samples"),
        (np.zeros((100, 0)), "no samples"),
        (np.float32(0.5), r"\[frames, channels\], got \[\]"),
        (np.zeros((1, 100, 2)), r"got \[1, 100, 2\]"),
        (np.zeros((2, 16_000)), "transpose"),
        (np.zeros(100, np.int16), "got int16"),
        (np.zeros(100, complex), "got complex128"),
        (np.array([0.0, np.nan]), "not finite"),
        (np.array([0.0, -np.inf]), "not finite"),
        (np.array([0.0, 1e300]), "not finite"),
    ],
)
def test_convert_refuses_samples(samples, message):
    with pytest.raises(AudioError, match=message):
        convert(samples, 16_000)


@pytest.mark.parametrize("rate", [0, -16_000, 16, 10**9, float("nan"), float("inf")])
def test_convert_refuses_rates(rate):
    with pytest.raises(AudioError, match="expected a rate"):
        convert(np.zeros(100), rate)
    with pytest.raises(AudioError, match="expected a rate"):
        convert(np.zeros(100), 16_000, to=rate)


def test_one_sample_is_enough():
    assert convert(np.ones(1), 16_000).tolist() == [1.0]


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_blocks_do_not_show(monkeypatch, rate):
    """Samples are the same however many are converted at once, and whether they lie in memory or in a file."""
    whole = convert(tone(rate), rate)
    monkeypatch.setattr(module, "BLOCK", 1_000)
    monkeypatch.setattr(module, "_IN_MEMORY", 5_000)
    parts = convert(tone(rate), rate)
    assert isinstance(parts, np.memmap) and parts.dtype == np.float32
    np.testing.assert_allclose(parts, whole, atol=1e-7)


def test_memory_does_not_grow_with_the_recording(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_IN_MEMORY", 1 << 16)
    path = tmp_path / "long.wav"
    block = (0.5 * np.sin(np.arange(480_000) / 20)).astype(np.float32)
    with soundfile.SoundFile(path, "w", 48_000, 2, "FLOAT") as file:
        for _ in range(30):  # 5 minutes, 115 MB
            file.write(np.stack([block, block], axis=1))
    tracemalloc.start()
    samples = read(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert samples.shape == (300 * 16_000,)


@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_a_part(rate):
    seconds = np.arange(5 * rate) // rate / 10  # 0 in the first second, 0.1 in the next one
    stack = np.stack([seconds, -np.ones_like(seconds)], axis=1)
    part = Part(channel=1, offset=2.5, duration=1.0)
    for samples in convert(stack, rate, part=part), read(recorded(stack, rate), part=part):
        assert samples.shape == (16_000,)
        assert samples[4_000] == pytest.approx(0.2, abs=1e-3) and samples[12_000] == pytest.approx(0.3, abs=1e-3)
    np.testing.assert_allclose(convert(stack, rate, part=Part(channel=2))[1_000:-1_000], -1, atol=1e-3)


def test_parts_that_are_not_there():
    with pytest.raises(AudioError, match=r"expected channel 1 to 2 .*, got 3"):
        convert(np.zeros((100, 2)), 16_000, part=Part(channel=3))
    with pytest.raises(AudioError, match=r"no samples after 2\.5 seconds"):
        convert(np.ones(16_000), 16_000, part=Part(offset=2.5))
    for wrong in {"channel": 0}, {"channel": 1.5}, {"offset": -1.0}, {"offset": float("nan")}, {"duration": 0.0}:
        with pytest.raises(ValueError, match=f"expected .*{next(iter(wrong))}"):
            Part(**wrong)


@pytest.mark.parametrize(
    "samples, note",
    [
        (32_768 * tone(16_000), "reach 1.638e\\+04; expected about ±1"),
        (1e-4 * tone(16_000), "nearly silent"),
        (np.stack([tone(16_000), -tone(16_000)], axis=1), "cancel each other out; choose one"),
    ],
)
def test_warns_of(samples, note):
    with pytest.warns(UserWarning, match=note):
        convert(samples, 16_000)


@pytest.mark.parametrize("samples", [tone(16_000, level=1.3), np.stack([tone(16_000), tone(16_000) * 0], axis=1)])
def test_does_not_warn_of(samples):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(samples, 16_000)
