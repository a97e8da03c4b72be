"""Opens recordings: paths, pipes and open files, in whatever format their content is."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import soundfile

from intaglio.runtime.audio import media
from intaglio.runtime.audio.recording import AudioError, Recording
from intaglio.runtime.audio.sound_files import SoundFile

STDIN = "-"
_IN_MEMORY = 1 << 24  # bytes of a pipe that are kept in memory; what is longer goes to a file without a name


@contextmanager
def opened(source: str | os.PathLike[str] | BinaryIO) -> Iterator[Recording]:
    """Open a recording: a path, "-" for standard input, or a binary file.

    Pipes are read to their end first. Raises AudioError if it is missing or its format is not supported.
    """
    with ExitStack() as files:
        file, name = _binary(source, files)
        if not file.seekable():
            file = files.enter_context(_copied(file))
        try:
            recording: Recording = SoundFile(file, name)
        except (soundfile.LibsndfileError, TypeError):  # TypeError: the name ends in .raw
            recording = files.enter_context(media.opened(file, name))
        yield recording


def _binary(source: str | os.PathLike[str] | BinaryIO, files: ExitStack) -> tuple[BinaryIO, str]:
    """Return an open file and what to call it."""
    if source == STDIN:
        return sys.stdin.buffer, "standard input"
    if not isinstance(source, str | os.PathLike):
        name = getattr(source, "name", None)
        return source, name if isinstance(name, str) else "the recording"
    path = Path(source)
    if not path.exists() or path.is_dir():
        raise AudioError(f"{path} is a folder; name a recording in it" if path.is_dir() else f"{path} is missing")
    try:
        return files.enter_context(path.open("rb")), str(path)
    except OSError as error:
        raise AudioError(f"{path} cannot be opened: {error.strerror}") from error


@contextmanager
def _copied(file: BinaryIO) -> Iterator[BinaryIO]:
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as copy:
        shutil.copyfileobj(file, copy)
        copy.seek(0)
        yield cast(BinaryIO, copy)
