"""The loop that generates the tokens of every decoder: prefill reads a prompt in chunks, and each step adds a token.

Both programs read their tokens from the state `tokens` and append the next one, so several steps run in one submit
before the host reads any of them, and the next submit is in flight while the host waits for the tokens of one. The
cache keeps its content after a text: row i belongs to token i of what was read last. A prompt with a common prefix is
read only from the first token that differs.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from intaglio.runtime.contract import NEW_TOKENS, NO_TOKEN, PAST, PREFILL, STEP, TOKENS
from intaglio.runtime.errors import NanScores
from intaglio.runtime.progress import Progress, silent
from intaglio.runtime.tasks.pace import Pace

if TYPE_CHECKING:
    from intaglio.runtime.readback import Readback
    from intaglio.runtime.session import Session


def nan_scores(what: str) -> NanScores:
    """Return the error for scores of `what` that are NaN."""
    return NanScores(
        f"the scores of {what} are NaN; `intaglio verify BUNDLE` tells whether the bundle differs from its model; "
        "if it does not, the model gives NaN too"
    )


@dataclass
class Row:
    """The state of one row of a session. A session has one row today; batches and beams would have several.

    held: the tokens whose keys and values are in the cache. text: the number of the text that wrote there last, which
    finds the cache and the sampling settings as it left them.
    """

    held: list[int] = field(default_factory=list)
    text: int = 0


@dataclass(frozen=True)
class _Flight:
    """Steps that were submitted, the first of which writes row `first` of the cache."""

    readback: Readback
    first: int
    count: int
    submitted: float  # by time.perf_counter


@dataclass(frozen=True)
class Request:
    """The settings of one text.

    symbols: values of the family's symbols, for every run. limit: generate up to this many tokens. pace: steps per
    submit; None: by their measured time. ahead: submit the next steps before the tokens of the last ones are there; not
    for a caller that reads what else the last step left, such as logits. prepare: writes what the runs read besides
    tokens, such as sampling settings; it is called again after others wrote into the session.
    """

    symbols: Mapping[str, int]
    limit: float = math.inf
    pace: int | None = None
    ahead: bool = True
    prepare: Callable[[], None] = lambda: None


class Decoder:
    """Generates tokens in a session. Texts may take turns, and others may write into the session; a text then reads
    again what the cache lost.

    context: the rows of the cache. chunk: prefill reads up to this many tokens at once. budget: the seconds that a
    submit of steps may take. A step costs less in a longer submit, but steps after the end of a text are wasted, and
    those of a submit in flight too: a later text overwrites their rows.
    """

    def __init__(self, session: Session, context: int, chunk: int, budget: float, progress: Progress = silent) -> None:
        self._session, self._context, self._chunk = session, context, chunk
        self._pace, self._progress = Pace(budget), progress
        self._row = Row()
        self._writes = session.writes  # the session's count after our last write

    def tokens(self, prompt: Sequence[int], request: Request) -> Iterator[Sequence[int]]:
        """Yield the tokens after the prompt, those of one submit at a time, up to the limit or the end of the context.

        Only tokens that are surely in the cache count as held, so an interruption at any point leaves a valid state.
        Raises NanScores after the last token whose scores are numbers.
        """
        number = self.begin(request.prepare)
        text = [*prompt, self._prefill(prompt, request.symbols)]  # its last token is not in the cache yet
        end = min(len(prompt) + request.limit, self._context + 1)
        flights: deque[_Flight] = deque()
        yield from self._valid(text[-1:], 0)
        while len(text) < end:
            undisturbed = number == self._row.text and self._session.writes == self._writes
            if not undisturbed:
                flights.clear()  # others overwrote what they wrote
                number = self.begin(request.prepare)
                self._resume(text, request.symbols)
            while (room := end - len(text) - sum(f.count for f in flights)) > 0:
                count = int(min(request.pace or self._pace.steps, room))
                ahead = undisturbed and request.ahead and self._pace.ahead(count, len(text) - len(prompt))
                if len(flights) > ahead:
                    break
                first = len(text) - 1 + sum(f.count for f in flights)
                flights.append(self._launch(first, count, request.symbols))
            tokens = self._land(flights.popleft(), text[-1])
            yield from self._valid(tokens, len(text) - len(prompt))
            text += tokens

    def _valid(self, tokens: Sequence[int], before: int) -> Iterator[Sequence[int]]:
        """Yield the tokens, which follow `before` others. Raises NanScores after those before a NO_TOKEN."""
        if NO_TOKEN not in tokens:
            yield tokens
            return
        self._row.held.clear()  # the cache may hold NaN
        first = list(tokens).index(NO_TOKEN)
        if first:
            yield tokens[:first]
        raise nan_scores(f"token {before + first + 1}")

    def common(self, prompt: Sequence[int]) -> int:
        """Return how many of a prompt's first tokens need not be read again."""
        return self._common(prompt[:-1]) if self._session.writes == self._writes else 0

    def begin(self, prepare: Callable[[], None]) -> int:
        """Begin a text, or resume one after another text. Returns its new number."""
        with self._writing():
            self._row.text += 1
            prepare()
        return self._row.text

    def place(self, token: int, at: int) -> None:
        """Write the token that the next step reads at position `at`. The `at` tokens before it must be held."""
        with self._writing():
            del self._row.held[at:]
            self._session.write(TOKENS, np.array([token]), at)

    def steps(self, last: int, count: int, symbols: Mapping[str, int]) -> list[int]:
        """Return the next `count` tokens after `last`, from one submit."""
        return self._land(self._launch(len(self._row.held), count, symbols), last)

    def _launch(self, first: int, count: int, symbols: Mapping[str, int]) -> _Flight:
        runs = [{**symbols, PAST: first + i} for i in range(count)]
        with self._writing():
            readback = self._session.launch(STEP, runs, (TOKENS, first + 1, count))
        return _Flight(readback, first, count, time.perf_counter())

    def _land(self, flight: _Flight, last: int) -> list[int]:
        """Return the tokens of steps that began after the token `last`. Their rows are in the cache from now on."""
        tokens = flight.readback.words().tolist()
        self._row.held += [last, *tokens[:-1]]
        self._pace.measure(flight.count, flight.submitted, time.perf_counter())
        return tokens

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Surround code that writes into the session. If others wrote in between, the cache counts as empty."""
        if self._session.writes != self._writes:
            self._row.held, self._row.text = [], self._row.text + 1
        try:
            yield
        finally:
            self._writes = self._session.writes

    def _prefill(self, prompt: Sequence[int], symbols: Mapping[str, int]) -> int:
        """Read the part of the prompt that is not held, and always its last token. Returns the next token."""
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
        """Restore a text whose cache was overwritten: read all but its last token, then write the last token.

        A prefill chooses a token too, which the last one replaces. So a step chooses the next token, as it would have
        without the interruption.
        """
        before = text[:-1]
        if self._common(before) < len(before):
            self._prefill(before, symbols)
        self.place(text[-1], len(before))

    def _common(self, tokens: Sequence[int]) -> int:
        """Return how many of the first tokens the cache holds."""
        pairs = zip(tokens, self._row.held, strict=False)
        return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(tokens), len(self._row.held)))
