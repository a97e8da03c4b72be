"""The use of memory lines and banks as tables, and what of it is a fault."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.isa.choices import CPU, Chosen
from benchmarks.lines.banks import Turns
from benchmarks.lines.count import GRANULES, Granule, Lines, Use, of_weights

HALF = 0.5  # the part of the lines of weights that a kernel of a GPU's profile reads, at least
TURNS = 2.0  # that an access of a kernel of a GPU's profile to workgroup memory takes, at most, on average


@dataclass(frozen=True)
class Count:
    """How a kernel uses the lines of bindings, and the banks of workgroup memory."""

    chosen: Chosen
    uses: Sequence[Use]
    turns: Sequence[Turns]

    @property
    def of_gpus(self) -> bool:
        return bool(set(self.chosen.classes) - {CPU})

    @property
    def name(self) -> str:
        variant, classes = self.chosen.variant or "its only variant", ", ".join(self.chosen.classes)
        return f"{self.chosen.kernel} ({variant}), of {classes}"


Counts = Sequence[Count]


def wasteful(counts: Counts) -> list[str]:
    """A line for each kernel of a GPU's profile that wastes more than half of the lines of its weights."""
    return [
        f"{count.name}: {share:.0%} of the lines of its weights are read, by warps of {warp} in lines of {line} bytes"
        for count in counts
        if count.of_gpus
        for (warp, line), share in of_weights(count.uses).items()
        if share < HALF
    ]


def conflicting(counts: Counts) -> list[str]:
    """A line for each array in workgroup memory whose accesses, in a kernel of a GPU's profile, wait for each other."""
    return [
        f"{count.name}: an access to {turns.array} takes {turns.average:.1f} turns, and up to {turns.most}"
        for count in counts
        if count.of_gpus
        for turns in count.turns
        if turns.average > TURNS
    ]


def banks_table(counts: Counts) -> str:
    """Turns that an access to each array in workgroup memory takes; kernels without such arrays are left out."""
    lines = ["| kernel | variant | array | turns of an access | most |", "|---" * 5 + "|"]
    for count in counts:
        head = f"| {count.chosen.kernel} | {count.chosen.variant or '–'} |"
        lines += [f"{head} {turns.array} | {turns.average:.2f} | {turns.most} |" for turns in count.turns]
    return "\n".join(lines)


def table(counts: Counts) -> str:
    """Percent of the lines' bytes that are read: of each binding, and of all weights together.

    A cell is about the loads of an iteration together, and in brackets about each load alone, where that differs.
    """
    titles = [f"{warp} × {line} B" for warp, line in GRANULES]
    lines = [f"| kernel | variant | binding | {' | '.join(titles)} |", "|---" * (3 + len(titles)) + "|"]
    for count in counts:
        chosen, uses = count.chosen, count.uses
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
