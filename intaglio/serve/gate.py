"""What every request passes first: its number, the keys, the limit of its size, and the count of its answer."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
import uuid
from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from intaglio.serve.errors import ApiError
from intaglio.serve.metrics import Metrics

log = logging.getLogger("intaglio.serve")
STALLED = 30.0  # seconds in which a body must go on
_DRAINED = 1_000_000  # bytes of a body that is too large, which are read so that the client sees the answer
_OPEN = "/", "/health", "/ready"
LEFT = 499  # the status of a request whose client left, in logs and metrics


class Gate:
    """ASGI middleware. keys: one of them is needed, if there are any. largest: bytes of a body."""

    def __init__(self, app: ASGIApp, keys: Sequence[str], largest: int, metrics: Metrics) -> None:
        self._app, self._keys, self._largest, self._metrics = app, [key.encode() for key in keys], largest, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = {name.decode("latin-1").lower(): value for name, value in scope["headers"]}
        number = headers.get("x-request-id", b"").decode("latin-1")[:80] or uuid.uuid4().hex
        status, begin = [LEFT], time.perf_counter()

        async def numbered(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", number.encode("latin-1"))]
            await send(message)

        try:
            self._check(scope, headers)
            await self._app(scope, _Counted(receive, self._largest), numbered)
        except ApiError as error:
            if error.status == 413:
                await _drain(receive)
            await error.response(scope, receive, numbered)
        finally:
            seconds = time.perf_counter() - begin
            path = scope["path"] if status[0] not in (404, 405) else "unknown"
            self._metrics.add("requests_total", endpoint=path, code=status[0])
            self._metrics.add("request_seconds_sum", seconds, endpoint=path)
            log.info("%s %s %d %.3f s %s", scope["method"], path, status[0], seconds, number)

    def _check(self, scope: Scope, headers: dict[str, bytes]) -> None:
        """Raise ApiError for a key that is missing or wrong, and for a body that says that it is too large."""
        if self._keys and scope["path"] not in _OPEN and scope["method"] != "OPTIONS":
            scheme, _, key = headers.get("authorization", b"").partition(b" ")
            fits = [hmac.compare_digest(key.strip(), known) for known in self._keys]
            if scheme.lower() != b"bearer" or not any(fits):
                message = "expected a valid key in the header Authorization: Bearer KEY"
                raise ApiError(401, message, code="invalid_api_key", WWW_Authenticate="Bearer")
        length = headers.get("content-length", b"0")
        if length.isdigit() and int(length) > self._largest:
            raise self._too_large()

    def _too_large(self) -> ApiError:
        return too_large(self._largest)


def too_large(largest: int) -> ApiError:
    return ApiError(413, f"the body is larger than {largest / 1e6:g} MB; --max-upload allows more", code="too_large")


class _Counted:
    """Receives a body up to a size, as long as it goes on. Raises ApiError."""

    def __init__(self, receive: Receive, largest: int) -> None:
        self._receive, self._largest, self._size, self._whole = receive, largest, 0, False

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()  # which waits until the client leaves
        try:
            message: Any = await asyncio.wait_for(self._receive(), STALLED)
        except TimeoutError:
            raise ApiError(408, f"the body did not go on for {STALLED:g} s", code="timeout") from None
        self._size += len(message.get("body", b""))
        if self._size > self._largest:
            raise too_large(self._largest)
        self._whole = not message.get("more_body", False)
        return message


async def _drain(receive: Receive) -> None:
    """Read some of the rest of a body, for clients that send all of it before they read the answer."""
    size = 0
    try:
        async with asyncio.timeout(2):
            while size < _DRAINED:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
    except TimeoutError:
        return
