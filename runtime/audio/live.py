"""Sound that is still being made: from a microphone, or from a pipe with a WAV file or raw samples.

A thread gathers it, so that nothing is lost while a chunk is transcribed; the next chunk is then longer.
"""

from __future__ import annotations

import queue
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, BinaryIO

import numpy as np

from intaglio.runtime.audio.recording import AudioError

CHUNK = 0.1  # seconds that are read at once
_INTEGERS = {"s16": ("<i2", 1 << 15), "s32": ("<i4", 1 << 31)}
FORMATS = "s16", "s24", "s32", "f32"
_EXTENSIBLE = 0xFFFE  # the format of a WAV whose true format follows
_PCM, _FLOAT = 1, 3


@dataclass(frozen=True)
class Raw:
    """How samples are written: one of FORMATS, little-endian; the rate in Hz; the number of channels."""

    format: str = "s16"
    rate: int = 16_000
    channels: int = 1

    @property
    def frame(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * int(self.format[1:]) // 8

    def decoded(self, content: bytes) -> np.ndarray:
        """Return f32[frames, channels] within ±1."""
        if self.format == "f32":
            samples = np.frombuffer(content, "<f4")
        elif self.format == "s24":
            rows = np.frombuffer(content, np.uint8).reshape(-1, 3)
            samples = np.pad(rows, ((0, 0), (1, 0))).view("<i4").ravel() / np.float32(1 << 31)
        else:
            type, scale = _INTEGERS[self.format]
            samples = np.frombuffer(content, type) / np.float32(scale)
        return samples.astype(np.float32, copy=False).reshape(-1, self.channels)


class Source:
    """Chunks of sound, f32[frames, channels] at `rate` Hz, until it ends or `stop` is called.

    make: yields the chunks, in a thread of its own. An error there is raised here.
    """

    def __init__(self, rate: float, make: Callable[[], Iterator[np.ndarray]]) -> None:
        self.rate = rate
        self._chunks: queue.Queue[np.ndarray | Exception | None] = queue.Queue()
        self._stopped = threading.Event()
        threading.Thread(target=self._gather, args=(make,), daemon=True).start()

    def stop(self) -> None:
        """End the sound here. What came before is still yielded."""
        self._stopped.set()
        self._chunks.put(None)

    def __iter__(self) -> Iterator[np.ndarray]:
        while (waiting := self._waiting())[0] is not None:
            ended = waiting[-1] is None
            chunks = [chunk for chunk in waiting if isinstance(chunk, np.ndarray)]
            if chunks:
                yield np.concatenate(chunks)
            for error in waiting:
                if isinstance(error, Exception):
                    raise error
            if ended:
                return

    def _waiting(self) -> list[np.ndarray | Exception | None]:
        """Return all that waits, up to the end, or else the next."""
        items = [self._chunks.get()]
        while items[-1] is not None:
            try:
                items.append(self._chunks.get_nowait())
            except queue.Empty:
                break
        return items

    def _gather(self, make: Callable[[], Iterator[np.ndarray]]) -> None:
        try:
            for chunk in make():
                if self._stopped.is_set():
                    return
                self._chunks.put(chunk)
        except Exception as error:
            self._chunks.put(error)
        self._chunks.put(None)


def piped(file: BinaryIO, raw: Raw | None = None) -> Source:
    """Return the sound that comes through a pipe: raw samples, or by default a WAV file. Raises AudioError."""
    layout = wav_header(file) if raw is None else raw
    size = max(1, round(CHUNK * layout.rate)) * layout.frame

    def make() -> Iterator[np.ndarray]:
        rest = b""
        while content := _some(file, size - len(rest)):
            content = rest + content
            whole = len(content) - len(content) % layout.frame
            rest = content[whole:]
            if whole:
                yield layout.decoded(content[:whole])

    return Source(layout.rate, make)


def _some(file: BinaryIO, size: int) -> bytes:
    """Return up to `size` bytes, as soon as there are some."""
    read: Callable[[int], bytes] = getattr(file, "read1", file.read)
    return read(size)


def wav_header(file: BinaryIO) -> Raw:
    """Read a WAV file up to its samples. Raises AudioError if it is not one, or is compressed."""
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        raise AudioError("the input is not a WAV file; name the format of raw samples, such as --format s16")
    layout: Raw | None = None
    while len(chunk := file.read(8)) == 8:
        name, size = chunk[:4], int.from_bytes(chunk[4:], "little")
        if name == b"data":
            break
        content = file.read(size + size % 2)
        if name == b"fmt ":
            layout = _layout(content)
    else:
        raise AudioError("the WAV file ends before its samples")
    if layout is None:
        raise AudioError("the WAV file has samples before their format")
    return layout


def _layout(content: bytes) -> Raw:
    """Return what the chunk `fmt ` of a WAV says."""
    if len(content) < 16:
        raise AudioError("the WAV file has a format that is too short")
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
    if kind == _EXTENSIBLE and len(content) >= 26:
        (kind,) = struct.unpack("<H", content[24:26])
    name = {_PCM: f"s{bits}", _FLOAT: f"f{bits}"}.get(kind, "")
    if name not in FORMATS or not channels or not rate:
        raise AudioError(f"the WAV file has format {kind} with {bits} bits; convert it to 16-bit PCM")
    return Raw(name, rate, channels)


def microphone(device: str | int | None = None) -> Source:
    """Return the sound of a microphone, by default the system's. Raises AudioError.

    device: its number or a part of its name, as `python -m sounddevice` lists them.
    """
    try:
        sounddevice: Any = import_module("sounddevice")
    except ModuleNotFoundError as error:
        raise AudioError("a microphone needs sounddevice: pip install 'intaglio[microphone]'") from error
    except OSError as error:  # the library that it wraps is missing
        raise AudioError(f"sounddevice does not work: {error}; apt install libportaudio2") from error
    try:
        rate = int(sounddevice.query_devices(device, "input")["default_samplerate"])
    except (ValueError, sounddevice.PortAudioError) as error:
        raise AudioError(f"there is no such microphone: {error}; list them with python -m sounddevice") from error

    def make() -> Iterator[np.ndarray]:
        with sounddevice.InputStream(rate, device=device, channels=1, dtype="float32") as stream:
            while True:
                chunk: Any = stream.read(max(1, round(CHUNK * rate)))[0]
                yield chunk.copy()

    return Source(rate, make)
