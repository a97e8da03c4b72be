"""WebM and Matroska without PyAV: the same samples as PyAV decodes, any lacing, and nothing bad from damaged files."""

from __future__ import annotations

import io
import random
import shutil
import sys
import time
import tracemalloc
import warnings
from contextlib import suppress
from itertools import pairwise
from unittest import mock

import av
import numpy as np
import pytest
import soundfile

from intaglio.runtime.audio import ogg, webm
from intaglio.runtime.audio.files import opened
from intaglio.runtime.audio.recording import AudioError

RATE = 48_000


def sounds(seconds: float = 1.5, seed: int = 0) -> np.ndarray:
    """f64[frames, 2]: tones that rise, and noise, so that Vorbis has long and short blocks."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).normal(0, 0.2, len(time)) * (time % 0.3 < 0.02)
    return np.stack([0.4 * np.sin(2 * np.pi * (300 + 400 * time) * time), noise], axis=1)


def encoded(subtype: str, seconds: float = 1.5) -> bytes:
    """An Ogg file that libsndfile wrote."""
    file = io.BytesIO()
    soundfile.write(file, sounds(seconds), RATE, format="OGG", subtype=subtype)
    return file.getvalue()


def remuxed(content: bytes, container: str) -> bytes:
    """The same packets in another container, by FFmpeg."""
    file = io.BytesIO()
    with av.open(io.BytesIO(content)) as source, av.open(file, "w", format=container) as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return file.getvalue()


def samples(content: bytes) -> tuple[np.ndarray, float]:
    with mock.patch.dict(sys.modules, {"av": None}), opened(io.BytesIO(content)) as recording:
        none = np.zeros((0, recording.channels), np.float32)
        return np.concatenate([none, *recording.blocks(0)]), recording.rate


def by_pyav(content: bytes) -> np.ndarray:
    with av.open(io.BytesIO(content)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1).T


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
@pytest.mark.parametrize("container", ["webm", "matroska"])
def test_the_samples_are_those_of_pyav(subtype: str, container: str) -> None:
    content = remuxed(encoded(subtype), container)
    (found, rate), expected = samples(content), by_pyav(content)
    assert rate == RATE and abs(len(found) - len(expected)) < 0.05 * RATE
    least = min(len(found), len(expected)) - RATE // 20
    np.testing.assert_allclose(found[:least], expected[:least], atol=2e-3 if subtype == "OPUS" else 1e-4)


def number(value: int, length: int | None = None) -> bytes:
    """A number of EBML."""
    length = length or next(n for n in range(1, 9) if value < (1 << 7 * n) - 1)
    return (value | 1 << 7 * length).to_bytes(length, "big")


def element(id: int, content: bytes) -> bytes:
    return id.to_bytes((id.bit_length() + 7) // 8, "big") + number(len(content)) + content


def block(packets: list[bytes], lacing: str) -> bytes:
    """A simple block of track 1 with this lacing: RFC 9559, 10.3."""
    sizes = [len(packet) for packet in packets]
    flags = {"none": 0, "xiph": 2, "fixed": 4, "ebml": 6}[lacing]
    head = b"" if lacing == "none" else bytes([len(packets) - 1])
    if lacing == "xiph":
        head += b"".join(b"\xff" * (size // 255) + bytes([size % 255]) for size in sizes[:-1])
    if lacing == "ebml":
        head += number(sizes[0])
        head += b"".join(number(b - a + (1 << 13) - 1, 2) for a, b in pairwise(sizes[:-1]))
    return element(0xA3, number(1) + b"\0\0" + bytes([0x80 | flags]) + head + b"".join(packets))


def written(packets: list[bytes], lacing: str, unsized: bool = False) -> bytes:
    """A WebM of Opus. unsized: as browsers record, who do not know how large it will be."""
    head = b"OpusHead" + bytes([1, 2]) + (312).to_bytes(2, "little") + RATE.to_bytes(4, "little") + bytes(3)
    entry = element(0xD7, b"\1") + element(0x86, b"A_OPUS") + element(0x63A2, head)
    groups = [packets[i : i + 4] for i in range(0, len(packets), 4)] if lacing != "none" else [[p] for p in packets]
    blocks = b"".join(block(group, lacing if len(group) > 1 else "none") for group in groups)
    parts = element(0x1654AE6B, element(0xAE, entry)), 0x1F43B675, blocks
    start = element(0x1A45DFA3, element(0x4282, b"webm"))
    if unsized:
        unknown = number((1 << 56) - 1, 8)
        return start + bytes.fromhex("18538067") + unknown + parts[0] + bytes.fromhex("1F43B675") + unknown + blocks
    return start + element(0x18538067, parts[0] + element(0x1F43B675, blocks))


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    with av.open(io.BytesIO(encoded("OPUS", 0.6))) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("lacing", ["xiph", "ebml", "fixed"])
def test_lacing(packets: list[bytes], lacing: str) -> None:
    """Each way to put several packets in a block gives the samples of one packet in a block."""
    if lacing == "fixed":
        packets = [packet + bytes(max(map(len, packets)) - len(packet)) for packet in packets]
        packets = [packets[8]] * 12
    plain, _ = samples(written(packets, "none"))
    laced, _ = samples(written(packets, lacing))
    assert len(plain) > 0.2 * RATE
    np.testing.assert_array_equal(laced, plain)
    np.testing.assert_array_equal(samples(written(packets, lacing, unsized=True))[0], plain)


def test_the_track_of_sound_is_found_behind_others(packets: list[bytes]) -> None:
    content = written(packets, "none")
    video = element(0xAE, element(0xD7, b"\2") + element(0x86, b"V_VP8"))
    at = content.index(element(0x86, b"A_OPUS")) - len(element(0xD7, b"\1")) - 2
    tracks = content[at:].split(bytes.fromhex("1F43B675"))[0]
    entries = element(0x18538067, element(0x1654AE6B, video + tracks) + content[content.index(b"\x1f\x43\xb6\x75") :])
    whole = element(0x1A45DFA3, b"") + entries
    np.testing.assert_array_equal(samples(whole)[0], samples(content)[0])


def test_what_is_cut_is_read_up_to_there_with_a_warning() -> None:
    content = remuxed(encoded("OPUS"), "webm")
    with pytest.warns(UserWarning, match="is damaged: 1 of its parts"):
        found, _ = samples(content[: len(content) * 2 // 3])
    assert 0.5 * RATE < len(found) < 1.4 * RATE


def test_another_codec_needs_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    content = written([b"\0" * 40], "none").replace(b"A_OPUS", b"A_AACX")
    with pytest.raises(AudioError, match=r"WebM or Matroska, which needs PyAV or ffmpeg"):
        samples(content)


def test_checksums_are_those_of_libogg() -> None:
    content = encoded("VORBIS")
    size = 27 + content[26] + sum(content[27 : 27 + content[26]])
    page = content[:22] + bytes(4) + content[26:size]
    assert ogg.checksum(page) == int.from_bytes(content[22:26], "little")


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_mutations_do_no_harm(subtype: str) -> None:
    """2,000 damaged files: each is read or refused, soon, and in little memory."""
    content = remuxed(encoded(subtype, 0.06), "webm")
    chance, slowest = random.Random(1), 0.0
    tracemalloc.start()
    for _ in range(1_000):
        broken = bytearray(content)
        for _ in range(chance.choice([1, 1, 3, 20])):
            at = chance.randrange(len(broken))
            action = chance.randrange(4)
            if action == 0:
                broken[at] = chance.randrange(256)
            elif action == 1:
                broken[at] ^= 1 << chance.randrange(8)
            elif action == 2:
                del broken[at : at + chance.randrange(1, 40)]
            else:
                broken[at:at] = chance.choice([b"\xff" * 9, bytes(9), broken[at : at + 30]])
        begin = time.process_time()
        with warnings.catch_warnings(action="ignore"), suppress(AudioError):
            samples(bytes(broken))
        slowest = max(slowest, time.process_time() - begin)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64e6 and slowest < 2


def test_sizes_that_lie_take_no_memory() -> None:
    lies = element(0x1A45DFA3, b"") + bytes.fromhex("18538067 01FFFFFFFFFFFFFF A3 01FFFFFFFFFFFFF0")
    with pytest.raises(webm.Unsuitable):
        webm.repacked(io.BytesIO(lies), "a.webm")
