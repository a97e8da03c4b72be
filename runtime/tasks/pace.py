"""The pace of a decoder: how many steps a submit gets, from measured times alone."""

from __future__ import annotations

import math
from collections import deque

from intaglio.runtime.limits import SLOTS

SHARE = 16  # the steps of a submit should take so many times its fixed cost
SHORT = 0.005  # seconds that may be wasted after any text
WORTH = 64  # tokens of a text for each step that may be wasted after it
BREAK_EVEN = 2  # submits in flight ahead whose fixed cost may be wasted after any text
_WINDOW = 6  # differences that the time of a step is estimated from


class Pace:
    """Chooses `steps`, the steps of the next submit. budget: the seconds that they may take.

    A submit gets as few steps as take SHARE times its fixed cost, but not more than fit the budget. The time of a step
    is a difference, between the ends of two submits in flight or between single submits of different lengths, so the
    fixed cost (of a readback, for instance, which takes 100 ms in some browsers) is not in it; the rest of a single
    submit's time is the fixed cost.
    """

    def __init__(self, budget: float) -> None:
        self.steps = 1
        self._budget = budget
        self._differences: deque[float] = deque(maxlen=_WINDOW)  # seconds of a step, or more
        self._single = 0.0, 0  # seconds and steps of the last submit that had no other before it in flight
        self._ended = -math.inf

    def ahead(self, count: int, tokens: int) -> bool:
        """Return whether `count` steps may be submitted before others end, in a text of `tokens` so far.

        They are wasted if the text ends meanwhile, and hide the fixed cost and the host's work if it does not.
        """
        if not self._differences:
            return True
        return count * self._step <= max(SHORT, BREAK_EVEN * self._fixed) or count * WORTH <= tokens

    def measure(self, count: int, submitted: float, ended: float) -> None:
        """Take note of a submit of `count` steps: when it was submitted, and when its tokens were there."""
        if submitted < self._ended:
            self._differences.append((ended - self._ended) / count)
        else:
            seconds, before = ended - submitted, self._single
            self._single = seconds, count
            if before[1] and (seconds - before[0]) * (count - before[1]) > 0:  # else it is noise
                self._differences.append((seconds - before[0]) / (count - before[1]))
        self._ended = ended
        fitting, enough = self._budget / self._step, math.ceil(SHARE * self._fixed / self._step)
        self.steps = max(1, min(2 * self.steps, SLOTS, int(fitting), enough))

    @property
    def _step(self) -> float:
        """Seconds of a step. An interval that follows a late one is too short, so the shortest does not count."""
        seconds, count = self._single
        low = sorted(self._differences)[: 2 if len(self._differences) > 2 else 1]
        return max(1e-9, min([*low[-1:], seconds / count]))

    @property
    def _fixed(self) -> float:
        seconds, count = self._single
        return seconds - count * self._step
