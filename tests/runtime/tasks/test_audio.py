"""Recordings of any rate, channel count and sample format become the same 16 kHz samples; what is none is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from intaglio.runtime.tasks.audio import AudioError, mono, read

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
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **format)
    file.seek(0)
    return file


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_a_sine_keeps_its_frequency_level_and_phase(rate):
    samples = mono(tone(rate), rate)
    assert samples.dtype == np.float32 and samples.flags.c_contiguous
    assert samples.shape == (SECONDS * 16_000,)
    assert peak(samples) == pytest.approx((TONE, LEVEL), rel=1e-3)
    inside = slice(4_000, -4_000)
    np.testing.assert_allclose(samples[inside], tone(16_000)[inside], atol=2e-4)


def test_what_16_khz_cannot_hold_is_removed_not_folded():
    assert np.abs(mono(tone(48_000, hertz=11_000), 48_000)[4_000:-4_000]).max() < 1e-3


def test_equal_rates_leave_samples_alone():
    samples = tone(16_000).astype(np.float32)
    np.testing.assert_array_equal(mono(samples, 16_000), samples)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged(channels):
    rate = 44_100
    stack = np.stack([tone(rate, level=level) for level in np.linspace(0.1, 0.7, channels)], axis=1)
    np.testing.assert_allclose(mono(stack, rate), mono(stack.mean(axis=1), rate), atol=1e-6)


@pytest.mark.parametrize(
    "format, subtype, step",
    [
        ("WAV", "PCM_U8", 2**-7),
        ("WAV", "PCM_16", 2**-15),
        ("WAV", "PCM_24", 2**-23),
        ("WAV", "PCM_32", 2**-23),
        ("WAV", "FLOAT", 2**-23),
        ("WAV", "DOUBLE", 2**-23),
        ("WAV", "ULAW", 2**-5),
        ("WAVEX", "PCM_16", 2**-15),
        ("FLAC", "PCM_S8", 2**-7),
        ("FLAC", "PCM_16", 2**-15),
        ("FLAC", "PCM_24", 2**-23),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_reads(format, subtype, step, channels):
    rate = 22_050
    stack = np.stack([tone(rate), -tone(rate, hertz=97.0)][:channels], axis=1)
    samples, found = read(recorded(stack, rate, format=format, subtype=subtype))
    assert found == rate
    assert samples.dtype == np.float32 and samples.shape == stack.shape
    np.testing.assert_allclose(samples, stack, atol=step)


def test_reads_paths_and_streams_that_cannot_seek(tmp_path):
    data = recorded(tone(8_000), 8_000, format="WAV").getvalue()
    path = tmp_path / "speech.wav"
    path.write_bytes(data)

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_) -> int:
            raise io.UnsupportedOperation

    expected, _ = read(path)
    for source in str(path), path.open("rb"), io.BytesIO(data), Pipe(data):
        samples, rate = read(source)
        assert rate == 8_000
        np.testing.assert_array_equal(samples, expected)


def test_a_header_may_promise_too_much():
    """ffmpeg writes 0xFFFFFFFF as the length when it writes to a pipe."""
    data = bytearray(recorded(tone(8_000), 8_000, format="WAV", subtype="PCM_16").getvalue())
    at = data.index(b"data") + 4
    data[4:8] = data[at : at + 4] = b"\xff" * 4
    samples, _ = read(io.BytesIO(bytes(data)))
    assert samples.shape == (SECONDS * 8_000, 1)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("missing.wav", None, "missing.wav is missing"),
        ("notes.txt", b"And so my fellow Americans", "WAV or FLAC: .*; convert"),
        ("nothing.wav", b"", "WAV or FLAC: .*; convert"),
        ("header.wav", b"RIFF\x24\x00\x00\x00WAVEfmt ", "WAV or FLAC: .*; convert"),
        ("broken.flac", b"fLaC" + b"\xff" * 64, "WAV or FLAC: .*; convert"),
        ("headless.raw", bytes(1000), "WAV or FLAC: .*; convert"),
        ("silent.wav", recorded(np.zeros(0), 16_000, format="WAV").getvalue(), "no samples"),
    ],
)
def test_read_refuses(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError, match=message) as raised:
        read(path)
    assert name in str(raised.value) and "\n" not in str(raised.value)


def test_read_refuses_a_folder(tmp_path):
    with pytest.raises(AudioError, match="is not a file"):
        read(tmp_path)


@pytest.mark.parametrize("size", [60, 4_000])
def test_a_cut_flac_is_refused_or_gives_what_it_has(size):
    data = recorded(tone(16_000), 16_000, format="FLAC").getvalue()
    try:
        samples, _ = read(io.BytesIO(data[:size]))
    except AudioError:
        return
    assert 0 < len(samples) < SECONDS * 16_000


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
def test_mono_refuses_samples(samples, message):
    with pytest.raises(AudioError, match=message):
        mono(samples, 16_000)


@pytest.mark.parametrize("rate", [0, -16_000, 16, 10**9, float("nan"), float("inf")])
def test_mono_refuses_rates(rate):
    with pytest.raises(AudioError, match="expected a rate"):
        mono(np.zeros(100), rate)
    with pytest.raises(AudioError, match="expected a rate"):
        mono(np.zeros(100), 16_000, to=rate)


def test_mono_refuses_less_than_one_sample():
    with pytest.raises(AudioError, match="shorter than one sample"):
        mono(np.zeros(1), 48_000)


def test_one_sample_is_enough():
    assert mono(np.ones(1), 16_000).tolist() == [1.0]
