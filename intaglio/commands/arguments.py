"""What the options of commands are made of, and what is said where one is wrong."""

from __future__ import annotations

import argparse
import re
from typing import Any

import numpy as np


def read_array(path: str) -> np.ndarray:
    """The array in a .npy file. Raises ValueError."""
    try:
        content = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no .npy file: {error}") from error
    if not isinstance(content, np.ndarray):
        raise ValueError(f"{path} holds several arrays; a .npy file with one is wanted")
    return content


def pair(text: str) -> tuple[str, str]:
    """NAME=VALUE."""
    name, _, value = text.partition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def binding(text: str) -> tuple[str, Any]:
    """NAME=NUMBER, NAME=LOW..HIGH or NAME=FILE.npy, the file read."""
    name, value = pair(text)
    if re.fullmatch(r"[+-]?\d+", value):
        return name, int(value)
    if ends := re.fullmatch(r"(\d+)\.\.(\d+)", value):
        return name, range(int(ends[1]), int(ends[2]) + 1)
    if value.endswith(".npy"):
        try:
            return name, read_array(value)
        except (ValueError, OSError) as error:
            raise argparse.ArgumentTypeError(one_line(error)) from error
    raise argparse.ArgumentTypeError(f"{value!r} is neither a whole number, a range such as 1..64, nor a .npy file")


def whole(text: str) -> tuple[str, int]:
    """NAME=NUMBER."""
    name, value = pair(text)
    if not re.fullmatch(r"\d+", value):
        raise argparse.ArgumentTypeError(f"{value!r} is no whole number")
    return name, int(value)


def one_line(error: Exception) -> str:
    """What is wrong, without line breaks."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or ("out of memory" if isinstance(error, MemoryError) else type(error).__name__)
