"""A row of the table: a kernel of a bundle, compiled for one family. Rows go to JSON and come back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

from benchmarks.isa.choices import Chosen
from benchmarks.isa.compiling import compiled
from benchmarks.isa.families import FAMILIES
from benchmarks.isa.figures import Figures, figures


@dataclass(frozen=True)
class Row:
    """family: of GPUs. bundle: its name. kernel ... dispatches: see Chosen. invocations: the most of a dispatch.

    figures: what the compiler made of it; None where it refuses the shader, and then `refused` says why.
    """

    family: str
    bundle: str
    kernel: str
    problem: str
    variant: str
    classes: tuple[str, ...]
    workgroup: tuple[int, ...]
    invocations: int
    dispatches: dict[str, int]
    figures: Figures | None
    refused: str = ""

    @property
    def size(self) -> int:
        """Invocations of a workgroup."""
        return prod(self.workgroup)


def measured(
    bundle: Path, symbols: Mapping[str, int], choices: Iterable[Chosen], family: str, variables: Mapping[str, str]
) -> list[Row]:
    """Each kernel compiled for a family. symbols: the values that launches are sized by."""
    choices = list(choices)
    records = compiled(bundle, [choice.kernel for choice in choices], variables)
    of = FAMILIES[family]

    def row(choice: Chosen) -> Row:
        record = records[choice.kernel]
        refused = record.get("refused", "")
        return Row(
            family,
            bundle.name.removesuffix(".bundle"),
            choice.kernel,
            choice.problem,
            choice.variant,
            choice.classes,
            choice.workgroup,
            choice.invocations(dict(symbols)),
            choice.dispatches,
            None if refused else figures(record, of.driver, of.unit),
            refused,
        )

    return [row(choice) for choice in choices]


def write(rows: Sequence[Row]) -> str:
    """The text of a JSON file, a line for each row."""
    return "[\n" + ",\n".join(json.dumps(asdict(row)) for row in rows) + "\n]\n"


def read(text: str) -> list[Row]:
    """The rows that `write` wrote."""
    return [_row(fields) for fields in json.loads(text)]


def _row(fields: dict[str, Any]) -> Row:
    changed: dict[str, Any] = {key: tuple(fields[key]) for key in ("classes", "workgroup")}
    changed["figures"] = Figures(**fields["figures"]) if fields["figures"] else None
    return Row(**(fields | changed))
