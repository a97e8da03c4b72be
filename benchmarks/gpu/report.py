"""The results of a GPU as tables in Markdown, beside the goals."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.gpu.models import LLAMAS
from benchmarks.kernels import MATVEC

OURS, CPU, THEIRS = "intaglio", "intaglio, class cpu", "onnxruntime-webgpu"
Results = Mapping[str, Any]


def markdown(results: Results) -> str:
    parts = [
        f"{results['adapter']}.",
        "\n".join(["| the adapter | |", "|---|---|", *_adapter(results)]),
        "\n".join(
            ["| workload | intaglio | class cpu | onnxruntime-webgpu | × |", "|---" * 5 + "|", *_beside(results)]
        ),
        "\n".join(["| synthetic, 4 bits | keys | a token | tokens/s |", "|---" * 4 + "|", *_llamas(results)]),
        "\n".join(f"- {name}: {of['skipped']}" for name, of in _parts(results) if "skipped" in of),
    ]
    return "\n\n".join(part for part in parts if part)


def _parts(results: Results) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((name, of) for name, of in results.items() if isinstance(of, Mapping))


def _adapter(results: Results) -> Iterator[str]:
    ceilings, micro = results.get("ceilings", {}), results.get("micro", {})
    if "flops" in ceilings:
        yield f"| f32 | {ceilings['flops'] / 1e12:.3g} TFLOP/s |"
        yield f"| copy | {ceilings['bandwidth'] / 1e9:.4g} GB/s |"
    if "dispatch" in micro:
        yield f"| a dispatch that waits for the one before | {micro['dispatch'] * 1e6:.3g} µs |"
        yield f"| recording a dispatch | {micro['encoding'] * 1e6:.3g} µs |"
        yield f"| a matrix read as a buffer | {micro['read buffer'] / 1e9:.4g} GB/s |"
        yield f"| as a texture | {micro['read texture'] / 1e9:.4g} GB/s |"


def _beside(results: Results) -> Iterator[str]:
    keys = results.get(f"smollm2-q4: {OURS}", {}).get("seconds", {})
    for count in keys:
        seconds = [results.get(f"smollm2-q4: {name}", {}).get("seconds", {}).get(count) for name in (OURS, CPU, THEIRS)]
        yield _line(f"SmolLM2 4 bits, a token after {count} keys", seconds)
    for workload in ("encode", "matvec", "matmul"):
        seconds = [_median(results.get(f"{workload}: {name}", {}), workload) for name in (OURS, CPU, THEIRS)]
        yield _line(f"{workload}{_reached(results, workload, seconds[0])}", seconds)


def _median(result: Mapping[str, Any], figure: str) -> float | None:
    walls = [run["wall"] for run in result.get("runs", {}).get(figure, ())]
    return statistics.median(walls) if walls else None


def _reached(results: Results, workload: str, seconds: float | None) -> str:
    """The part of the adapter's ceiling."""
    ceilings, work = results.get("ceilings", {}), results.get(f"{workload}: {OURS}", {}).get("work", {}).get(workload)
    if not (seconds and work and "flops" in ceilings):
        return ""
    operations, moved = work
    share = moved / seconds / ceilings["bandwidth"] if moved else operations / seconds / ceilings["flops"]
    size = f" {MATVEC[0]} x {MATVEC[1]}" if moved else ""
    return f"{size}, {share:.0%} of the ceiling"


def _line(what: str, seconds: list[float | None]) -> str:
    ours, _, theirs = seconds
    ratio = f"{theirs / ours:.2g}" if ours and theirs else "–"
    cells = [f"{s * 1e3:.3g} ms" if s else "–" for s in seconds]
    return f"| {what} | {' | '.join(cells)} | {ratio} |"


def _llamas(results: Results) -> Iterator[str]:
    """A whole model, by the difference of the layers that were measured."""
    for name, (_, layers, (fewer, more)) in LLAMAS.items():
        less, full = (results.get(f"{name}-{n}: {OURS}", {}).get("seconds", {}) for n in (fewer, more))
        for count in less.keys() & full.keys():
            layer = max(full[count] - less[count], 0.0) / (more - fewer)
            seconds = less[count] + layer * (layers - fewer)
            yield f"| {name}, {layers} layers | {count} | {seconds * 1e3:.3g} ms | {1 / seconds:.0f} |"
