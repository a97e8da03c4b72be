"""operators: the table of ONNX operators that the compiler supports, as docs/operators.md has it."""

from __future__ import annotations

import argparse

import intaglio
from intaglio.commands.progress import ProgressLine

SUMMARY = "print which ONNX operators are supported, and how each is compiled"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This command has no options."""


def run(options: argparse.Namespace, progress: ProgressLine) -> int:
    print(intaglio.operators(), end="")
    return 0
