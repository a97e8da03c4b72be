"""Sound from pipes and microphones, as it is made."""

from __future__ import annotations

import io
import os
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pytest
import soundfile

from intaglio.runtime.audio.live import Raw, Source, microphone, piped
from intaglio.runtime.audio.recording import AudioError
from intaglio.runtime.audio.samples import Converter, Part, convert

RATE = 8000


def sound(channels: int = 1, frames: int = 3001) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (frames, channels)).astype(np.float32)


def wav(samples: np.ndarray, subtype: str, **options: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype=subtype, **options)
    return file.getvalue()


def whole(source: Source) -> np.ndarray:
    return np.concatenate(list(source))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_wav_through_a_pipe_is_what_libsndfile_reads(subtype: str, channels: int) -> None:
    content = wav(sound(channels), subtype)
    source = piped(io.BytesIO(content))
    expected, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    assert source.rate == rate
    np.testing.assert_allclose(whole(source), expected, rtol=0, atol=1e-7)


def test_other_chunks_before_the_samples_and_sizes_of_nothing() -> None:
    content = wav(sound(), "PCM_16")
    at = content.index(b"data")
    strange = content[:at] + b"LIST\x03\0\0\0abc\0" + b"data\0\0\0\0" + content[at + 8 :]
    np.testing.assert_array_equal(whole(piped(io.BytesIO(strange))), whole(piped(io.BytesIO(content))))


@pytest.mark.parametrize("format", ["s16", "s24", "s32", "f32"])
def test_raw_samples(format: str) -> None:
    subtype = "FLOAT" if format == "f32" else f"PCM_{format[1:]}"
    content = wav(sound(2), subtype)
    expected = whole(piped(io.BytesIO(content)))
    raw = content[content.index(b"data") + 8 :][: 2 * 3001 * int(format[1:]) // 8]
    np.testing.assert_array_equal(whole(piped(io.BytesIO(raw + b"x"), Raw(format, RATE, 2))), expected)


def test_chunks_arrive_while_the_pipe_is_open_and_stop_ends_them() -> None:
    out, into = os.pipe()
    reader: BinaryIO = os.fdopen(out, "rb")
    with os.fdopen(into, "wb", 0) as writer:
        source = piped(reader, Raw("s16", RATE))
        chunks = iter(source)
        writer.write(b"\x00\x40" * 100)
        assert next(chunks).tolist() == [[0.5]] * 100
        writer.write(b"\x00\x20" * 50)
        assert next(chunks).tolist() == [[0.25]] * 50
        threading.Timer(0.05, source.stop).start()
        assert list(chunks) == []


def test_what_waits_comes_as_one_chunk() -> None:
    ready = threading.Event()

    def make() -> Iterator[np.ndarray]:
        yield from (np.full((10, 1), i, np.float32) for i in range(5))
        ready.set()

    source = Source(RATE, make)
    assert ready.wait(10)
    assert [len(chunk) for chunk in source] == [50]


def test_an_error_of_the_thread_is_raised_after_what_came_before() -> None:
    def make() -> Iterator[np.ndarray]:
        yield sound()
        raise AudioError("unplugged")

    chunks = iter(Source(RATE, make))
    assert len(next(chunks)) == 3001
    with pytest.raises(AudioError, match="unplugged"):
        next(chunks)


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        (b"", ("WAV", "--format")),
        (b"\0" * 100, ("WAV", "--format")),
        (wav(sound(), "PCM_U8"), ("8 bits", "16-bit")),
        (wav(sound(), "ULAW"), ("format 7", "16-bit")),
        (wav(sound(), "PCM_16")[:30], ("WAV",)),
    ],
)
def test_refuses(content: bytes, facts: tuple[str, ...]) -> None:
    with pytest.raises(AudioError) as refused:
        piped(io.BytesIO(content))
    assert all(fact in str(refused.value) for fact in facts)


def test_a_microphone_without_sounddevice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AudioError, match=r"intaglio\[microphone\]"):
        microphone()


def test_a_microphone(monkeypatch: pytest.MonkeyPatch) -> None:
    class InputStream:
        def __init__(self, rate: int, **options: Any) -> None:
            assert (rate, options["device"], options["channels"]) == (44_100, "usb", 1)

        def __enter__(self) -> InputStream:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def read(self, frames: int) -> tuple[np.ndarray, bool]:
            return np.full((frames, 1), 0.25, np.float32), False

    module = types.SimpleNamespace(
        InputStream=InputStream,
        PortAudioError=RuntimeError,
        query_devices=lambda device, kind: {"default_samplerate": 44_100.0},
    )
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    source = microphone("usb")
    assert source.rate == 44_100
    assert next(iter(source))[:2].tolist() == [[0.25], [0.25]]
    source.stop()


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize("channel", [None, 2])
def test_chunks_are_converted_as_the_whole_is(rate: int, channel: int | None) -> None:
    samples, part = sound(2, 20_000), Part(channel)
    converter = Converter(rate, 16_000, part)
    chunks = [converter.add(chunk) for chunk in np.array_split(samples, 17)]
    np.testing.assert_array_equal(np.concatenate([*chunks, converter.end()]), convert(samples, rate, 16_000, part))


def test_a_converter_refuses_what_is_not_sound() -> None:
    with pytest.raises(AudioError, match="floating"):
        Converter(RATE).add(np.zeros(10, np.int16))
    with pytest.raises(AudioError, match="NaN"):
        Converter(RATE).add(np.array([np.nan], np.float32))
    with pytest.raises(AudioError, match="channel 1 to 1"):
        Converter(RATE, part=Part(2)).add(np.zeros(10, np.float32))
    with pytest.raises(AudioError, match="Hz"):
        Converter(0)
