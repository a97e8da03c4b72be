"""tune: the fastest variant of each kernel on this machine's adapter, for `compile --tuning`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import intaglio
from intaglio.commands import save
from intaglio.commands.arguments import add_adapter
from intaglio.commands.progress import ProgressLine
from intaglio.text import printable, table

if TYPE_CHECKING:
    from intaglio.runtime.instruments.autotune import Timings


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
    add_adapter(parser)


def run(options: argparse.Namespace, progress: ProgressLine) -> int:
    from intaglio.runtime import tuning
    from intaglio.runtime.instruments import golden
    from intaglio.runtime.instruments.autotune import autotune

    bundle = intaglio.load(options.bundle)
    file = options.output or bundle.folder.with_name(f"{bundle.folder.name}.tuning.json")
    earlier = tuning.read(file) if file.exists() else None
    results = autotune(bundle.folder, bundle.whole_plan, golden.read(bundle.folder, bundle.plan), progress)
    progress.clear()
    measured = results.measured
    if earlier is not None:
        measured = earlier.with_more(measured)
    save(file, tuning.write(measured))
    alternatives = bundle.whole_plan.alternatives
    best = results.measured.tuning(alternatives.values()).variants
    timed = {p: of for p, of in alternatives.items() if p in results.measured.seconds}  # of this class of adapters
    rows = [row for p, of in timed.items() for row in _rows(p, of.variant, best.get(p), results)]
    print("\n".join(map(printable, [f"{measured.device}, {measured.driver}", *table(rows), f"written to {file}"])))
    return 0


def _rows(problem: str, variant: str, best: str | None, results: Timings) -> Iterator[list[str]]:
    """A line for each variant of a problem: its time, and the ratio to the variant that the plan has by default."""
    seconds = results.measured.seconds[problem]
    for i, (name, time) in enumerate(sorted(seconds.items(), key=lambda item: item[1])):
        note = "chosen" if name == best else "default" if name == variant else ""
        yield [problem if i == 0 else "", name, f"{time * 1e6:.0f} µs", f"{time / seconds[variant]:.2f}", note]
    for name in (v for p, v in results.wrong if p == problem):
        yield ["", name, "", "", "results differ here: not used"]
