"""listen: transcribes sound while it is made, from a microphone or a pipe. Ctrl-C ends it with the final text."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import intaglio
from intaglio.commands import transcription
from intaglio.commands.arguments import add_adapter
from intaglio.commands.progress import ProgressLine

if TYPE_CHECKING:
    from intaglio.runtime.audio.live import Source
    from intaglio.runtime.tasks.whisper.live import Heard

SUMMARY = "transcribe speech while it is spoken, from a microphone or a pipe"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder of a bundle of a Whisper")
    source = parser.add_argument_group("input")
    source.add_argument(
        "--input", metavar="FILE", help="a WAV file, or raw samples with --format; - for standard input, such as a pipe"
    )
    source.add_argument(
        "--format", choices=["s16", "s24", "s32", "f32"], help="with --input: raw samples, little-endian, of this type"
    )
    source.add_argument("--rate", metavar="HZ", type=int, help="with --format: the rate (default: 16000)")
    source.add_argument("--channels", metavar="N", type=int, help="with --format: the number of channels (default: 1)")
    source.add_argument("--device", metavar="NAME", help="the microphone, by number or name (default: the system's)")
    parser.add_argument(
        "--interval", metavar="SECONDS", type=float, default=1.0, help="new sound between updates (default: 1)"
    )
    parser.add_argument(
        "--agreement", metavar="N", type=int, default=2, help="updates that agree before text is stable (default: 2)"
    )
    spoken = parser.add_argument_group("transcription")
    transcription.add_arguments(spoken)
    spoken.add_argument(
        "--temperature",
        metavar="X",
        type=transcription.temperature,
        help="0: always take the likeliest token; several, such as 0,0.2: the next one where a window fails",
    )
    spoken.add_argument("--seed", metavar="N", type=int, help="the same seed draws the same text (default: 0)")
    add_adapter(parser)
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each update")


def run(options: argparse.Namespace, progress: ProgressLine) -> int:
    _check(options)
    bundle = intaglio.load(options.bundle, progress)
    source = _source(options)
    updates = bundle.listen(
        source,
        source.rate,
        interval=options.interval,
        agreement=options.agreement,
        **transcription.values(options),
    )
    previous = signal.signal(signal.SIGINT, lambda *_: _stop(source, previous))
    try:
        latencies = [heard.latency for heard in _shown(updates, options.json, progress)]
    finally:
        signal.signal(signal.SIGINT, previous)
    note = f"latency: {statistics.median(latencies):.2f} s (median), {max(latencies):.2f} s (longest)"
    print(f"note: {note}", file=sys.stderr)
    return 0


def _check(options: argparse.Namespace) -> None:
    for name, needed in (("format", "input"), ("rate", "format"), ("channels", "format")):
        if getattr(options, name) is not None and getattr(options, needed) is None:
            options.parser.error(f"--{name} works only with --{needed}")
    if options.device is not None and options.input is not None:
        options.parser.error("--device works only without --input")
    for name in ("rate", "channels"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            options.parser.error(f"--{name} must be 1 or more")


def _source(options: argparse.Namespace) -> Source:
    from intaglio.runtime.audio import live

    if options.input is None:
        device = options.device
        return live.microphone(int(device) if device is not None and device.isdecimal() else device)
    file = sys.stdin.buffer if options.input == "-" else open(options.input, "rb")  # noqa: SIM115, read until the end
    raw = options.format and live.Raw(options.format, options.rate or 16_000, options.channels or 1)
    return live.piped(file, raw or None)


def _stop(source: Source, previous: Any) -> None:
    """End the sound at the first Ctrl-C; the second one ends the program."""
    signal.signal(signal.SIGINT, previous)
    source.stop()


def _shown(updates: Iterator[Heard], as_json: bool, progress: ProgressLine) -> Iterator[Heard]:
    """Yield the updates as they are printed: stable text once, and on a terminal the tail after it for a while.

    If the final text differs from the stable text, it is printed too.
    """
    printed = 0
    for heard in updates:
        progress.clear()
        if as_json:
            print(json.dumps(_values(heard), ensure_ascii=False), flush=True)
        else:
            print(heard.stable[printed:], end="", flush=True)
            printed = len(heard.stable)
            _show_tail(heard.tail.strip(), progress)
        if heard.transcript is not None and not as_json:
            print()
            if heard.text != heard.stable:  # the model changed its mind about stable text
                print(f"\n{heard.text}")
        yield heard


def _values(heard: Heard) -> dict[str, Any]:
    values = asdict(heard)
    return values if heard.transcript is not None else {k: v for k, v in values.items() if k != "transcript"}


def _show_tail(tail: str, progress: ProgressLine) -> None:
    if tail and sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        progress(tail if len(tail) < width else f"…{tail[1 - width :]}", 0, 0)
