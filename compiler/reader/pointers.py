"""Git LFS pointers: the few lines that Git leaves in the place of a large file that was not fetched."""

from __future__ import annotations

from pathlib import Path

from intaglio.compiler.ir.errors import BadModel

_FIRST = b"version https://git-lfs"


def refuse_pointer(path: Path) -> None:
    """Raise BadModel if the file is a pointer."""
    with path.open("rb") as file:
        if file.read(len(_FIRST)) == _FIRST:
            raise BadModel(f"{path} is a Git LFS pointer, not the file itself; type `git lfs pull` in its folder")
