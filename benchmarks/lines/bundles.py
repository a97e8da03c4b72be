"""How the heavy kernels of a bundle, those that have variants, use memory lines and banks."""

from __future__ import annotations

from pathlib import Path

from benchmarks.isa import choices
from benchmarks.lines import banks, report
from benchmarks.lines.count import traced, used
from intaglio.runtime import designs_file, plan_file


def counts(bundle: Path, classes: list[str], every: bool) -> report.Counts:
    """Of the kernels that these classes of adapters run; every class by default, and every variant on request."""
    plan = designs_file.read(bundle, plan_file.read(bundle))
    chosen = choices.choices(bundle, plan, classes or choices.classes(plan), every)
    traces = ((each, traced(bundle, plan, each.kernel, each.buffers, each.grids[0])) for each in chosen if each.problem)
    return [report.Count(each, used(trace), banks.turns(trace)) for each, trace in traces]
