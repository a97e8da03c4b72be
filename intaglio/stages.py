"""Stages: long work in parts, of which each takes a share of the time, so that it is known how much of all is left."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile

from intaglio.runtime.progress import Progress

# Shares of the time that compiling takes, in the order of its stages: SmolLM2 on two cores.
COMPILING = {
    "reading": 10,
    "golden values": 10,
    "passes": 18,
    "caches": 6,
    "kernels": 10,
    "weights": 28,
    "checkpoints": 18,
}
# With fewer bits golden values are computed of the packed weights. What is measured before and after is the accuracy.
PACKING = {
    "reading": 3,
    "passes": 8,
    "accuracy before": 17,
    "packing": 35,
    "accuracy after": 15,
    "caches": 2,
    "kernels": 4,
    "weights": 6,
    "checkpoints": 10,
}
_IN_BYTES = frozenset({"packing", "weights"})


class Stages:
    """A progress that takes the name of a stage, how much of it is done and how much there is, and reports to another:
    the stage with that in words, "kernels (12 of 96)", and how much of all stages is done.

    Stages begin in the order of `shares`. What is reported of an earlier one, or of another name, is left out.
    """

    def __init__(self, progress: Progress, shares: Mapping[str, int]) -> None:
        self._progress, self._shares = progress, shares
        self._done = 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._shares:
            return
        before = sum(self._shares[s] for s in takewhile(lambda s: s != stage, self._shares))
        # In thousandths, because a total is counted in whole numbers.
        at = 1000 * before + (1000 * self._shares[stage] * done // total if total else 0)
        if at >= self._done:
            self._done = at
            self._progress(f"{stage}{_amount(stage, done, total)}", at, 1000 * sum(self._shares.values()))


def _amount(stage: str, done: int, total: int) -> str:
    if not total:
        return ""
    return f" ({done / 1e6:.0f} of {total / 1e6:.0f} MB)" if stage in _IN_BYTES else f" ({done} of {total})"
