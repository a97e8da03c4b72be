"""Containers of phones and browsers: by PyAV, by ffmpeg, and without both an error that says what to install."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from intaglio.runtime.audio.files import opened
from intaglio.runtime.audio.recording import AudioError

RATE = 48_000
FORMATS = {
    "m4a": ("ipod", "aac"),
    "mp4": ("mp4", "aac"),
    "mka": ("matroska", "libopus"),
    "webm": ("webm", "libopus"),
    "aac": ("adts", "aac"),
    "wma": ("asf", "wmav2"),
}


def tone() -> np.ndarray:
    """f32[2, 3 s]: two sines."""
    time = np.arange(3 * RATE) / RATE
    return np.stack([0.5 * np.sin(2 * np.pi * hertz * time) for hertz in (440, 1_000)]).astype(np.float32)


def media(format: str, picture: bool = False, sound: bool = True) -> bytes:
    container, codec = FORMATS[format]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        video = output.add_stream("mpeg4", rate=10, width=64, height=64, pix_fmt="yuv420p") if picture else None
        stream = output.add_stream(codec, rate=RATE, layout="stereo", bit_rate=128_000) if sound else None
        if video is not None:
            images = [av.VideoFrame(64, 64, "yuv420p") for _ in range(10)]
            output.mux([packet for image in [*images, None] for packet in video.encode(image)])
        if stream is not None:
            frame = av.AudioFrame.from_ndarray(tone(), "fltp", "stereo")
            frame.sample_rate = RATE
            parts = av.AudioResampler(stream.format, "stereo", RATE, frame_size=stream.frame_size or 1_024)
            frames = [*parts.resample(frame), *parts.resample(None), None]
            output.mux([packet for frame in frames for packet in stream.encode(frame)])
    return file.getvalue()


def loudest(samples: np.ndarray) -> int:
    """The frequency of the strongest sine in the second second, in Hz."""
    return int(np.abs(np.fft.rfft(samples[RATE : 2 * RATE])).argmax())


def frames(source: object, first: int = 0) -> tuple[np.ndarray, float]:
    with opened(source) as recording:
        return np.concatenate(list(recording.blocks(first))), recording.rate


@pytest.mark.parametrize("format", FORMATS)
def test_reads(tmp_path, format):
    path = tmp_path / f"speech.{format}"
    path.write_bytes(media(format))
    for source in path, io.BytesIO(path.read_bytes()):
        samples, rate = frames(source)
        assert rate == RATE and samples.dtype == np.float32 and samples.shape[1] == 2
        assert len(samples) == pytest.approx(3 * RATE, abs=0.1 * RATE)
        assert (loudest(samples[:, 0]), loudest(samples[:, 1])) == (440, 1_000)


def test_reads_the_sound_of_a_video_from_a_frame_on():
    whole, _ = frames(io.BytesIO(media("mp4", picture=True)))
    part, _ = frames(io.BytesIO(media("mp4", picture=True)), 100_000)
    np.testing.assert_array_equal(part, whole[100_000:])


def test_a_video_without_sound():
    with pytest.raises(AudioError, match="contains no sound, only video"):
        frames(io.BytesIO(media("mp4", picture=True, sound=False)))


def test_what_is_damaged_is_skipped_with_a_warning():
    data = bytearray(media("m4a"))
    for at in range(len(data) // 3, len(data) // 3 + 2_000):
        data[at] ^= 0x55
    with pytest.warns(UserWarning, match="is damaged: [0-9]+ of its parts were skipped"):
        samples, _ = frames(io.BytesIO(bytes(data)))
    assert RATE < len(samples) < 3 * RATE
    assert loudest(samples[-2 * RATE :, 0]) == 440


def test_a_playlist_does_not_open_what_it_names(tmp_path):
    (tmp_path / "speech.m4a").write_bytes(media("m4a"))
    for name, text in {
        "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:3,\nspeech.m4a\n#EXT-X-ENDLIST\n",
        "list.ffconcat": "ffconcat version 1.0\nfile speech.m4a\n",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(AudioError, match=f"{name} is not a recording"):
            frames(tmp_path / name)


@pytest.fixture
def no_pyav(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)


def test_without_both_the_error_says_what_to_install(no_pyav, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    for format, kind in {"m4a": "MP4", "aac": "AAC"}.items():
        path = tmp_path / f"speech.{format}"
        path.write_bytes(media(format))
        with pytest.raises(AudioError, match=rf"speech.{format} is {kind}, .*pip install 'intaglio\[media\]'"):
            frames(path)
    with pytest.raises(AudioError, match="the recording is not a recording: expected WAV"):
        frames(io.BytesIO(b"And so my fellow Americans"))


@pytest.mark.parametrize("named", [True, False])
def test_ffmpeg_is_used_where_there_is_no_pyav(no_pyav, monkeypatch, tmp_path, named):
    """A stand-in for ffmpeg: it reads the file that it is given, and writes a WAV whose sizes it does not know."""
    wav = tmp_path / "converted.wav"
    soundfile.write(wav, np.full((160, 2), 0.25), 16_000, "FLOAT")
    program = tmp_path / "ffmpeg"
    program.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "path = sys.argv[sys.argv.index('-i') + 1].removeprefix('file:')\n"
        "assert open(path, 'rb').read(8)[4:] == b'ftyp' and '-format_whitelist' in sys.argv\n"
        f"data = open({str(wav)!r}, 'rb').read()\n"
        "at = data.index(b'data') + 4\n"
        "sys.stdout.buffer.write(data[:at] + b'\\xff' * 4 + data[at + 4:])\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _: str(program))
    data, path = media("m4a"), tmp_path / "-speech.m4a"
    path.write_bytes(data)
    samples, rate = frames(path if named else io.BytesIO(data))
    assert rate == 16_000 and samples.shape == (160, 2) and (samples == 0.25).all()


def test_what_ffmpeg_says_is_told(no_pyav, monkeypatch, tmp_path):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho 'moov atom not found' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _: str(program))
    with pytest.raises(AudioError, match="is MP4, but ffmpeg cannot read it: moov atom not found"):
        frames(io.BytesIO(media("m4a")))


def test_names_in_folders_are_of_recordings(tmp_path: Path):
    from intaglio.runtime.audio.kinds import SUFFIXES

    assert {f".{format}" for format in FORMATS} <= SUFFIXES
