"""The pace of a decoder: how many steps a submit gets, from measured times alone."""

from __future__ import annotations

import math
from collections import deque

from intaglio.runtime.limits import SLOTS

SHARE = 16  # the steps of a submit should take so many times its fixed cost
LONG = 0.02  # seconds: what the adapter waits for the host is a small share of a longer step
_WINDOW = 4  # submits that the time of a step is estimated from


class Pace:
    """Chooses `steps`, the steps of the next submit. budget: the seconds that they may take.

    A submit gets as few steps as take SHARE times its fixed cost, but not more than fit the budget. The time of a step
    is the time between the ends of two submits in flight, that is, of both without the first, so the fixed cost (of a
    readback, for instance, which takes 100 ms in some browsers) is not in it; the rest of a single submit's time is
    the fixed cost.
    """

    def __init__(self, budget: float) -> None:
        self.steps = 1
        self._budget = budget
        self._each: deque[float] = deque(maxlen=_WINDOW)  # seconds of a step, or more, in each of the last submits
        self._single = 0.0, 0  # seconds and steps of the last submit that had no other before it in flight
        self._ended = -math.inf

    @property
    def overlaps(self) -> bool:
        """Whether the next submit should be in flight before the last one ends."""
        return len(self._each) < 2 or min(self._each) <= LONG

    def measure(self, count: int, submitted: float, ended: float) -> None:
        """Take note of a submit of `count` steps: when it was submitted, and when its tokens were there."""
        seconds = ended - max(submitted, self._ended)
        if submitted >= self._ended:
            self._single = seconds, count
        self._each.append(seconds / count)
        self._ended = ended
        each = max(min(self._each), 1e-9)
        fixed = self._single[0] - self._single[1] * each
        self.steps = max(1, min(2 * self.steps, SLOTS, int(self._budget / each), math.ceil(SHARE * fixed / each)))
