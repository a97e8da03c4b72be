"""tune: which design of each kernel is the fastest on this machine's adapter, for `compile --tuning`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import intaglio
from intaglio.commands import save
from intaglio.commands.describe import printable, table
from intaglio.commands.progress import ProgressLine

if TYPE_CHECKING:
    from intaglio.runtime.instruments.autotune import Trials


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="the tuning file to write, or to add to (BUNDLE.tuning.json)"
    )


def run(options: argparse.Namespace, progress: ProgressLine) -> int:
    from intaglio.runtime import tuning
    from intaglio.runtime.instruments.autotune import trials
    from intaglio.runtime.instruments.verify import golden

    bundle = intaglio.load(options.bundle)
    file = options.output or bundle.folder.with_name(f"{bundle.folder.name}.tuning.json")
    known = tuning.read(file) if file.exists() else None
    found = trials(bundle.folder, bundle.plan, golden(bundle.folder, bundle.plan), progress)
    progress.clear()
    measured = found.measured
    if known is not None:
        measured = known.with_more(measured)
    save(file, tuning.write(measured))
    choices = {s.choice.case: s.choice for p in bundle.plan.programs.values() for s in p.steps if s.choice}
    best = found.measured.tuning(choices.values()).choices
    rows = [row for case, choice in choices.items() for row in _rows(case, choice.design, best.get(case), found)]
    print("\n".join(map(printable, [f"{measured.device}, {measured.driver}", *table(rows), f"written to {file}"])))
    return 0


def _rows(case: str, design: str, best: str | None, found: Trials) -> Iterator[list[str]]:
    """A line for each design of a case: its time, and that beside the time of the design that steps have."""
    seconds = found.measured.seconds[case]
    for i, (name, time) in enumerate(sorted(seconds.items(), key=lambda item: item[1])):
        note = "chosen" if name == best else "as compiled" if name == design else ""
        yield [case if i == 0 else "", name, f"{time * 1e6:.0f} µs", f"{time / seconds[design]:.2f}", note]
    for name in (d for c, d in found.wrong if c == case):
        yield ["", name, "", "", "computes something else here, and is left out"]
