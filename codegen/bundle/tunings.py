"""The tunings that a bundle gets: those of given files, then those that Intaglio ships in runtime/tunings."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from intaglio.runtime import tuning
from intaglio.runtime.tuning import Measurements


def given(files: Iterable[str | Path]) -> list[Measurements]:
    """Return the measurements in these files, then the shipped ones. Raises ValueError if a file is not a tuning."""
    return [*(tuning.read(Path(file)) for file in files), *shipped()]


def shipped() -> list[Measurements]:
    """Return the measurements that Intaglio ships, of some common adapters."""
    with resources.as_file(resources.files("intaglio.runtime") / "tunings") as folder:
        return [tuning.read(path) for path in sorted(folder.glob("*.json"))]
