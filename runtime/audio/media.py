"""Recordings in the containers of phones, browsers and videos: WebM and Matroska with Opus or Vorbis by repacking, the
others by PyAV where it is installed, or else by ffmpeg.

A file comes from a stranger. So only containers that hold their own samples are opened: a playlist could name other
files and addresses.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import soundfile

from intaglio.runtime.audio import webm
from intaglio.runtime.audio.kinds import MEDIA, READ, kind
from intaglio.runtime.audio.recording import AudioError, Recording, from_frame
from intaglio.runtime.audio.sound_files import SoundFile

if TYPE_CHECKING:
    from av.container import InputContainer

INSTALL = "pip install 'intaglio[media]'"
_CONTAINERS = "mov,mp4,m4a,3gp,matroska,webm,aac,amr,amrnb,amrwb,asf,avi,flv,mpegts,mpeg,mp3,ogg,wav,w64,aiff,caf,flac"
_FFMPEG_RATE = 16_000  # Hz; ffmpeg converts, because its output goes through a file


def opened(file: BinaryIO, name: str) -> AbstractContextManager[Recording]:
    """Open a seekable file that libsndfile does not read. Raises AudioError, which says what to install."""
    file.seek(0)
    if file.read(len(webm.SIGN)) == webm.SIGN:
        with suppress(webm.Unsuitable, soundfile.LibsndfileError):
            return _repacked(file, name)
    try:
        import av
    except ImportError:
        pass
    else:
        return _by_pyav(av, file, name)
    if program := shutil.which("ffmpeg"):
        return _by_ffmpeg(program, file, name)
    found = kind(file)
    if found is None:
        raise _foreign(name)
    raise AudioError(f"{name} is {found}, which needs PyAV or ffmpeg to be read: {INSTALL}")


def _repacked(file: BinaryIO, name: str) -> AbstractContextManager[Recording]:
    """Open a WebM as the Ogg file with the same packets. Raises webm.Unsuitable, soundfile.LibsndfileError."""
    ogg = webm.repacked(file, name)
    recording = SoundFile(ogg, name)

    @contextmanager
    def held() -> Iterator[Recording]:
        with ogg:
            yield recording

    return held()


def _foreign(name: str) -> AudioError:
    return AudioError(f"{name} is not a recording: expected {READ}; for {MEDIA}: {INSTALL}")


@contextmanager
def _by_pyav(av: Any, file: BinaryIO, name: str) -> Iterator[Recording]:
    file.seek(0)
    try:
        container = av.open(file, "r", options={"format_whitelist": _CONTAINERS}, metadata_errors="ignore")
    except av.error.FFmpegError as error:
        raise _unreadable(file, name, error) from error
    with container:
        yield _Media(av, container, name)


def _unreadable(file: BinaryIO, name: str, error: Exception) -> AudioError:
    found = kind(file)
    return AudioError(f"{name} is {found} that cannot be read: {error.__class__.__name__}") if found else _foreign(name)


class _Media:
    """A recording in a container that PyAV has opened."""

    def __init__(self, av: Any, container: InputContainer, name: str) -> None:
        self._av, self._container, self._name = av, container, name
        if not container.streams.audio:
            raise AudioError(f"{name} contains no sound, only {_content(container)}")
        self._stream = container.streams.audio[0]
        codec = self._stream.codec_context
        self.rate: float = codec.sample_rate
        self.channels: int = codec.channels
        if not self.rate or not self.channels:
            raise AudioError(f"{name} does not say its rate and its channels; convert it with ffmpeg")

    def blocks(self, first: int) -> Iterator[np.ndarray]:
        """See Recording."""
        return from_frame(self._decoded(), first)

    def _decoded(self) -> Iterator[np.ndarray]:
        to_floats = self._av.AudioResampler("fltp", self._stream.codec_context.layout, self.rate)
        for frame in self._frames():
            for floats in to_floats.resample(frame):
                yield np.ascontiguousarray(floats.to_ndarray().T)

    def _frames(self) -> Iterator[Any]:
        """Yield the decoded frames. Packets that are damaged are skipped, with a warning."""
        damaged, error = 0, self._av.error.FFmpegError
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except error:  # the file ends in the middle
                damaged += 1
                break
            try:
                yield from packet.decode()
            except error:
                damaged += 1
        if damaged:
            warnings.warn(f"{self._name} is damaged: {damaged} of its parts were skipped", stacklevel=2)


def _content(container: InputContainer) -> str:
    return " and ".join(sorted({stream.type for stream in container.streams})) or "an empty container"


@contextmanager
def _by_ffmpeg(program: str, file: BinaryIO, name: str) -> Iterator[Recording]:
    """Let ffmpeg write a WAV at 16 kHz with all channels, into a file without a name that is read like any other."""
    with ExitStack() as files:
        path = getattr(file, "name", None)
        if not isinstance(path, str) or not os.path.isfile(path):
            path = files.enter_context(_copied(file))
        output = files.enter_context(tempfile.TemporaryFile())
        command = [program, "-nostdin", "-v", "error", "-format_whitelist", _CONTAINERS, "-i", f"file:{path}"]
        command += ["-vn", "-sn", "-dn", "-ar", str(_FFMPEG_RATE), "-c:a", "pcm_f32le", "-f", "wav", "-"]
        result = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        if result.returncode and not output.tell():
            lines = result.stderr.decode(errors="replace").strip().splitlines() or ["it does not say why"]
            found = kind(file)
            raise AudioError(f"{name} is {found}, but ffmpeg cannot read it: {lines[-1]}") if found else _foreign(name)
        yield SoundFile(cast(BinaryIO, output), name)


@contextmanager
def _copied(file: BinaryIO) -> Iterator[str]:
    """A copy of a file, by its path."""
    with tempfile.NamedTemporaryFile() as copy:
        file.seek(0)
        shutil.copyfileobj(file, copy)
        copy.flush()
        yield copy.name
