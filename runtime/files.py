"""The files of a bundle: opened without following links, and compared with the plan's hashes."""

from __future__ import annotations

import hashlib
from io import BufferedReader
from pathlib import Path

from intaglio.runtime.errors import BadBundle
from intaglio.runtime.limits import PIECE
from intaglio.runtime.plan import File, Plan


def verify_file(folder: Path, plan: Plan, name: str, edited: list[str] | None = None) -> bytes:
    """The content of a file of the bundle. Raises BadBundle if the file is missing or its hash differs from the plan.

    With `edited`, a file whose hash differs is accepted and its name appended there.
    """
    with open_file(folder, name) as file:
        content = file.read()
    if name not in plan.files or hashlib.sha256(content).hexdigest() != plan.files[name].sha256:
        if edited is None:
            raise changed(folder / name)
        edited.append(name)
    return content


def open_file(folder: Path, name: str) -> BufferedReader:
    """Open a file of the bundle. Raises BadBundle if it is a link, is missing, or cannot be read."""
    path = folder / name
    if any(
        folder.joinpath(*path.relative_to(folder).parts[: i + 1]).is_symlink() for i in range(len(Path(name).parts))
    ):
        raise BadBundle(f"{path} is a symbolic link; replace it with the file itself")
    if not path.is_file():
        raise BadBundle(f"{path} is missing; compile the model again")
    try:
        return path.open("rb")
    except OSError as e:
        raise BadBundle(f"{path} cannot be read: {e.strerror}") from e


def describe(content: bytes, pieces: bool = False) -> File:
    """What a plan says of a file; `pieces`: with the hash of each, as weight files have them."""
    parts = (content[i : i + PIECE] for i in range(0, len(content), PIECE)) if pieces else ()
    hashes = tuple(hashlib.sha256(part).hexdigest() for part in parts)
    return File(hashlib.sha256(content).hexdigest(), len(content), hashes)


def changed(path: Path) -> BadBundle:
    edited = ", or verify it with --allow-edited" if path.suffix == ".wgsl" else ""
    return BadBundle(f"{path} was changed after compiling (its hash differs); compile the model again{edited}")
