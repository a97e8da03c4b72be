"""tune: the fastest variant of each kernel on this machine's adapter, for `compile --tuning`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import intaglio
from intaglio.commands import save
from intaglio.commands.progress import ProgressLine
from intaglio.text import printable, table

if TYPE_CHECKING:
    from intaglio.runtime.instruments.autotune import Trials


SUMMARY = "find the fastest variant of each kernel on this machine's adapter"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder of a bundle")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="the tuning file to write; new times are added to an existing one (default: BUNDLE.tuning.json)",
    )


def run(options: argparse.Namespace, progress: ProgressLine) -> int:
    from intaglio.runtime import tuning
    from intaglio.runtime.instruments.autotune import trials
    from intaglio.runtime.instruments.verify import golden

    bundle = intaglio.load(options.bundle)
    file = options.output or bundle.folder.with_name(f"{bundle.folder.name}.tuning.json")
    earlier = tuning.read(file) if file.exists() else None
    results = trials(bundle.folder, bundle.plan, golden(bundle.folder, bundle.plan), progress)
    progress.clear()
    measured = results.measured
    if earlier is not None:
        measured = earlier.with_more(measured)
    save(file, tuning.write(measured))
    choices = {s.choice.case: s.choice for p in bundle.plan.programs.values() for s in p.steps if s.choice}
    best = results.measured.tuning(choices.values()).choices
    rows = [row for case, choice in choices.items() for row in _rows(case, choice.design, best.get(case), results)]
    print("\n".join(map(printable, [f"{measured.device}, {measured.driver}", *table(rows), f"written to {file}"])))
    return 0


def _rows(case: str, design: str, best: str | None, results: Trials) -> Iterator[list[str]]:
    """A line for each variant of a problem: its time, and the ratio to the variant that the plan has by default."""
    seconds = results.measured.seconds[case]
    for i, (name, time) in enumerate(sorted(seconds.items(), key=lambda item: item[1])):
        note = "chosen" if name == best else "default" if name == design else ""
        yield [case if i == 0 else "", name, f"{time * 1e6:.0f} µs", f"{time / seconds[design]:.2f}", note]
    for name in (d for c, d in results.wrong if c == case):
        yield ["", name, "", "", "results differ here: not used"]
