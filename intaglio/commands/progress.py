"""Progress on standard error: one line that is rewritten on a terminal; elsewhere a line now and then, for logs."""

from __future__ import annotations

import time
from typing import TextIO

REDRAW = 0.1  # seconds between changes of the line on a terminal
REPEAT = 10.0  # seconds between lines about the same work elsewhere


class ProgressLine:
    """`progress(what, done, total)`: what is being done, how much of how much (0: unknown)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._terminal = stream, stream.isatty()
        self._what, self._last = "", 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now, begins = time.monotonic(), what != self._what
        pause = REDRAW if self._terminal else REPEAT
        if not begins and now - self._last < pause:
            return
        self._what, self._last = what, now
        amount = f" {100 * done // total} %" if total else f" {done}" if done else ""
        if self._terminal:
            self._stream.write(f"\r\x1b[2K{what}{amount}")
        else:
            self._stream.write(f"{what}{'' if begins else amount}\n")
        self._stream.flush()

    def clear(self) -> None:
        """Leave the terminal's line empty for what comes next."""
        if self._terminal and self._what:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()
        self._what = ""
