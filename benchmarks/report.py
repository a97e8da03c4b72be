"""What the measurements say: medians, ratios, whether engines agree; as a table in Markdown, and as a chart."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

OURS = "intaglio"
FIGURES = {
    ("encode", "encode"): "tiny.en encoder, a window of 30 s",
    ("transcribe", "transcribe"): "tiny.en, 11 s of speech to tokens",
    ("transcribe", "token"): "tiny.en, a token",
    ("smollm2-f32", "prefill"): "SmolLM2 f32, prompt of 128 tokens",
    ("smollm2-f32", "decode"): "SmolLM2 f32, a token",
    ("smollm2-q4", "prefill"): "SmolLM2 4 bits, prompt of 128 tokens",
    ("smollm2-q4", "decode"): "SmolLM2 4 bits, a token",
    ("matmul", "matmul"): "product of two square f32 matrices",
    ("matvec", "matvec"): "f16 vector times 16384 x 4096 matrix",
}
STARTS = {
    "transcribe": "tiny.en, start to first text",
    "smollm2-f32": "SmolLM2 f32, start to first token",
    "smollm2-q4": "SmolLM2 4 bits, start to first token",
}


@dataclass(frozen=True)
class Row:
    """A figure of an engine: medians in seconds, and how often ours would fit into them."""

    what: str
    engine: str
    wall: float
    cpu: float
    wall_ratio: float
    cpu_ratio: float


Results = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]  # workload -> engine -> a result for each round


def rows(results: Results) -> list[Row]:
    """Every figure of every engine that has it, ours first."""
    found = []
    for (workload, figure), what in FIGURES.items():
        found += _compared(what, _runs(results.get(workload, {}), figure))
    for workload, what in STARTS.items():
        starts = {engine: [r["start"] for r in of] for engine, of in results.get(workload, {}).items()}
        found += _compared(what, starts)
    return found


def _runs(engines: Mapping[str, Sequence[Mapping[str, Any]]], figure: str) -> dict[str, list[Mapping[str, float]]]:
    return {name: [run for r in of for run in r["runs"].get(figure, ())] for name, of in engines.items()}


def _compared(what: str, runs: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Row]:
    medians = {
        engine: tuple(statistics.median(run[kind] for run in of) for kind in ("wall", "cpu"))
        for engine, of in runs.items()
        if of
    }
    wall, cpu = medians.get(OURS, (float("nan"), float("nan")))
    return [Row(what, name, w, c, w / wall, c / cpu if cpu else float("nan")) for name, (w, c) in medians.items()]


def peaks(results: Results) -> dict[str, dict[str, float]]:
    """MiB of memory that each engine's process took at most, by workload; medians of the rounds."""
    return {
        workload: {name: statistics.median(r["peak"] for r in of) / 2**20 for name, of in engines.items() if of}
        for workload, engines in results.items()
    }


def disagreements(
    results: Results, numbers: Mapping[tuple[str, str], np.ndarray], tolerances: Mapping[str, float]
) -> list[str]:
    """Where an engine says something else than ours: other tokens, or numbers that differ by more than the tolerance.

    numbers: what is to be compared, by workload and engine. Workloads without a tolerance are not to be compared.
    """
    found = []
    for workload, tolerance in tolerances.items():
        engines = results.get(workload, {})
        if workload in results and not engines.get(OURS):
            found.append(f"{workload}: there is no result of {OURS}")
            continue
        for name, of in engines.items():
            if name == OURS or not of:
                continue
            if of[0]["tokens"][:2] != engines[OURS][0]["tokens"][:2]:  # the first run, and a counted one
                found.append(f"{workload}: {name} gives other tokens than {OURS}")
            pair = [numbers.get((workload, engine)) for engine in (name, OURS)]
            if all(array is not None for array in pair):
                difference = float(np.abs(pair[0].reshape(-1) - pair[1].reshape(-1)).max())
                if not difference <= tolerance:
                    found.append(f"{workload}: {name} differs from {OURS} by {difference:.2g}, more than {tolerance}")
    return found


def table(rows: Sequence[Row]) -> str:
    """In Markdown. The ratio says how many times as long as ours an engine takes."""
    lines = ["| | engine | wall | CPU | × wall | × CPU |", "|---|---|---|---|---|---|"]
    before = ""
    for row in rows:
        what, before = ("" if row.what == before else row.what), row.what
        ratios = f"{row.wall_ratio:.2g} | {row.cpu_ratio:.2g}" if row.engine != OURS else "|"
        lines.append(f"| {what} | {row.engine} | {_time(row.wall)} | {_time(row.cpu)} | {ratios} |")
    return "\n".join(lines)


def memory(peaks: Mapping[str, Mapping[str, float]]) -> str:
    engines = list(dict.fromkeys(name for of in peaks.values() for name in of))
    lines = ["| peak MiB | " + " | ".join(engines) + " |", "|---" * (len(engines) + 1) + "|"]
    for workload, of in peaks.items():
        lines.append(f"| {workload} | " + " | ".join(f"{of[e]:.0f}" if e in of else "–" for e in engines) + " |")
    return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def summary(rows: Sequence[Row], peaks: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    return {"rows": [asdict(row) for row in rows], "peak_mib": peaks}


def chart(rows: Sequence[Row], title: str, file: Path) -> None:
    """Bars of wall time beside ours, on a logarithmic scale. Raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    whats = list(dict.fromkeys(row.what for row in rows))[::-1]
    engines = list(dict.fromkeys(row.engine for row in rows))
    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.28 * len(whats) * len(engines)))
    height = 0.8 / len(engines)
    for i, engine in enumerate(engines):
        of = {row.what: row for row in rows if row.engine == engine}
        at = [j + 0.4 - (i + 0.5) * height for j, what in enumerate(whats) if what in of]
        lengths = [of[what].wall_ratio for what in whats if what in of]
        bars = axes.barh(at, lengths, height=height * 0.9, label=engine)
        axes.bar_label(bars, [_time(of[what].wall) for what in whats if what in of], padding=3, fontsize=7)
    axes.set_yticks(range(len(whats)), whats, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("wall time beside intaglio's (less is better)")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.margins(x=0.15)
    axes.set_title(title, fontsize=9)
    axes.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(file, dpi=110)
