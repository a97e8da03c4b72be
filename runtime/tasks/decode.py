"""The loop that generates the tokens of every decoder: prefill reads a prompt in chunks, and each step adds a token.

Both programs read their tokens from the state `tokens` and append the next one, so several steps run in one submit
before the host reads any of them. The cache keeps its content after a text: row i belongs to token i of what was read
last. A prompt with a common prefix is read only from the first token that differs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from intaglio.runtime.contract import NEW_TOKENS, NO_TOKEN, PAST, PREFILL, STEP, TOKENS
from intaglio.runtime.errors import NanScores
from intaglio.runtime.limits import SLOTS
from intaglio.runtime.progress import Progress, silent

if TYPE_CHECKING:
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
class Request:
    """The settings of one text.

    symbols: values of the family's symbols, for every run. limit: generate up to this many tokens. pace: steps per
    submit; None: by their measured time. prepare: writes what the runs read besides tokens, such as sampling settings;
    it is called again after others wrote into the session.
    """

    symbols: Mapping[str, int]
    limit: float = math.inf
    pace: int | None = None
    prepare: Callable[[], None] = lambda: None


class Decoder:
    """Generates tokens in a session. Texts may take turns, and others may write into the session; a text then reads
    again what the cache lost.

    context: the rows of the cache. chunk: prefill reads up to this many tokens at once. budget: the seconds that a
    submit of steps may take. A step costs less in a longer submit, but steps after the end of a text are wasted.
    """

    def __init__(self, session: Session, context: int, chunk: int, budget: float, progress: Progress = silent) -> None:
        self._session, self._context, self._chunk = session, context, chunk
        self._budget, self._progress = budget, progress
        self._row = Row()
        self._writes = session.writes  # the session's count after our last write
        self._pace = 1  # steps of the next submit

    def tokens(self, prompt: Sequence[int], request: Request) -> Iterator[Sequence[int]]:
        """Yield the tokens after the prompt, those of one submit at a time, up to the limit or the end of the context.

        Only tokens that are surely in the cache count as held, so an interruption at any point leaves a valid state.
        Raises NanScores after the last token whose scores are numbers.
        """
        number = self.begin(request.prepare)
        text = [*prompt, self._prefill(prompt, request.symbols)]  # its last token is not in the cache yet
        remaining = request.limit - 1
        yield from self._valid(text[-1:], 0)
        while (room := min(remaining, self._context + 1 - len(text))) > 0:
            if number != self._row.text or self._session.writes != self._writes:
                number = self.begin(request.prepare)
                self._resume(text, request.symbols)
            tokens = self.steps(text[-1], int(min(request.pace or self._pace, room)), request.symbols)
            yield from self._valid(tokens, len(text) - len(prompt))
            text += tokens
            remaining -= len(tokens)

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
        """Return the next `count` tokens after `last`, from one submit. Its time sets the pace of the next submit."""
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
