"""The command line. Results go to standard output; progress and errors, one line each, to standard error.

Exit status: 0; 1 when something failed; 2 for a wrong call; 130 when interrupted; 141 when the reader went away.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import intaglio
from intaglio.commands import bench, describe, diff, run, tune, verify
from intaglio.commands.arguments import binding, one_line
from intaglio.commands.describe import printable
from intaglio.commands.progress import ProgressLine
from intaglio.runtime.errors import DeviceLimit, NoAdapter
from intaglio.runtime.instruments import profile as profiles

FAILED, INTERRUPTED, BROKEN_PIPE = 1, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = _parser().parse_args(arguments)
    progress = ProgressLine(sys.stderr)
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
        print(f"intaglio: {one_line(error)}", file=sys.stderr)
        return FAILED
    finally:
        progress.clear()


def _expected(error: Exception) -> bool:
    """Whether the error is about what the user gave us or the machine we are on, and not a mistake of ours."""
    if isinstance(error, ValueError | OSError | MemoryError | intaglio.NoCompiler | NoAdapter | DeviceLimit):
        return True
    wgpu = sys.modules.get("wgpu")  # importing it takes long, and who raised its errors has done so
    return wgpu is not None and isinstance(error, wgpu.GPUError)


# the commands


def _compile(options: argparse.Namespace, progress: ProgressLine) -> int:
    if options.explain is not None:
        text = intaglio.explain(
            options.model, options.explain, bind=dict(options.bind), max_length=options.max_length, say=progress
        )
        progress.clear()
        print(printable(text))
        return 0
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
        tuning=options.tuning,
        say=progress,
    )
    progress.clear()
    for note in bundle.report["notes"]:
        print(f"note: {note}", file=sys.stderr)
    print(f"{options.output}: {describe.summary(bundle)}", file=sys.stderr)
    return 0


def _inspect(options: argparse.Namespace, progress: ProgressLine) -> int:
    bundle = intaglio.load(options.bundle)
    if options.html is not None:
        from intaglio import page

        profile = profiles.read(options.profile, bundle.plan) if options.profile else None
        page.write(bundle, options.html, profile)
        print(f"{options.html}: {describe.size(options.html.stat().st_size)}")
        return 0
    print(describe.shader(bundle, options.kernel) if options.kernel else describe.describe(bundle))
    return 0


def _operators(options: argparse.Namespace, progress: ProgressLine) -> int:
    print(intaglio.operators(), end="")
    return 0


def _device(options: argparse.Namespace, progress: ProgressLine) -> int:
    from intaglio.runtime import device

    missing = None
    try:
        chosen = dict(device.choose().info)
    except device.NoAdapter as error:
        chosen, missing = {}, error
    for adapter in device.adapters():
        print(describe.describe_adapter(adapter, "used" if adapter.info == chosen else "not used"))
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
    purpose = p.add_mutually_exclusive_group(required=True)
    purpose.add_argument("-o", "--output", metavar="BUNDLE", help="the folder to write; a bundle is replaced")
    purpose.add_argument("--explain", metavar="RULE", help="write nothing; say why this rule did not fire")
    p.add_argument(
        "--bind",
        metavar="NAME=VALUE",
        type=binding,
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
    p.add_argument(
        "--tuning", metavar="FILE", action="append", default=[], help="what `intaglio tune` found on an adapter"
    )
    p.add_argument("--dump", metavar="DIR", help="write the graph after each pass to this folder")
    p.add_argument("-v", "--verbose", action="store_true", help="print what each pass did")

    run.add_arguments(command("run", run.run, "run a bundle: on a recording, a prompt, a conversation, or tensors"))

    p = command("inspect", _inspect, "show what a bundle is made of")
    p.add_argument("bundle", metavar="BUNDLE")
    what = p.add_mutually_exclusive_group()
    what.add_argument("--kernel", metavar="NAME", help="print the WGSL of this kernel")
    what.add_argument("--html", metavar="FILE", type=Path, help="write all of it as a page for a browser")
    p.add_argument("--profile", metavar="FILE", type=Path, help="with --html: times from `bench --save`")

    p = command("verify", verify.run, "check on this machine's adapter what a bundle computes, step by step if need be")
    verify.add_arguments(p)

    bench.add_arguments(command("bench", bench.run, "time a bundle on this machine's adapter"))
    tune.add_arguments(command("tune", tune.run, "find the fastest variant of each kernel on this machine's adapter"))
    diff.add_arguments(
        command("diff", diff.run, "compare two bundles: operators, kernels, dispatches, precision, bytes")
    )

    command("operators", _operators, "print which operators of ONNX compile, and how")
    command("device", _device, "show this machine's adapters")
    return parser


def command_line() -> NoReturn:
    """Run the command of this process, and end it."""
    status = main()
    if status == INTERRUPTED:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(status)  # at once: wgpu waits for what the adapter has left to do, be it compiling for seconds
    sys.exit(status)


if __name__ == "__main__":
    command_line()
