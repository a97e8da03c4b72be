"""The loop that the tokens of every decoder come from: prefill reads a prompt in chunks, step adds tokens.

Both programs read their tokens from the state `tokens` and write the next one behind them, so several steps run in one
submit before the host looks at any. The cache outlives a text: row i of it belongs to token i of what was read last, so
a prompt that begins like that is read from where the two part.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from intaglio.runtime.contract import NEW_TOKENS, PAST, PREFILL, STEP, TOKENS
from intaglio.runtime.limits import SLOTS
from intaglio.runtime.progress import Progress, silent

if TYPE_CHECKING:
    from intaglio.runtime.session import Session


@dataclass
class Row:
    """What belongs to one row of a session, of which there is one today: batches and beams would have several.

    held: the tokens whose keys and values lie in the cache. text: the number of the text that wrote there last, which
    finds its cache and its sampling settings as it left them.
    """

    held: list[int] = field(default_factory=list)
    text: int = 0


@dataclass(frozen=True)
class Request:
    """What a text asks for.

    symbols: those of the family, for every run. limit: the most tokens. pace: the steps of a submit, None to let the
    clock decide. prepare: writes what the runs read beside tokens, such as sampling settings; it is called again where
    others wrote into the session.
    """

    symbols: Mapping[str, int]
    limit: float = math.inf
    pace: int | None = None
    prepare: Callable[[], None] = lambda: None


class Decoder:
    """Tokens in a session. Texts may take turns, and others may write there: a text reads again what the cache lost.

    context: the rows of the cache. chunk: the most tokens that prefill reads at once. budget: the seconds that a submit
    of steps may take; more steps cost less each, and those behind the end of a text are lost.
    """

    def __init__(self, session: Session, context: int, chunk: int, budget: float, progress: Progress = silent) -> None:
        self._session, self._context, self._chunk = session, context, chunk
        self._budget, self._progress = budget, progress
        self._row = Row()
        self._writes = session.writes  # the session's count after our last write
        self._pace = 1  # steps of the next submit

    def tokens(self, prompt: Sequence[int], request: Request) -> Iterator[Sequence[int]]:
        """The tokens after the prompt, as many at a time as a submit brings, until the context is full.

        Only what surely lies in the cache counts as held, so that an interruption anywhere leaves the truth.
        """
        number = self.begin(request.prepare)
        text = [*prompt, self._prefill(prompt, request.symbols)]  # its last token is not in the cache yet
        remaining = request.limit - 1
        yield text[-1:]
        while (room := min(remaining, self._context + 1 - len(text))) > 0:
            if number != self._row.text or self._session.writes != self._writes:
                number = self.begin(request.prepare)
                self._resume(text, request.symbols)
            tokens = self.steps(text[-1], int(min(request.pace or self._pace, room)), request.symbols)
            text += tokens
            remaining -= len(tokens)
            yield tokens

    def begin(self, prepare: Callable[[], None]) -> int:
        """Begin a text, or go on with one after another; returns its number."""
        with self._writing():
            self._row.text += 1
            prepare()
        return self._row.text

    def place(self, token: int, at: int) -> None:
        """Put a token behind the first `at`, which must be held, for the next step to read."""
        with self._writing():
            del self._row.held[at:]
            self._session.write(TOKENS, np.array([token]), at)

    def steps(self, last: int, count: int, symbols: Mapping[str, int]) -> list[int]:
        """The next `count` tokens after `last`, in one submit, which sets the pace of the next one."""
        first = len(self._row.held)
        runs = [{**symbols, PAST: first + i} for i in range(count)]
        begin = time.perf_counter()
        with self._writing():
            tokens = self._session.replay(STEP, runs, (TOKENS, first + 1, count)).tolist()
            self._row.held += [last, *tokens[:-1]]
        seconds = (time.perf_counter() - begin) / count
        self._pace = max(1, min(2 * self._pace, SLOTS, int(self._budget / seconds)))
        return tokens

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Stands around all that writes into the session. Where somebody else wrote since, the cache holds nothing."""
        if self._session.writes != self._writes:
            self._row.held, self._row.text = [], self._row.text + 1
        try:
            yield
        finally:
            self._writes = self._session.writes

    def _prefill(self, prompt: Sequence[int], symbols: Mapping[str, int]) -> int:
        """Read the prompt from where it parts from what is held; the last token is always read. Returns the next."""
        common, chunk, token = self._common(prompt[:-1]), self._chunk, -1
        for first in range(common, len(prompt), chunk):
            part = prompt[first : first + chunk]
            with self._writing():
                del self._row.held[first:]
                self._session.write(TOKENS, np.array(part), first)
                sizes = {PAST: first, NEW_TOKENS: len(part)}
                token = int(self._session.submit(PREFILL, {**symbols, **sizes}, (TOKENS, first + len(part), 1))[0])
                self._row.held += part
            if len(prompt) - common > chunk:
                self._progress("reading the prompt", first + len(part) - common, len(prompt) - common)
        return token

    def _resume(self, text: list[int], symbols: Mapping[str, int]) -> None:
        """Bring back a text that another one pushed out: all but its last token into the cache, the last one behind.

        A prefill chooses a token too, which the last one replaces: the next is chosen by a step, as it would have been.
        """
        before = text[:-1]
        if self._common(before) < len(before):
            self._prefill(before, symbols)
        self.place(text[-1], len(before))

    def _common(self, tokens: Sequence[int]) -> int:
        """How many of the first tokens the cache holds."""
        pairs = zip(tokens, self._row.held, strict=False)
        return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(tokens), len(self._row.held)))
