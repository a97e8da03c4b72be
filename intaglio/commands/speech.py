"""What `run --audio` does: transcribes recordings, and writes what was said.

One transcript goes to standard output. Several, or several formats, go to files. A recording that cannot be read does
not stop the others.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intaglio.commands import recordings
from intaglio.commands.arguments import one_line
from intaglio.commands.progress import ProgressLine
from intaglio.commands.recordings import Recording
from intaglio.runtime.tasks.whisper.formats import FORMATS, Lines, clock

if TYPE_CHECKING:
    import intaglio
    from intaglio.runtime.tasks.whisper.transcript import Segment, Transcript

_LINES = [field.name for field in fields(Lines)]
NAMES = [*recordings.NAMES, "format", "output_dir", *_LINES]


def add_arguments(group: argparse._ArgumentGroup) -> None:
    recordings.add_arguments(group)
    group.add_argument(
        "--format",
        metavar="FORMAT",
        nargs="+",
        type=formats,
        help=f"what to write: {', '.join(FORMATS)}; several go to files, whose names end in them",
    )
    group.add_argument(
        "--output-dir",
        metavar="DIR",
        type=Path,
        help="write transcripts to files in this folder (default: those of several recordings are beside them)",
    )
    group.add_argument("--max-line-width", metavar="N", type=int, help="characters of a line of subtitles")
    group.add_argument("--max-line-count", metavar="N", type=int, help="lines of a subtitle")
    group.add_argument("--max-words-per-line", metavar="N", type=int, help="words of a subtitle")
    group.add_argument(
        "--highlight-words", action="store_true", default=None, help="underline each word of subtitles as it is spoken"
    )


def formats(text: str) -> list[str]:
    """Names of formats, with commas between them."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"{name!r} is not a format; expected {', '.join(FORMATS)}")
    return names


def transcribe(
    bundle: intaglio.Bundle, options: argparse.Namespace, values: dict[str, Any], progress: ProgressLine
) -> int:
    """Transcribe what `--audio` names; return the exit status. values: the options of a transcription in Python."""
    output = _Output(options)
    found = recordings.recordings(options.audio, options.output_dir, options.channel)
    part = {"offset": options.offset or 0.0, "duration": options.duration}
    if output.needs_words:
        values = {**values, "word_timestamps": True}
    output.several = len(found) > 1
    failed = False
    for recording in found:
        try:
            with warnings.catch_warnings(record=True, action="always", category=UserWarning) as notes:
                segments = bundle.transcribe(recording.path, channel=recording.channel, stream=True, **part, **values)
                for segment in segments:
                    output.show(segment, progress)
                transcript = segments.finish()
            progress.clear()
            output.put(transcript, recording, [str(note.message) for note in notes])
        except (ValueError, OSError) as error:
            if not output.several:
                raise
            progress.clear()
            print(f"intaglio: {recording.name}: {one_line(error)}", file=sys.stderr)
            failed = True
    return int(failed)


class _Output:
    """Where transcripts go, and in which formats. several: whether there are several recordings."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._formats = list(dict.fromkeys(name for names in options.format or [] for name in names))
        self._lines = Lines(**{name: value for name in _LINES if (value := getattr(options, name)) is not None})
        self._folder, self._json, self._times = options.output_dir, options.json, options.timestamps
        self.several = False
        if self._json and (self._formats or self._folder):
            options.parser.error("--json prints to standard output; write files with --format json")

    @property
    def needs_words(self) -> bool:
        """Whether the lines of subtitles need the times of words."""
        return self._lines.need_words

    @property
    def _to_files(self) -> bool:
        return self._folder is not None or self.several or len(self._formats) > 1

    def show(self, segment: Segment, progress: ProgressLine) -> None:
        """Print a segment as soon as it is heard, with times, or without them on a terminal."""
        if self._json or self._formats or self._to_files:
            return
        if self._times:
            progress.clear()
            print(f"[{clock(segment.start)} --> {clock(segment.end)}] {segment.text}", flush=True)
        elif sys.stdout.isatty():
            progress.clear()
            print(segment.text, flush=True)

    def put(self, transcript: Transcript, recording: Recording, notes: Sequence[str]) -> None:
        """Write a transcript and what there is to say about it."""
        if self._json:
            print(json.dumps(self._values(transcript, recording, notes), ensure_ascii=False), flush=True)
        elif self._to_files:
            self._write(transcript, recording)
        elif self._formats:
            print(FORMATS[self._formats[0]](transcript, self._lines), end="")
        elif not self._times and not sys.stdout.isatty():
            print(transcript.text)
        for note in notes:
            print(f"note: {f'{recording.name}: ' if self.several else ''}{note}", file=sys.stderr)

    def _values(self, transcript: Transcript, recording: Recording, notes: Sequence[str]) -> dict[str, Any]:
        """Return the transcript as JSON has it, with its notes and, of several recordings, where it comes from."""
        channel = {} if recording.channel is None else {"channel": recording.channel}
        origin = {"file": recording.path} | channel if self.several else {}
        return origin | asdict(transcript) | {"notes": list(notes)}

    def _write(self, transcript: Transcript, recording: Recording) -> None:
        """Write the files of a transcript, each whole or not at all, and print their paths."""
        recording.target.parent.mkdir(parents=True, exist_ok=True)
        for name in self._formats or ["txt"]:
            path = recording.target.with_name(f"{recording.target.name}.{name}")
            partial = path.with_name(f"{path.name}.partial")
            partial.write_text(FORMATS[name](transcript, self._lines), encoding="utf-8")
            partial.replace(path)
            print(path, flush=True)
