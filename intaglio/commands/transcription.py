"""The options of a transcription, which `run` and `listen` share."""

from __future__ import annotations

import argparse
from typing import Any

from intaglio.commands.arguments import real

NAMES = "language", "task", "timestamps", "vad", "vad_parameter"


def add_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--language",
        metavar="xx",
        help="the spoken language, such as en, or auto: detected (default: as the export sets it, or auto)",
    )
    group.add_argument("--task", choices=["transcribe", "translate"], help="translate: into English")
    group.add_argument(
        "--timestamps",
        action=argparse.BooleanOptionalAction,
        help="let the model set the times of segments, which --json shows (default: for recordings over 30 s)",
    )
    group.add_argument(
        "--vad",
        action=argparse.BooleanOptionalAction,
        help="transcribe only what a detector takes for speech, so that music and silence give no text",
    )
    group.add_argument(
        "--vad-parameter",
        metavar="NAME=X",
        type=real,
        action="append",
        help="with --vad: what counts as speech, such as threshold=0.4 or speech_pad_ms=200 (may be repeated)",
    )


def values(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options by their names in Python."""
    return {
        "language": options.language,
        "task": options.task,
        "timestamps": options.timestamps,
        "vad": bool(options.vad),
        "vad_parameters": dict(options.vad_parameter or ()),
    }
