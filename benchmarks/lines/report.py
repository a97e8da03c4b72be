"""The use of memory lines as a table, and what of it is a fault."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.isa.choices import CPU, Chosen
from benchmarks.lines.count import GRANULES, Granule, Lines, Use, of_weights

HALF = 0.5  # the part of the lines of weights that a kernel of a GPU's profile reads, at least
Counts = Sequence[tuple[Chosen, Sequence[Use]]]


def wasteful(counts: Counts) -> list[str]:
    """A line for each kernel of a GPU's profile that wastes more than half of the lines of its weights."""
    return [
        f"{chosen.kernel} ({chosen.variant or 'its only variant'}), of {', '.join(chosen.classes)}: "
        f"{share:.0%} of the lines of its weights are read, by warps of {warp} in lines of {line} bytes"
        for chosen, uses in counts
        if set(chosen.classes) - {CPU}
        for (warp, line), share in of_weights(uses).items()
        if share < HALF
    ]


def table(counts: Counts) -> str:
    """Percent of the lines' bytes that are read: of each binding, and of all weights together.

    A cell is about the loads of an iteration together, and in brackets about each load alone, where that differs.
    """
    titles = [f"{warp} × {line} B" for warp, line in GRANULES]
    lines = [f"| kernel | variant | binding | {' | '.join(titles)} |", "|---" * (3 + len(titles)) + "|"]
    for chosen, uses in counts:
        head = f"| {chosen.kernel} | {chosen.variant or '–'} |"
        lines += [f"{head} {use.binding}{' (weight)' * use.weight} | {_cells(use)} |" for use in uses]
        if sum(use.weight for use in uses) > 1:
            lines.append(f"{head} all weights | {_percents(of_weights(uses).values())} |")
    return "\n".join(lines)


def _cells(use: Use) -> str:
    pairs = zip(_shares(use.together), _shares(use.alone), strict=True)
    return " | ".join(_percent(t) if _percent(t) == _percent(a) else f"{_percent(t)} ({_percent(a)})" for t, a in pairs)


def _shares(lines: Mapping[Granule, Lines]) -> Iterable[float]:
    return [lines[granule].share for granule in GRANULES]


def _percents(shares: Iterable[float]) -> str:
    return " | ".join(map(_percent, shares))


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"
