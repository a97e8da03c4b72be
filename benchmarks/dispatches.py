"""Dispatches of a program and of a layer, by class of adapters: `python -m benchmarks.dispatches BUNDLE`.

A layer is what lies between two places where caches are written first, or, in a program without caches, between two
attentions.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from intaglio.runtime import designs_file, plan_file
from intaglio.runtime.adapter_class import CLASSES
from intaglio.runtime.plan import Plan
from intaglio.runtime.tuning import of_class

SYMBOLS = {"new_tokens": 256, "past": 128}


@dataclass(frozen=True)
class Count:
    """Dispatches of a program.

    layer: of the layer that has the most of them; 0 if there are not two layers. rest: of what is outside of layers.
    """

    program: str
    classes: tuple[str, ...]
    dispatches: int
    layers: int
    layer: int

    @property
    def rest(self) -> int:
        return self.dispatches - self.layers * self.layer


def counts(plan: Plan, symbols: Mapping[str, int]) -> Iterator[Count]:
    """Of every program, with the classes that run the same number of dispatches together."""
    values = {name: min(max(low, symbols.get(name, low)), high) for name, (low, high) in plan.symbols.items()}
    for program in plan.programs:
        by_numbers: dict[tuple[int, int, int], list[str]] = {}
        for name in CLASSES:
            by_numbers.setdefault(_numbers(of_class(plan, name), program, values), []).append(name)
        for numbers, classes in by_numbers.items():
            yield Count(program, tuple(classes), *numbers)


def _numbers(plan: Plan, program: str, symbols: Mapping[str, int]) -> tuple[int, int, int]:
    """All dispatches, layers, and dispatches of a layer."""
    begins: dict[str, int] = {}
    attentions: list[int] = []
    count = 0
    for step in plan.programs[program].steps:
        running = step.at(symbols)
        for cache in (plan.buffers[b].name for b in step.buffers if _is_cache(plan.buffers[b].name)):
            begins.setdefault(cache, count)
        if running[0].kernel.startswith("attention"):
            attentions.append(count)
        count += len(running)
    places = sorted(begins.values()) or attentions
    return count, len(places), max((b - a for a, b in pairwise(places)), default=0)


def _is_cache(name: str) -> bool:
    return re.fullmatch(r"self\.\d+\.key", name) is not None


def table(rows: Iterable[tuple[str, Count]]) -> str:
    """As Markdown. rows: the names of bundles, and counts."""
    lines = ["| model | program | classes | dispatches | layers | a layer | rest |", "|---" * 7 + "|"]
    for name, row in rows:
        classes = "all" if set(row.classes) == set(CLASSES) else ", ".join(row.classes)
        numbers = (
            f"{row.dispatches} | {row.layers} | {row.layer} | {row.rest}" if row.layer else f"{row.dispatches} | | |"
        )
        lines.append(f"| {name} | {row.program} | {classes} | {numbers} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dispatches", description=(__doc__ or "").partition(":")[0]
    )
    parser.add_argument("bundles", metavar="BUNDLE", nargs="+", type=Path)
    parser.add_argument("--program", metavar="NAME", help="only this program, such as step")
    parser.add_argument("--set", metavar="SYMBOL=VALUE", nargs="+", default=[], help="sizes, such as past=1000 drawn=1")
    options = parser.parse_args()
    own = {name: int(value) for name, value in (pair.split("=") for pair in options.set)}
    rows = [
        (folder.stem, count)
        for folder in options.bundles
        for count in counts(designs_file.read(folder, plan_file.read(folder)), SYMBOLS | own)
        if options.program in (None, count.program)
    ]
    print(table(rows))


if __name__ == "__main__":
    main()
