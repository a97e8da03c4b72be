"""Progress on standard error: on a terminal one line that is rewritten; in a log a new line every ten seconds."""

from __future__ import annotations

import time
from typing import TextIO

REDRAW = 0.1  # seconds between changes of the line on a terminal
REPEAT = 10.0  # seconds between lines about the same work in a log
LONG = 2.0  # seconds after which work on a terminal gets a bar and the time that remains
BAR = 20  # characters


class ProgressLine:
    """`progress(what, done, total)`: the work, how much of it is done, and how much there is (0: unknown).

    What stands in parentheses behind the work may change while it is the same work.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._terminal = stream, stream.isatty()
        self._what, self._begin, self._last = "", 0.0, 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        work = what.partition(" (")[0]
        now, begins = time.monotonic(), work != self._what
        pause = REDRAW if self._terminal else REPEAT
        if not begins and now - self._last < pause:
            return
        self._what, self._last = work, now
        if begins:
            self._begin = now
        amount = f" {100 * done // total} %" if total else f" {done}" if done else ""
        if self._terminal:
            self._stream.write(f"\r\x1b[2K{what}{amount}{_remaining(done, total, now - self._begin)}")
        else:
            self._stream.write(f"{what}{'' if begins else amount}\n")
        self._stream.flush()

    def clear(self) -> None:
        """Clear the terminal's line, so that other text can be printed."""
        if self._terminal and self._what:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()
        self._what = ""


def _remaining(done: int, total: int, seconds: float) -> str:
    """Return a bar and the time that the rest of the work takes, if it goes on as in the `seconds` until now."""
    if not 0 < done < total or seconds < LONG:
        return ""
    full = BAR * done // total
    left = round(seconds * (total - done) / done)
    hours = f"{left // 3600}:{left // 60 % 60:02}" if left >= 3600 else f"{left // 60}"
    return f" {'█' * full}{'░' * (BAR - full)} {hours}:{left % 60:02} left"
