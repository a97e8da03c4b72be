"""Files in every format that libsndfile reads, pipes and paths give their frames; others are refused."""

from __future__ import annotations

import io
import os
import threading
from typing import Any

import numpy as np
import pytest
import soundfile

from intaglio.runtime.audio.files import opened
from intaglio.runtime.audio.recording import AudioError

SECONDS = 2


def tone(rate: int, hertz: float = 440.0) -> np.ndarray:
    """f64[SECONDS * rate], a sine."""
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(SECONDS * rate) / rate)


def recorded(samples: np.ndarray, rate: int, **format: str) -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **format)
    file.seek(0)
    return file


def frames(source: Any, first: int = 0) -> tuple[np.ndarray, float]:
    """The frames of a recording from `first` on, and its rate."""
    with opened(source) as recording:
        blocks = list(recording.blocks(first))
        return np.concatenate([np.zeros((0, recording.channels), np.float32), *blocks]), recording.rate


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
        ("AIFF", "PCM_16", 2**-15),
        ("AU", "PCM_16", 2**-15),
        ("CAF", "PCM_16", 2**-15),
        ("W64", "PCM_16", 2**-15),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_reads(format, subtype, step, channels):
    rate = 22_050
    stack = np.stack([tone(rate), -tone(rate, hertz=97.0)][:channels], axis=1)
    samples, found = frames(recorded(stack, rate, format=format, subtype=subtype))
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

    expected, _ = frames(path)
    for source in str(path), path.open("rb"), io.BytesIO(data), Pipe(data):
        samples, rate = frames(source)
        assert rate == 8_000
        np.testing.assert_array_equal(samples, expected)


@pytest.mark.parametrize("chunks", [b"", b"LIST\x04\x00\x00\x00INFO"])
def test_a_header_may_promise_nothing(chunks):
    """Programs that write to a pipe, and that are interrupted, leave a data chunk of size 0."""
    data = bytearray(recorded(tone(8_000), 8_000, format="WAV", subtype="PCM_16").getvalue())
    at = data.index(b"data")
    data[at:at] = chunks
    at += len(chunks) + 4
    data[4:8] = data[at : at + 4] = bytes(4)
    samples, _ = frames(io.BytesIO(bytes(data)))
    np.testing.assert_allclose(samples[:, 0], tone(8_000), atol=2**-15)


def test_an_empty_wav_stays_empty():
    data = recorded(np.zeros(0), 8_000, format="WAV", subtype="PCM_16").getvalue()
    assert frames(io.BytesIO(data + b"LIST\x04\x00\x00\x00INFO"))[0].size == 0


def test_a_header_may_promise_too_much():
    """ffmpeg writes 0xFFFFFFFF as the length when it writes to a pipe."""
    data = bytearray(recorded(tone(8_000), 8_000, format="WAV", subtype="PCM_16").getvalue())
    at = data.index(b"data") + 4
    data[4:8] = data[at : at + 4] = b"\xff" * 4
    samples, _ = frames(io.BytesIO(bytes(data)))
    assert samples.shape == (SECONDS * 8_000, 1)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("missing.wav", None, "missing.wav is missing"),
        ("notes.txt", b"And so my fellow Americans", "not a recording: expected WAV, FLAC, "),
        ("nothing.wav", b"", "not a recording: expected WAV, FLAC, "),
        ("header.wav", b"RIFF\x24\x00\x00\x00WAVEfmt ", "is WAV that cannot be read"),
        ("broken.flac", b"fLaC" + b"\xff" * 64, "is FLAC that cannot be read"),
        ("headless.raw", bytes(1000), "not a recording: expected WAV, FLAC, "),
    ],
)
def test_refuses(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError, match=message) as raised:
        frames(path)
    assert name in str(raised.value) and "\n" not in str(raised.value)


def test_refuses_a_folder(tmp_path):
    with pytest.raises(AudioError, match="is a folder; name a recording in it"):
        frames(tmp_path)


@pytest.mark.parametrize("size", [60, 4_000])
def test_a_cut_flac_is_refused_or_gives_what_it_has(size):
    data = recorded(tone(16_000), 16_000, format="FLAC").getvalue()
    try:
        samples, _ = frames(io.BytesIO(data[:size]))
    except AudioError:
        return
    assert 0 < len(samples) < SECONDS * 16_000


@pytest.mark.parametrize("format, subtype", [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_reads_what_loses_some(format, subtype):
    samples, rate = frames(recorded(tone(48_000), 48_000, format=format, subtype=subtype))
    spectrum = np.abs(np.fft.rfft(samples[24_000:72_000, 0])) / 24_000
    assert rate == 48_000 and int(spectrum.argmax()) == 440 and spectrum.max() == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3"])
def test_begins_in_the_middle(format):
    file = recorded(tone(16_000), 16_000, format=format)
    whole, _ = frames(file)
    part, _ = frames(file, 20_000)
    assert len(part) == len(whole) - 20_000
    np.testing.assert_allclose(part[2_000:], whole[22_000:], atol=1e-3)
    assert len(frames(file, 10**7)[0]) == 0


def test_reads_named_pipes(tmp_path):
    data = recorded(tone(8_000), 8_000, format="WAV").getvalue()
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(data))
    writer.start()
    assert len(frames(tmp_path / "pipe")[0]) == SECONDS * 8_000
    writer.join()
