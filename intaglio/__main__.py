"""The command line. Results go to standard output; progress and errors, one line each, to standard error.

Exit status: 0; 1 when something failed; 2 for a wrong call; 130 when interrupted; 141 when the reader went away.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import intaglio
from intaglio import inspect
from intaglio.progress import Progress

FAILED, INTERRUPTED, BROKEN_PIPE = 1, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = _parser().parse_args(arguments)
    progress = Progress(sys.stderr)
    try:
        status = options.command(options, progress)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        progress.clear()
        print("intaglio: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # What is left in the buffer has nowhere to go; let the interpreter not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if not _expected(error):
            raise
        progress.clear()
        print(f"intaglio: {_line(error)}", file=sys.stderr)
        return FAILED
    finally:
        progress.clear()


def _expected(error: Exception) -> bool:
    """Whether the error is about what the user gave us or the machine we are on, and not a mistake of ours."""
    if isinstance(error, ValueError | OSError | MemoryError | intaglio.NoCompiler):
        return True
    device, wgpu = sys.modules.get("intaglio.runtime.device"), sys.modules.get("wgpu")
    return device is not None and isinstance(error, (device.NoAdapter, device.DeviceLimit, wgpu.GPUError))


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or ("out of memory" if isinstance(error, MemoryError) else type(error).__name__)


# the commands


def _compile(options: argparse.Namespace, progress: Progress) -> int:
    bind = dict(options.bind)
    bundle = intaglio.compile(
        options.model, options.output, bind=bind, dump=options.dump, verbose=options.verbose, say=progress
    )
    progress.clear()
    print(f"{options.output}: {inspect.summary(bundle)}", file=sys.stderr)
    return 0


def _run(options: argparse.Namespace, progress: Progress) -> int:
    _check_run(options)
    bundle = intaglio.load(options.bundle, progress)
    if options.audio is None:
        return _run_program(bundle, options, progress)
    transcript = bundle.transcribe(
        options.audio, language=options.language, task=options.task or "transcribe", timestamps=options.timestamps
    )
    progress.clear()
    print(json.dumps(asdict(transcript), ensure_ascii=False) if options.json else transcript.text)
    return 0


def _run_program(bundle: intaglio.Bundle, options: argparse.Namespace, progress: Progress) -> int:
    inputs = {name: _array(path) for name, path in options.input}
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
    return 0


def _array(path: str) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no .npy file: {error}") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} holds several arrays; a .npy file with one is wanted")
    return array


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


def _inspect(options: argparse.Namespace, progress: Progress) -> int:
    bundle = intaglio.load(options.bundle)
    print(inspect.shader(bundle, options.kernel) if options.kernel else inspect.describe(bundle))
    return 0


def _verify(options: argparse.Namespace, progress: Progress) -> int:
    results = intaglio.load(options.bundle, progress).verify()
    progress.clear()
    for r in results:
        verdict = "ok  " if r.passed else "FAIL"
        print(
            f"{verdict} {r.check} {r.program} {r.output}: error {r.error:.2g} of {r.tolerance:.2g} in {r.count} values"
        )
        if not r.passed:
            print(f"     at {list(r.index)}: {r.value:.9g}, expected {r.expected:.9g}")
    failed = sum(not r.passed for r in results)
    if failed or not results:
        what = f"{failed} of {len(results)} outputs are wrong" if results else "the bundle holds no golden values"
        raise ValueError(f"{options.bundle}: {what}")
    return 0


def _operators(options: argparse.Namespace, progress: Progress) -> int:
    print(intaglio.operators(), end="")
    return 0


def _device(options: argparse.Namespace, progress: Progress) -> int:
    from intaglio.runtime import device

    missing = None
    try:
        chosen = dict(device.choose().info)
    except device.NoAdapter as error:
        chosen, missing = {}, error
    for adapter in device.adapters():
        print(inspect.describe_adapter(adapter, "used" if adapter.info == chosen else "not used"))
    if missing is not None:
        raise missing
    return 0


# the arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="intaglio", description="ONNX Whisper and language models, compiled to WGSL.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help)
        added.set_defaults(command=run, parser=added)
        return added

    p = command("compile", _compile, "compile a model into a bundle")
    p.add_argument("model", metavar="MODEL", help="a .onnx file, or a folder as exporters leave it")
    p.add_argument("-o", "--output", metavar="BUNDLE", required=True, help="the folder to write; a bundle is replaced")
    p.add_argument(
        "--bind",
        metavar="NAME=VALUE",
        type=_binding,
        action="append",
        default=[],
        help="fix a named dimension, or an input (a number or a .npy file)",
    )
    p.add_argument("--dump", metavar="DIR", help="write the graph after each pass to this folder")
    p.add_argument("-v", "--verbose", action="store_true", help="print what each pass did")

    p = command("run", _run, "run a bundle: on a recording, or on tensors")
    p.add_argument("bundle", metavar="BUNDLE")
    source = p.add_mutually_exclusive_group(required=True)
    source.add_argument("--audio", metavar="FILE", help="a WAV or FLAC recording to transcribe")
    source.add_argument("--input", metavar="NAME=FILE.npy", type=_pair, action="append", help="an input tensor")
    speech = p.add_argument_group("with --audio")
    speech.add_argument("--language", metavar="xx", help="the language spoken, such as en (default: detected)")
    speech.add_argument("--task", choices=["transcribe", "translate"], help="translate is into English")
    speech.add_argument(
        "--timestamps",
        action=argparse.BooleanOptionalAction,
        help="segments by the model's own times, shown by --json (default: for recordings longer than 30 s)",
    )
    tensors = p.add_argument_group("with --input")
    tensors.add_argument("--program", metavar="NAME", help="which program to run (default: main)")
    tensors.add_argument("--output", metavar="DIR", type=Path, help="write the outputs to this folder, as .npy files")
    p.add_argument("--json", action="store_true", help="print JSON")

    p = command("inspect", _inspect, "show what a bundle is made of")
    p.add_argument("bundle", metavar="BUNDLE")
    p.add_argument("--kernel", metavar="NAME", help="print the WGSL of this kernel")

    p = command("verify", _verify, "check a bundle's golden values on this machine's adapter")
    p.add_argument("bundle", metavar="BUNDLE")

    command("operators", _operators, "print which operators of ONNX compile, and how")
    command("device", _device, "show this machine's adapters")
    return parser


def _check_run(options: argparse.Namespace) -> None:
    """Options of the other kind of run are an error, not ignored."""
    others, kind = ("language task timestamps", "--audio") if options.audio is None else ("program output", "--input")
    wrong = [f"--{name}" for name in others.split() if getattr(options, name) is not None]
    if wrong:
        options.parser.error(f"{', '.join(wrong)}: only with {kind}")


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def _binding(text: str) -> tuple[str, Any]:
    name, value = _pair(text)
    if re.fullmatch(r"[+-]?\d+", value):
        return name, int(value)
    if value.endswith(".npy"):
        try:
            return name, _array(value)
        except (ValueError, OSError) as error:
            raise argparse.ArgumentTypeError(_line(error)) from error
    raise argparse.ArgumentTypeError(f"{value!r} is neither a whole number nor a .npy file")


if __name__ == "__main__":
    sys.exit(main())
