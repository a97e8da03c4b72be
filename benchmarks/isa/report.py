"""The figures of all kernels in Markdown, a line for each kernel, and as a chart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.isa.choices import CPU
from benchmarks.isa.figures import Figures
from benchmarks.isa.rows import Row

# Title of a column -> the figure of a family.
COLUMNS: dict[str, Callable[[Figures], object]] = {
    "wave": lambda f: f.wave,
    "VGPRs": lambda f: f.registers,
    "spilled": lambda f: f.spilled,
    "occupancy": lambda f: None if f.occupancy is None else round(f.occupancy),
    "VALU": lambda f: f.alu,
    "VMEM": lambda f: f.memory,
    "LDS": lambda f: f.shared,
    "code KB": lambda f: None if f.code is None else f"{f.code / 1e3:.1f}",
    "s": lambda f: f"{f.seconds:.3f}",
}
_SHOWN = 60  # kernels of a chart: those with the most registers


def markdown(rows: Sequence[Row]) -> str:
    """A table for each family and bundle."""
    parts = []
    for family, bundle in dict.fromkeys((row.family, row.bundle) for row in rows):
        own = [row for row in rows if (row.family, row.bundle) == (family, bundle)]
        parts += [f"### {bundle} on {family}", table(own), totals(own)]
    return "\n\n".join(parts)


def table(rows: Sequence[Row]) -> str:
    titles = ["kernel", "variant", "classes", "workgroup", "invocations", *COLUMNS]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    return "\n".join(lines + [f"| {' | '.join(_cells(row))} |" for row in rows])


def _cells(row: Row) -> list[str]:
    size = "x".join(str(n) for n in row.workgroup if n > 1) or "1"
    head = [row.kernel, row.variant or "–", ", ".join(row.classes) or "–", size, f"{row.invocations:,}"]
    if row.figures is None:
        return [*head, f"refused: {row.refused}", *[""] * (len(COLUMNS) - 1)]
    return [*head, *("–" if (cell := column(row.figures)) is None else str(cell) for column in COLUMNS.values())]


def totals(rows: Sequence[Row]) -> str:
    """How many of the kernels that run by default spill, and so on."""
    compiled = [(row, row.figures) for row in rows if row.figures]
    spilling = sum(f.spilled > 0 for _, f in compiled)
    uneven = sum(row.size % 32 > 0 for row, _ in compiled)
    of_gpus = [f for row, f in compiled if set(row.classes) - {CPU}]
    slowest, row = max((f.seconds, row.kernel) for row, f in compiled)
    return (
        f"{len(compiled)} kernels: {spilling} spill, {uneven} have workgroups that are not a multiple of 32. "
        f"GPUs run {len(of_gpus)} of them, of which {sum(f.spilled > 0 for f in of_gpus)} spill. "
        f"Compiling takes {sum(f.seconds for _, f in compiled):.1f} s, of which {row} takes {slowest:.2f} s."
    )


def compared(before: Sequence[Row], after: Sequence[Row]) -> str:
    """What GPUs ran for each problem before, and what they run now: registers / spilled / occupancy of each variant."""
    lines = ["| family | problem | before | after |", "|---|---|---|---|"]
    for family, problem in dict.fromkeys((row.family, row.problem) for row in after if row.problem):
        cells = [_variants(rows, family, problem) for rows in (before, after)]
        lines.append(f"| {family} | {problem} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _variants(rows: Sequence[Row], family: str, problem: str) -> str:
    """Of the GPUs' profiles, or of the processor's where there were none."""
    own = [row for row in rows if (row.family, row.problem) == (family, problem) and row.classes]
    own = [row for row in own if set(row.classes) - {CPU}] or own
    cells = [f"{row.variant} {f.registers} / {f.spilled} / {f.occupancy or 0:g}" for row in own if (f := row.figures)]
    return ", ".join(dict.fromkeys(cells)) or "–"


def chart(rows: Sequence[Row], file: Path) -> None:
    """Registers of the kernels that use the most, a bar for each family, and what each spills. Raises ImportError
    without matplotlib.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    families = list(dict.fromkeys(row.family for row in rows))
    figures = {(row.family, row.bundle, row.kernel): row.figures for row in rows if row.figures}
    kernels = sorted({key[1:] for key in figures}, key=lambda kernel: _most(figures, families, kernel))[-_SHOWN:]
    figure, axes = pyplot.subplots(figsize=(10, 1 + 0.22 * len(kernels)), layout="constrained")
    height = 0.8 / len(families)
    for i, family in enumerate(families):
        places = [place - 0.4 + height * (i + 0.5) for place in range(len(kernels))]
        own = [figures.get((family, *kernel)) for kernel in kernels]
        bars = axes.barh(places, [f.registers or 0 if f else 0 for f in own], height, label=family)
        spilled = [f"{f.spilled:,} spilled" if f and f.spilled else "" for f in own]
        axes.bar_label(bars, spilled, padding=3, fontsize=6, color="firebrick")
    axes.set_yticks(range(len(kernels)), [f"{bundle}: {kernel}" for bundle, kernel in kernels], fontsize=6)
    axes.set_xlabel("vector registers of a lane (fewer let more waves run)")
    axes.margins(x=0.2, y=0.01)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def _most(
    figures: dict[tuple[str, str, str], Figures], families: list[str], kernel: tuple[str, str]
) -> tuple[int, int]:
    own = [f for family in families if (f := figures.get((family, *kernel)))]
    return max(f.spilled for f in own), max(f.registers or 0 for f in own)
