"""The recordings that `run --audio` names, and the paths that their transcripts get."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from intaglio.runtime.audio import samples as audio
from intaglio.runtime.audio.files import STDIN
from intaglio.runtime.audio.kinds import SUFFIXES

EACH = "each"
NAMES = "channel", "offset", "duration"


def add_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--channel",
        metavar="N",
        type=channel,
        help=f"transcribe this channel, from 1 on, or {EACH} one separately (default: their average)",
    )
    group.add_argument("--offset", metavar="SECONDS", type=float, help="begin after this time")
    group.add_argument("--duration", metavar="SECONDS", type=float, help="transcribe only so much")


def channel(text: str) -> int | str:
    """The number of a channel, or `each`."""
    if text != EACH and not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, or {EACH}, got {text!r}")
    return text if text == EACH else int(text)


@dataclass(frozen=True)
class Recording:
    """A recording: a path, or "-" for standard input.

    target: the path of its transcripts, without the ends of their names. channel: the only one to transcribe.
    """

    path: str
    target: Path
    channel: int | None = None

    @property
    def name(self) -> str:
        """What to call it in messages."""
        name = "standard input" if self.path == STDIN else self.path
        return name if self.channel is None else f"{name}, channel {self.channel}"


def recordings(arguments: Sequence[str], folder: Path | None, channel: int | str | None) -> list[Recording]:
    """Return the recordings: files as they are, and those in folders by their names.

    folder: of the transcripts; None: beside each recording. No two have the same target. Raises ValueError for a folder
    without recordings, AudioError if channels are separate and a recording cannot be read.
    """
    found = [Recording(path, target) for argument in arguments for path, target in _found(argument, folder)]
    counts = Counter(recording.target for recording in found)
    found = [
        replace(r, target=r.target.with_name(Path(r.path).name)) if counts[r.target] > 1 else r
        for r in dict.fromkeys(found)
    ]
    if channel != EACH:
        return [replace(recording, channel=channel) for recording in found]
    return [
        replace(r, channel=i, target=r.target.with_name(f"{r.target.name}.channel-{i}"))
        for r in found
        for i in range(1, audio.channels(r.path) + 1)
    ]


def _found(argument: str, folder: Path | None) -> Iterator[tuple[str, Path]]:
    """Yield the paths of recordings, each with that of its transcripts."""
    path = Path(argument)
    if argument == STDIN:
        yield argument, (folder or Path()) / "stdin"
    elif not path.is_dir():
        yield argument, (folder or path.parent) / path.stem
    else:
        names = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not names:
            raise ValueError(f"{path} contains no recordings; expected names that end in .wav, .mp3, .m4a and so on")
        for name in names:
            yield os.fspath(name), (folder / name.parent.relative_to(path) if folder else name.parent) / name.stem
