"""Server-sent events, and requests whose client leaves: what runs for them ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from intaglio.serve.errors import api_error

T = TypeVar("T")
PING = 15.0  # seconds without a word, after which proxies and clients may think that the server is gone
LEFT = 499  # the status of a request whose client left, in logs alone


class Left(Exception):
    """The client left before its answer."""


async def attended(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns. It is cancelled if the client leaves, which raises Left."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Left
        return task.result()
    finally:
        for other in task, gone:
            other.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await other


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def event(data: Any) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


DONE = "data: [DONE]\n\n"


async def events(request: Request, items: AsyncIterator[str]) -> Response:
    """Answer with events. The first one is awaited for a while, so that an error before it has a status of its own."""
    coming = asyncio.ensure_future(anext(items))
    try:
        await attended(request, _soon(coming))
        if coming.done():
            coming.result()
    except BaseException:
        coming.cancel()
        with suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
            await coming
        await items.aclose()  # type: ignore[attr-defined]
        raise
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(_pinged(coming, items), media_type="text/event-stream", headers=headers)


async def _soon(coming: asyncio.Future[str]) -> None:
    await asyncio.wait({coming}, timeout=PING)


async def _pinged(coming: asyncio.Future[str], items: AsyncIterator[str]) -> AsyncIterator[str]:
    """Yield the events, a comment where none comes for long, and an error as the last event."""
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=PING)
            if not done:
                yield ": ping\n\n"
                continue
            try:
                item = coming.result()
            except StopAsyncIteration:
                return
            except Exception as error:
                yield event(api_error(error).body)
                return
            yield item
            coming = asyncio.ensure_future(anext(items))
    finally:
        coming.cancel()
        with suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
            await coming
        await items.aclose()  # type: ignore[attr-defined]
