"""The command line. Results go to standard output; progress and errors, one line each, to standard error.

Exit status: 0; 1 when something failed; 2 for a wrong call; 130 when interrupted; 141 when the reader went away.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

import intaglio
from intaglio import inspect, run
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
    bundle = intaglio.compile(
        options.model,
        options.output,
        bind=dict(options.bind),
        quantize=options.quantize,
        precision=options.precision,
        keep_head=options.keep_head,
        max_length=options.max_length,
        dump=options.dump,
        verbose=options.verbose,
        say=progress,
    )
    progress.clear()
    for note in bundle.report["notes"]:
        print(f"note: {note}", file=sys.stderr)
    print(f"{options.output}: {inspect.summary(bundle)}", file=sys.stderr)
    return 0


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
        help="fix a named dimension (a number), let it vary (1..64), or fix an input (a number or a .npy file)",
    )
    p.add_argument("--quantize", choices=["q8", "q4"], help="pack the weights in 8 or 4 bits, in groups of 32")
    p.add_argument("--keep-head", action="store_true", help="except those of the output layer")
    p.add_argument(
        "--precision", choices=["f32", "f16"], default="f32", help="of caches, and of weights that are not quantized"
    )
    p.add_argument("--max-length", metavar="N", type=int, help="tokens that a language model has room for")
    p.add_argument("--dump", metavar="DIR", help="write the graph after each pass to this folder")
    p.add_argument("-v", "--verbose", action="store_true", help="print what each pass did")

    run.add_arguments(command("run", run.run, "run a bundle: on a recording, a prompt, a conversation, or tensors"))

    p = command("inspect", _inspect, "show what a bundle is made of")
    p.add_argument("bundle", metavar="BUNDLE")
    p.add_argument("--kernel", metavar="NAME", help="print the WGSL of this kernel")

    p = command("verify", _verify, "check a bundle's golden values on this machine's adapter")
    p.add_argument("bundle", metavar="BUNDLE")

    command("operators", _operators, "print which operators of ONNX compile, and how")
    command("device", _device, "show this machine's adapters")
    return parser


def _binding(text: str) -> tuple[str, Any]:
    name, value = run.pair(text)
    if re.fullmatch(r"[+-]?\d+", value):
        return name, int(value)
    if ends := re.fullmatch(r"(\d+)\.\.(\d+)", value):
        return name, range(int(ends[1]), int(ends[2]) + 1)
    if value.endswith(".npy"):
        try:
            return name, run.read_array(value)
        except (ValueError, OSError) as error:
            raise argparse.ArgumentTypeError(_line(error)) from error
    raise argparse.ArgumentTypeError(f"{value!r} is neither a whole number, a range such as 1..64, nor a .npy file")


if __name__ == "__main__":
    sys.exit(main())
