"""The command line: parses arguments and calls a command. Results go to standard output, progress and errors to stderr.

Exit status: 0 success; 1 failure, with one line on stderr; 2 wrong arguments; 130 interrupted; 141 the reader of
standard output went away.
"""

from __future__ import annotations

import argparse
import codecs
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import numpy as np

import intaglio
from intaglio.commands import (
    bench,
    compile,
    device,
    diff,
    inspect,
    languages,
    listen,
    operators,
    run,
    serve,
    tune,
    verify,
)
from intaglio.commands.arguments import on_adapter, one_line
from intaglio.commands.progress import ProgressLine
from intaglio.runtime.errors import DeviceLimit, DeviceLost, NoAdapter, UnknownAdapter

FAILED, WRONG_ARGUMENTS, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141
COMMANDS = (compile, run, serve, listen, languages, inspect, verify, bench, tune, diff, operators, device)


@np.errstate(all="ignore")  # what overflows is infinity, as IEEE 754 says; numpy would warn
def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = parser().parse_args(arguments)
    progress = ProgressLine(sys.stderr)
    try:
        with on_adapter(getattr(options, "adapter", None)):
            status = options.command(options, progress)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        progress.clear()
        print("intaglio: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads the rest of the buffer; without this the interpreter would complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if not _is_expected(error):
            raise
        progress.clear()
        print(f"intaglio: {one_line(error)}", file=sys.stderr)
        return WRONG_ARGUMENTS if isinstance(error, UnknownAdapter) else FAILED
    finally:
        progress.clear()


def _is_expected(error: Exception) -> bool:
    """Whether the cause is the user's input or the machine. Anything else is our mistake and keeps its traceback."""
    if isinstance(
        error, ValueError | OSError | MemoryError | intaglio.NoCompiler | NoAdapter | DeviceLimit | DeviceLost
    ):
        return True
    wgpu = sys.modules.get("wgpu")
    return wgpu is not None and isinstance(error, wgpu.GPUError)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        prog="intaglio", description="Compiles ONNX exports of Whisper and of language models to WGSL, and runs them."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS:
        name = module.__name__.rpartition(".")[2]
        command = commands.add_parser(
            name, help=module.SUMMARY, description=f"{module.SUMMARY[0].upper()}{module.SUMMARY[1:]}."
        )
        command.set_defaults(command=module.run, parser=command)
        module.add_arguments(command)
    return top


def command_line() -> NoReturn:
    """Run the command of this process, and end it."""
    _speak_utf8()
    status = main()
    if status == INTERRUPTED:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(status)  # at once: otherwise wgpu waits until the adapter is idle, which can take seconds
    sys.exit(status)


def _speak_utf8() -> None:
    """Texts are UTF-8, also where the locale is C and says ASCII. What is not UTF-8 is refused where it is read."""
    handlers = {sys.stdin: "surrogateescape", sys.stdout: "backslashreplace", sys.stderr: "backslashreplace"}
    for stream, errors in handlers.items():
        if isinstance(stream, io.TextIOWrapper):
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding="utf-8" if ascii_only else stream.encoding, errors=errors)


if __name__ == "__main__":
    command_line()
