"""Tunings that bundles get: of the files that are given, then of those that were measured here, in tuning/."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from intaglio.runtime import tuning
from intaglio.runtime.tuning import Measurements


def given(files: Iterable[str | Path]) -> list[Measurements]:
    """What these files say, and what is known without them. Raises ValueError for what is no tuning file."""
    return [*(tuning.read(Path(file)) for file in files), *shipped()]


def shipped() -> list[Measurements]:
    """What was measured on some adapters that many have."""
    with resources.as_file(resources.files("intaglio.runtime") / "tunings") as folder:
        return [tuning.read(path) for path in sorted(folder.glob("*.json"))]
