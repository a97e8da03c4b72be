"""Types of command-line options (NAME=VALUE and arrays in files), and errors as one line."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_ADAPTER = "INTAGLIO_ADAPTER"
_SIZE = r"(?:\d+(?:\.\.\d+)?|\?)"


def add_adapter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--adapter",
        metavar="ADAPTER",
        help="the adapter to run on: an index of the list of `intaglio device`, or a part of a name "
        f"(default: ${_ADAPTER}, or the best one)",
    )


@contextmanager
def on_adapter(name: str | None) -> Iterator[None]:
    """Run what is inside, and the processes that it starts, on this adapter. None: as the environment says."""
    before = os.environ.get(_ADAPTER)
    if name is not None:
        os.environ[_ADAPTER] = name
    try:
        yield
    finally:
        if name is not None:
            os.environ.pop(_ADAPTER)
            os.environ.update({} if before is None else {_ADAPTER: before})


def read_array(path: str) -> np.ndarray:
    """The array in a .npy file. Raises ValueError if it is not one."""
    try:
        content = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a .npy file: {error}") from error
    if not isinstance(content, np.ndarray):
        raise ValueError(f"{path} holds several arrays; expected a .npy file with one")
    return content


def utf8(argument: str) -> str:
    """A text, whatever encoding the locale has."""
    try:
        return os.fsencode(argument).decode()
    except UnicodeError:
        raise argparse.ArgumentTypeError("expected text in UTF-8; convert it with iconv -t utf-8") from None


def pair(text: str) -> tuple[str, str]:
    """NAME=VALUE."""
    name, _, value = text.partition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def binding(text: str) -> tuple[str, Any]:
    """NAME=NUMBER, NAME=LOW..HIGH (both included), NAME=1x?x64 (a shape) or NAME=FILE.npy, whose array is read."""
    name, value = pair(text)
    if re.fullmatch(r"[+-]?\d+", value):
        return name, int(value)
    if re.fullmatch(r"[+-]?\d*\.\d+(e[+-]?\d+)?", value):
        return name, float(value)
    if re.fullmatch(rf"{_SIZE}(x{_SIZE})*", value):
        first, *others = map(_size, value.split("x"))
        return name, (first, *others) if others or first is None else first
    if value.endswith(".npy"):
        try:
            return name, read_array(value)
        except (ValueError, OSError) as error:
            raise argparse.ArgumentTypeError(one_line(error)) from error
    raise argparse.ArgumentTypeError(
        f"expected a number, a range such as 1..64, a shape such as 1x?x64 or a .npy file, got {value!r}"
    )


def _size(text: str) -> int | range | None:
    """A size of a shape; None for one that stays free."""
    low, _, high = text.partition("..")
    return None if text == "?" else range(int(low), int(high) + 1) if high else int(low)


def whole(text: str) -> tuple[str, int]:
    """NAME=NUMBER."""
    name, value = pair(text)
    if not re.fullmatch(r"\d+", value):
        raise argparse.ArgumentTypeError(f"expected an integer that is not negative, got {value!r}")
    return name, int(value)


def real(text: str) -> tuple[str, float]:
    """NAME=NUMBER, with or without a fraction."""
    name, value = pair(text)
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME=NUMBER, got {text!r}") from None


def one_line(error: Exception) -> str:
    """The message of an error, without line breaks."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or ("out of memory" if isinstance(error, MemoryError) else type(error).__name__)
