"""The options of a transcription on the command line: the fields of `Options`, with dashes and its descriptions."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any

from intaglio.commands.arguments import real, utf8
from intaglio.runtime.tasks.whisper.options import Options, descriptions

OTHERS = ("language", "task", "temperature", "seed", "vad", "vad_parameters")  # which have forms of their own
FIELDS = [field.name for field in fields(Options) if field.name not in OTHERS]
NAMES = ["language", "task", "vad", "vad_parameter", *FIELDS]
_NONE = object()  # in place of None, which means that an option is not on the command line


def add_arguments(group: argparse._ArgumentGroup) -> None:
    """Add all options but --temperature and --seed."""
    group.add_argument(
        "--language",
        metavar="xx",
        help="the spoken language, such as en, or auto: detected (default: as the export sets it, or auto)",
    )
    group.add_argument("--task", choices=["transcribe", "translate"], help="translate: into English")
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
    helps = descriptions()
    for field in fields(Options):
        if field.name in FIELDS:
            words = helps[field.name].replace("None:", "none:")
            group.add_argument(f"--{field.name.replace('_', '-')}", help=f"{words}{_default(field)}", **_form(field))


def values(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that are on the command line, as `Options` takes them."""
    names = ["language", "task", "vad", *FIELDS, "temperature", "seed"]
    explicit = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.vad_parameter is not None:
        explicit["vad_parameters"] = dict(options.vad_parameter)
    return {name: None if value is _NONE else value for name, value in explicit.items()}


def temperature(text: str) -> float | tuple[float, ...]:
    """A number, or several with commas between them."""
    numbers = tuple(map(float, text.split(",")))
    return numbers[0] if len(numbers) == 1 else numbers


def _default(field: Field[Any]) -> str:
    return "" if field.default is None or isinstance(field.default, bool) else f" (default: {field.default})"


def _form(field: Field[Any]) -> dict[str, Any]:
    """Return the parameters of add_argument for a field, by its type."""
    kind = str(field.type)
    if kind == "bool":
        return {"action": argparse.BooleanOptionalAction}
    if kind.startswith("str"):
        return {"metavar": "N,N,..." if "Sequence" in kind else "TEXT", "type": utf8}
    return (
        {"metavar": "N", "type": _or_none(int)} if kind.startswith("int") else {"metavar": "X", "type": _or_none(float)}
    )


def _or_none(number: type) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        return _NONE if text.lower() == "none" else number(text)

    parse.__name__ = number.__name__  # in argparse's messages
    return parse
