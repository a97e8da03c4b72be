"""`python -m benchmarks.lines BUNDLE ...`: which part of the memory lines that loads touch is read.

A cell has percents for the loads of an iteration together, and in brackets for each load alone where that is less.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.isa import choices
from benchmarks.lines import report
from benchmarks.lines.count import counted
from intaglio.runtime import designs_file, plan_file


def counts(bundle: Path, classes: list[str], every: bool) -> report.Counts:
    """Of the kernels that do heavy work: those that have variants."""
    plan = designs_file.read(bundle, plan_file.read(bundle))
    chosen = choices.choices(bundle, plan, classes or choices.classes(plan), every)
    return [(each, counted(bundle, plan, each.kernel, each.buffers, each.grids[0])) for each in chosen if each.problem]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lines", description=__doc__)
    parser.add_argument("bundles", metavar="BUNDLE", nargs="+", type=Path)
    parser.add_argument("--classes", nargs="+", metavar="CLASS", help="classes of adapters (default: all)")
    parser.add_argument("--all", action="store_true", help="add the variants that no class runs")
    options = parser.parse_args()
    for bundle in options.bundles:
        print(f"### {bundle.name}\n\n{report.table(counts(bundle, options.classes, options.all))}\n")


if __name__ == "__main__":
    main()
