"""The command `run`. What a bundle is run on says what comes out: a recording, a prompt, a conversation, or tensors."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import intaglio
from intaglio.commands.arguments import pair, read_array
from intaglio.commands.chat import Conversation
from intaglio.commands.progress import ProgressLine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--audio", metavar="FILE", help="a WAV or FLAC recording to transcribe")
    source.add_argument("--prompt", metavar="TEXT", help="a text to go on with")
    source.add_argument("--chat", action="store_true", default=None, help="talk: a message a line, Ctrl-D ends")
    source.add_argument("--input", metavar="NAME=FILE.npy", type=pair, action="append", help="an input tensor")
    speech = parser.add_argument_group("with --audio")
    speech.add_argument("--language", metavar="xx", help="the language spoken, such as en (default: detected)")
    speech.add_argument("--task", choices=["transcribe", "translate"], help="translate is into English")
    speech.add_argument(
        "--timestamps",
        action=argparse.BooleanOptionalAction,
        help="segments by the model's own times, shown by --json (default: for recordings longer than 30 s)",
    )
    text = parser.add_argument_group("with --prompt or --chat")
    text.add_argument("--max-tokens", metavar="N", type=int, help="end after so many tokens (default: a full context)")
    text.add_argument("--temperature", metavar="X", type=float, help="0: the likeliest token each time (default)")
    text.add_argument("--top-k", metavar="N", type=int, help="draw from the N likeliest tokens only")
    text.add_argument("--top-p", metavar="P", type=float, help="from the likeliest that have this probability together")
    text.add_argument("--min-p", metavar="P", type=float, help="from those so likely, compared with the likeliest")
    text.add_argument("--repetition-penalty", metavar="X", type=float, help="above 1: say less what was said before")
    text.add_argument("--recommended", action="store_true", default=None, help="sample as the model's makers recommend")
    text.add_argument("--seed", metavar="N", type=int, help="draw the same text each time")
    text.add_argument("--stop", metavar="TEXT", action="append", help="end before this text (may be repeated)")
    text.add_argument("--ignore-eos", action="store_true", default=None, help="go on after the model's end token")
    text.add_argument("--logprobs", metavar="N", type=int, help="with --json: probabilities, and N alternatives")
    text.add_argument("--steps-per-submit", metavar="N", type=int, help="tokens at a time (default: as measured)")
    talk = parser.add_argument_group("with --chat")
    talk.add_argument("--system", metavar="TEXT", help="what the model is told first")
    tensors = parser.add_argument_group("with --input")
    tensors.add_argument("--program", metavar="NAME", help="which program to run (default: main)")
    tensors.add_argument("--output", metavar="DIR", type=Path, help="write the outputs to this folder, as .npy files")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace, progress: ProgressLine) -> int:
    kind = next(kind for kind in _OPTIONS if getattr(options, kind) is not None)
    _check(options, kind)
    bundle = intaglio.load(options.bundle, progress)
    {"audio": _audio, "input": _input, "prompt": _prompt, "chat": _chat}[kind](bundle, options, progress)
    return 0


_TEXT = "max_tokens temperature top_k top_p min_p repetition_penalty seed stop ignore_eos logprobs steps_per_submit"
_OPTIONS = {
    "audio": ["language", "task", "timestamps"],
    "input": ["program", "output"],
    "prompt": [*_TEXT.split(), "recommended"],
    "chat": [*_TEXT.split(), "recommended", "system"],
}


def _check(options: argparse.Namespace, kind: str) -> None:
    """Options of another kind of run are an error, not ignored."""
    for name in sorted({name for names in _OPTIONS.values() for name in names} - {*_OPTIONS[kind]}):
        if getattr(options, name) is not None:
            kinds = " or ".join(f"--{kind}" for kind, names in _OPTIONS.items() if name in names)
            options.parser.error(f"--{name.replace('_', '-')}: only with {kinds}")
    if options.logprobs is not None and not options.json:
        options.parser.error("--logprobs: only with --json")


def _audio(bundle: intaglio.Bundle, options: argparse.Namespace, progress: ProgressLine) -> None:
    transcript = bundle.transcribe(
        options.audio, language=options.language, task=options.task or "transcribe", timestamps=options.timestamps
    )
    progress.clear()
    print(json.dumps(asdict(transcript), ensure_ascii=False) if options.json else transcript.text)


def _prompt(bundle: intaglio.Bundle, options: argparse.Namespace, progress: ProgressLine) -> None:
    stream = bundle.generate(options.prompt, stream=True, **_sampling(bundle, options))
    for piece in stream:
        progress.clear()
        if not options.json:
            print(piece.text, end="", flush=True)
    progress.clear()
    print(json.dumps(asdict(stream.result), ensure_ascii=False) if options.json else "")


def _chat(bundle: intaglio.Bundle, options: argparse.Namespace, progress: ProgressLine) -> None:
    Conversation(bundle, options.system, _sampling(bundle, options), progress).hold(options.json)


def _sampling(bundle: intaglio.Bundle, options: argparse.Namespace) -> dict[str, Any]:
    """The options that were given, over those that the model's makers recommend, if these are wanted."""
    given = {name: value for name in _TEXT.split() if (value := getattr(options, name)) is not None}
    return bundle.sampling | given if options.recommended else given


def _input(bundle: intaglio.Bundle, options: argparse.Namespace, progress: ProgressLine) -> None:
    inputs = {name: read_array(path) for name, path in options.input}
    outputs = bundle.run(inputs, options.program or "main")
    progress.clear()
    if options.output is not None:
        _save(outputs, options.output)
    if options.json:
        print(json.dumps({name: array.tolist() for name, array in outputs.items()}))
    else:
        for name, array in outputs.items():
            print(f"{name}: {array.dtype}{list(array.shape)}")
            if options.output is None:
                print(np.array2string(array, threshold=100, edgeitems=3))


def _save(outputs: dict[str, np.ndarray], folder: Path) -> None:
    """Each output as a .npy file, whole or not at all. Names come from the bundle, so they may be no file names."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: re.sub(r"[^\w.-]", "_", name).lstrip(".") or "output" for name in outputs}
    if len(set(files.values())) < len(files):
        files = {name: f"{i}-{file}" for i, (name, file) in enumerate(files.items())}
    for name, file in files.items():
        beside = folder / f"{file}.npy.partial"
        with beside.open("wb") as stream:
            np.save(stream, outputs[name])
        beside.replace(folder / f"{file}.npy")
