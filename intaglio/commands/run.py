"""run: a bundle on a recording, a prompt, a conversation, texts, or tensors. The input decides which options apply."""

from __future__ import annotations

import argparse
import json
import re
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import intaglio
from intaglio.commands import speech, transcription
from intaglio.commands.arguments import add_adapter, pair, read_array, utf8
from intaglio.commands.chat import Conversation
from intaglio.commands.progress import ProgressLine

SUMMARY = "run a bundle: on a recording, a prompt, a conversation, texts, or tensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", nargs="?", help="the folder of a bundle")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--audio",
        metavar="FILE",
        nargs="+",
        help="recordings to transcribe, or folders of them: WAV, FLAC, MP3, Ogg, WebM and what else libsndfile reads; "
        "M4A, MP4 and others with ffmpeg or PyAV (pip install 'intaglio[media]'); - for standard input",
    )
    source.add_argument("--prompt", metavar="TEXT", type=utf8, help="a text to continue")
    source.add_argument(
        "--chat", action="store_true", default=None, help="chat interactively, one message per line; Ctrl-D quits"
    )
    source.add_argument(
        "--embed",
        metavar="TEXT",
        type=utf8,
        nargs="+",
        help="texts to convert to vectors, printed as a line of JSON each",
    )
    source.add_argument(
        "--classify", metavar="TEXT", type=utf8, help="a text whose labels and probabilities are printed"
    )
    source.add_argument(
        "--input", metavar="NAME=FILE.npy", type=pair, action="append", help="an input tensor (repeat for each)"
    )
    spoken = parser.add_argument_group("with --audio")
    spoken.add_argument("--timestamps", action="store_true", default=None, help="print the times of segments")
    speech.add_arguments(spoken)
    transcription.add_arguments(spoken)
    text = parser.add_argument_group("with --prompt or --chat; --temperature and --seed also with --audio")
    text.add_argument(
        "--max-tokens", metavar="N", type=int, help="stop after N tokens (default: when the context is full)"
    )
    text.add_argument(
        "--temperature",
        metavar="X",
        type=transcription.temperature,
        help="0: always take the likeliest token (default); with --audio also several, such as 0,0.2,0.4: the next "
        "one where a window fails (default there: 0,0.2,0.4,0.6,0.8,1)",
    )
    text.add_argument("--top-k", metavar="N", type=int, help="sample from the N likeliest tokens only")
    text.add_argument(
        "--top-p", metavar="P", type=float, help="sample from the likeliest tokens that together have probability P"
    )
    text.add_argument(
        "--min-p", metavar="P", type=float, help="drop tokens less than P times as likely as the likeliest one"
    )
    text.add_argument(
        "--repetition-penalty", metavar="X", type=float, help="above 1: penalise tokens that already occurred"
    )
    text.add_argument(
        "--recommended",
        action="store_true",
        default=None,
        help="use the sampling options that the model's makers recommend",
    )
    text.add_argument(
        "--seed", metavar="N", type=int, help="make sampling repeatable: the same seed gives the same text"
    )
    text.add_argument(
        "--stop", metavar="TEXT", type=utf8, action="append", help="stop before this text (may be repeated)"
    )
    text.add_argument("--ignore-eos", action="store_true", default=None, help="continue after the model's end token")
    text.add_argument(
        "--logprobs",
        metavar="N",
        type=int,
        help="with --json: log-probabilities of each token and of its N best alternatives",
    )
    text.add_argument(
        "--steps-per-submit", metavar="N", type=int, help="tokens per submit to the adapter (default: measured)"
    )
    talk = parser.add_argument_group("with --chat")
    talk.add_argument("--system", metavar="TEXT", type=utf8, help="the system message: instructions for the model")
    classes = parser.add_argument_group("with --classify")
    classes.add_argument("--pair", metavar="TEXT", type=utf8, help="the second text, for models that compare two")
    tensors = parser.add_argument_group("with --input")
    tensors.add_argument("--program", metavar="NAME", help="the program to run (default: main)")
    tensors.add_argument("--output", metavar="DIR", type=Path, help="write the outputs to this folder as .npy files")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_adapter(parser)


def run(options: argparse.Namespace, progress: ProgressLine) -> int:
    kind = next(kind for kind in _OPTIONS if getattr(options, kind) is not None)
    _check(options, kind)
    bundle = intaglio.load(_bundle(options), progress)
    with warnings.catch_warnings(record=True, action="always", category=UserWarning) as notes:
        status = _RUNS[kind](bundle, options, progress)
    for note in notes:
        print(f"note: {note.message}", file=sys.stderr)
    return status or 0


def _bundle(options: argparse.Namespace) -> str:
    """Return the folder of the bundle, which may also be the last argument, behind recordings or texts."""
    lists = [names for names in (options.audio, options.embed) if names and len(names) > 1]
    if options.bundle is None and not lists:
        options.parser.error("the following arguments are required: BUNDLE")
    return options.bundle or lists[0].pop()


_TEXT = "max_tokens temperature top_k top_p min_p repetition_penalty seed stop ignore_eos logprobs steps_per_submit"
_SPOKEN = (*transcription.NAMES, "temperature", "seed")
_OPTIONS = {
    "audio": ["timestamps", *speech.NAMES, *_SPOKEN],
    "input": ["program", "output"],
    "prompt": [*_TEXT.split(), "recommended"],
    "chat": [*_TEXT.split(), "recommended", "system"],
    "embed": [],
    "classify": ["pair"],
}


def _check(options: argparse.Namespace, kind: str) -> None:
    """Options that belong to another kind of input are an error; they are not ignored."""
    for name in sorted({name for names in _OPTIONS.values() for name in names} - {*_OPTIONS[kind]}):
        if getattr(options, name) is not None:
            kinds = " or ".join(f"--{kind}" for kind, names in _OPTIONS.items() if name in names)
            options.parser.error(f"--{name.replace('_', '-')} works only with {kinds}")
    if options.logprobs is not None and not options.json:
        options.parser.error("--logprobs works only with --json")


def _audio(bundle: intaglio.Bundle, options: argparse.Namespace, progress: ProgressLine) -> int:
    return speech.transcribe(bundle, options, transcription.values(options), progress)


def _prompt(bundle: intaglio.Bundle, options: argparse.Namespace, progress: ProgressLine) -> None:
    stream = bundle.generate(options.prompt, stream=True, **_sampling(bundle, options))
    for piece in stream:
        progress.clear()
        if not options.json:
            print(piece.text, end="", flush=True)
    progress.clear()
    print(json.dumps(asdict(stream.finish()), ensure_ascii=False) if options.json else "")


def _chat(bundle: intaglio.Bundle, options: argparse.Namespace, progress: ProgressLine) -> None:
    Conversation(bundle, options.system, _sampling(bundle, options), progress).hold(options.json)


def _sampling(bundle: intaglio.Bundle, options: argparse.Namespace) -> dict[str, Any]:
    """The options on the command line; with --recommended, also those of the model's makers that they leave open."""
    explicit = {name: value for name in _TEXT.split() if (value := getattr(options, name)) is not None}
    return bundle.sampling | explicit if options.recommended else explicit


def _embed(bundle: intaglio.Bundle, options: argparse.Namespace, progress: ProgressLine) -> None:
    rows = bundle.embed(options.embed)
    progress.clear()
    for row in rows:
        print(json.dumps(row.tolist()))


def _classify(bundle: intaglio.Bundle, options: argparse.Namespace, progress: ProgressLine) -> None:
    labels = bundle.classify(options.classify, options.pair)
    progress.clear()
    if options.json:
        print(json.dumps(labels, ensure_ascii=False))
    else:
        print("\n".join(f"{probability:.4f} {label}" for label, probability in labels.items()))


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
    """Each output as a .npy file, whole or not at all. A bundle's names may not be valid file names."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: re.sub(r"[^\w.-]", "_", name).lstrip(".") or "output" for name in outputs}
    if len(set(files.values())) < len(files):
        files = {name: f"{i}-{file}" for i, (name, file) in enumerate(files.items())}
    for name, file in files.items():
        partial = folder / f"{file}.npy.partial"
        with partial.open("wb") as stream:
            np.save(stream, outputs[name])
        partial.replace(folder / f"{file}.npy")


_RUNS = {
    "audio": _audio,
    "input": _input,
    "prompt": _prompt,
    "chat": _chat,
    "embed": _embed,
    "classify": _classify,
}
