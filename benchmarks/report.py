"""What the measurements say: medians, ratios, shares of what the adapter can do; in Markdown, and as a chart.

`python -m benchmarks.report results.json` prints the tables once more.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OURS = "intaglio"
FIGURES = {
    ("encode", "encode"): "tiny.en encoder, a window of 30 s",
    ("transcribe", "transcribe"): "tiny.en, 11 s of speech to tokens",
    ("transcribe", "token"): "tiny.en, a token",
    ("dictate", "dictate"): "tiny.en, ten minutes of speech",
    ("smollm2-f32", "prefill"): "SmolLM2 f32, prompt of 128 tokens",
    ("smollm2-f32", "decode"): "SmolLM2 f32, a token",
    ("smollm2-q4", "prefill"): "SmolLM2 4 bits, prompt of 128 tokens",
    ("smollm2-q4", "decode"): "SmolLM2 4 bits, a token",
    ("matmul", "matmul"): "product of two square f32 matrices",
    ("matvec", "matvec"): "f16 vector times 16384 x 4096 matrix",
}
USER = "`intaglio run`"
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


@dataclass(frozen=True)
class Share:
    """What a product reaches: unit is "GFLOP/s" or "GB/s", share the part of the adapter's ceiling."""

    what: str
    engine: str
    reached: float
    unit: str
    share: float


Result = Mapping[str, Any]
Results = Mapping[str, Mapping[str, Sequence[Result]]]  # workload -> engine -> a result for each round


def rows(results: Results, cold: Mapping[str, Mapping[str, Result]]) -> list[Row]:
    """Every figure of every engine that has it, ours first. cold: workload -> engine -> the round with empty caches."""
    result = []
    for (workload, figure), what in FIGURES.items():
        result += _compared(what, _runs(results.get(workload, {}), figure))
    for workload, what in STARTS.items():
        starts = {engine: [r["start"] for r in of] for engine, of in results.get(workload, {}).items()}
        result += _compared(what, starts)
        first = {engine: [start["start"]] for engine, start in cold.get(workload, {}).items()}
        result += _compared(f"{what}, cold", first)
    return result


def shares(results: Results, flops: float, bandwidth: float) -> list[Share]:
    """Of engines on the adapter. A product that must read its weights is held to bandwidth, others to arithmetic."""
    result = []
    for (workload, figure), what in FIGURES.items():
        for engine, of in results.get(workload, {}).items():
            runs = [run["wall"] for r in of for run in r["runs"].get(figure, ())]
            if not runs or figure not in of[0]["work"] or of[0]["adapter"] == "CPU":
                continue
            operations, bytes_ = of[0]["work"][figure]
            done, most, unit = (bytes_, bandwidth, "GB/s") if bytes_ else (operations, flops, "GFLOP/s")
            speed = done / statistics.median(runs)
            result.append(Share(what, engine, speed / 1e9, unit, speed / most))
    return result


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
    """Peak memory of each engine's process in MiB, by workload; medians of the rounds."""
    return {
        workload: {name: statistics.median(r["peak"] for r in of) / 2**20 for name, of in engines.items() if of}
        for workload, engines in results.items()
    }


def table(rows: Sequence[Row]) -> str:
    """In Markdown. The ratio says how many times as long as ours an engine takes."""
    lines = ["| | engine | wall | CPU | × wall | × CPU |", "|---|---|---|---|---|---|"]
    before = ""
    for row in rows:
        what, before = ("" if row.what == before else row.what), row.what
        ratios = f"{row.wall_ratio:.2g} | {row.cpu_ratio:.2g}" if row.engine != OURS else "|"
        lines.append(f"| {what} | {row.engine} | {_time(row.wall)} | {_time(row.cpu)} | {ratios} |")
    return "\n".join(lines)


def share_table(shares: Sequence[Share]) -> str:
    lines = ["| | engine | reached | of the ceiling |", "|---|---|---|---|"]
    lines += [f"| {s.what} | {s.engine} | {s.reached:.3g} {s.unit} | {100 * s.share:.0f} % |" for s in shares]
    return "\n".join(lines)


def memory(peaks: Mapping[str, Mapping[str, float]], user: Mapping[str, Mapping[str, float]]) -> str:
    """user: workload -> what `intaglio run` took, as a user starts it."""
    engines = list(dict.fromkeys(name for of in peaks.values() for name in of))
    lines = ["| peak MiB | " + " | ".join([*engines, USER]) + " |", "|---" * (len(engines) + 2) + "|"]
    for workload, of in peaks.items():
        cells = [f"{of[e]:.0f}" if e in of else "–" for e in engines]
        cells.append(f"{user[workload]['peak'] / 2**20:.0f}" if workload in user else "–")
        lines.append(f"| {workload} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def divergence_table(divergences: Mapping[str, float]) -> str:
    lines = ["| SmolLM2 4 bits | nats from f32 |", "|---|---|"]
    return "\n".join(lines + [f"| {engine} | {nats:.3f} |" for engine, nats in divergences.items()])


def ran(results: Results) -> str:
    """Which engines ran, on what."""
    last = {engine: of[-1] for engines in results.values() for engine, of in engines.items() if of}
    return "Ran: " + "; ".join(f"{name} {r['version']} ({r['adapter']})" for name, r in last.items()) + "."


def left_out(skipped: Mapping[str, Mapping[str, str]]) -> str:
    """A line for each engine and reason, with the workloads that it is the reason for."""
    workloads: dict[tuple[str, str], list[str]] = {}
    for workload, engines in skipped.items():
        for engine, why in engines.items():
            workloads.setdefault((engine, why), []).append(workload)
    return "\n".join(f"- left out: {e}: {', '.join(of)}: {why}" for (e, why), of in workloads.items())


def markdown(run: Mapping[str, Any]) -> str:
    """Everything that results.json holds, as benchmarks/README.md shows it."""
    results, ceilings = run["results"], run["ceilings"]
    portions = shares(results, **ceilings)
    limits = f"{ceilings['flops'] / 1e9:.3g} GFLOP/s in f32, {ceilings['bandwidth'] / 1e9:.3g} GB/s copied"
    parts = [
        f"{run['adapter']}. {ran(results)}",
        table(rows(results, run["cold"])),
        f"The adapter's ceilings: {limits}." if portions else "",
        share_table(portions) if portions else "",
        memory(peaks(results), run["user"]),
        divergence_table(run["divergences"]) if run["divergences"] else "",
        left_out(run["skipped"]),
        "\n".join(run["disagreements"]) or "All engines agree.",
    ]
    return "\n\n".join(part for part in parts if part)


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def chart(rows: Sequence[Row], title: str, file: Path) -> None:
    """Bars of wall time beside ours, on a logarithmic scale. Raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    engines = list(dict.fromkeys(row.engine for row in rows))
    colours = dict(zip(engines, pyplot.get_cmap("tab10").colors, strict=False))
    figure, axes = pyplot.subplots(figsize=(9, 1.5 + 0.16 * len(rows)), layout="constrained")
    groups = [[row for row in rows if row.what == what] for what in dict.fromkeys(row.what for row in rows)]
    middles, at = [], 0.0
    for group in groups:
        places = [at - i for i in range(len(group))]
        bars = axes.barh(places, [row.wall_ratio for row in group], color=[colours[row.engine] for row in group])
        axes.bar_label(bars, [_time(row.wall) for row in group], padding=3, fontsize=7)
        middles.append(statistics.mean(places))
        at -= len(group) + 1
    whats = [group[0].what for group in groups]
    axes.set_yticks(middles, whats, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("wall time beside intaglio's (less is better)")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.margins(x=0.15, y=0.01)
    axes.set_title(title, fontsize=9)
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colours[engine]) for engine in engines]
    figure.legend(handles, engines, fontsize=8, loc="outside lower center", ncols=4)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))
