"""Who runs when: each bundle has sessions, requests wait for one in order, and those that have one take turns.

A turn is one submit to the adapter: a chunk of a prompt, some tokens, or a program of a window. Only this module knows
that, so that several requests may share a turn one day.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from intaglio.bundle import Bundle
from intaglio.session import BundleSession

T = TypeVar("T")
Work = Callable[[BundleSession, Callable[[], bool], Callable[[T], None]], None]


class Full(Exception):
    """As many requests wait as may."""


class Closing(Exception):
    """The server stops, and this request has not begun."""


class Turns:
    """Lets one job at a time use the adapter, in the order in which they ask."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._line: deque[Job] = deque()  # the first one has the turn

    def next(self, job: Job) -> None:
        """End the job's turn, if it has one, and wait for its next one."""
        with self._changed:
            if self._line and self._line[0] is job:
                if len(self._line) == 1:
                    return
                self._line.popleft()
                self._changed.notify_all()
            self._line.append(job)
            while self._line[0] is not job:
                self._changed.wait()

    def leave(self, job: Job) -> None:
        """End the job's last turn."""
        with self._changed:
            if job in self._line:
                self._line.remove(job)
                self._changed.notify_all()


class Job:
    """A request that runs. `cancelled` ends it at its next submit."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.cancelled = False

    def look(self) -> bool:
        """Wait for the next turn. Returns whether to end instead."""
        if not self.cancelled:
            self._turns.next(self)
        return self.cancelled

    def end(self) -> None:
        self._turns.leave(self)


class Pool:
    """The sessions of a bundle. turns: shared by all bundles on an adapter. limit: requests that may wait."""

    def __init__(self, bundle: Bundle, turns: Turns, sessions: int, limit: int) -> None:
        self.bundle, self._turns, self._limit = bundle, turns, limit
        self._free = [bundle, *(bundle.session() for _ in range(sessions - 1))]
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._threads = ThreadPoolExecutor(sessions, "session")
        self.running, self.closing = 0, False

    @property
    def waiting(self) -> int:
        """The number of requests that wait for a session."""
        return len(self._waiting)

    async def run(self, work: Work[T], prompt: Sequence[int] = ()) -> AsyncIterator[T]:
        """Yield what `work` puts. It runs in a thread: it gets a session, a callable that says when to end, and one
        that takes what it puts.

        prompt: the session that holds most of its beginning is taken. Raises Full, Closing, and what `work` raises.
        """
        session = await self._session(prompt)
        job, items = Job(self._turns), asyncio.Queue[tuple[str, T | BaseException | None]]()
        loop = asyncio.get_running_loop()

        def put(kind: str, item: T | BaseException | None = None) -> None:
            loop.call_soon_threadsafe(items.put_nowait, (kind, item))

        def run() -> None:
            try:
                work(session, job.look, lambda item: put("item", item))
                put("end")
            except BaseException as error:
                put("error", error)
            finally:
                job.end()
                loop.call_soon_threadsafe(self._release, session)

        self._threads.submit(run)
        try:
            while True:
                kind, item = await items.get()
                if kind == "end":
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item  # type: ignore[misc]
        finally:
            job.cancelled = True

    def close(self) -> None:
        """Let no other request begin."""
        self.closing = True
        for future in self._waiting:
            if not future.done():
                future.set_exception(Closing())

    async def _session(self, prompt: Sequence[int]) -> BundleSession:
        if self.closing:
            raise Closing
        if not self._free or self._waiting:
            if len(self._waiting) >= self._limit:
                raise Full
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except BaseException:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                elif not turn.cancelled() and turn.exception() is None:
                    self._call()  # the session that it was called for is for another
                raise
        best = max(self._free, key=lambda session: session.common(prompt)) if len(self._free) > 1 else self._free[0]
        self._free.remove(best)
        self.running += 1
        return best

    def _release(self, session: BundleSession) -> None:
        self._free.append(session)
        self.running -= 1
        self._call()

    def _call(self) -> None:
        """Call the first request that waits."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
