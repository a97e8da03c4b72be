"""Errors as OpenAI's API has them: a status, and a JSON object with message, type, param and code."""

from __future__ import annotations

import logging
import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from intaglio.runtime.audio.recording import AudioError
from intaglio.runtime.errors import DeviceLimit, DeviceLost, NanScores
from intaglio.runtime.tasks.generate import PromptTooLong
from intaglio.serve.scheduler import Closing, Full

log = logging.getLogger("intaglio.serve")
_KINDS = {401: "authentication_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """An answer other than 200. param: the field at fault. code: a word for programs."""

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None, **headers: str
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    @property
    def body(self) -> dict[str, Any]:
        kind = _KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, self.headers)


def api_error(error: BaseException) -> ApiError:
    """Return what a client is told about an error. What is our mistake is logged, with the number in the answer."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Full):
        return ApiError(429, "the queue is full; try again later", code="queue_full", retry_after="1")
    if isinstance(error, Closing):
        return ApiError(503, "the server is stopping", code="stopping", retry_after="5")
    if isinstance(error, AudioError):
        return ApiError(400, _line(error), "file", "invalid_audio")
    if isinstance(error, PromptTooLong):
        return ApiError(400, _line(error), "messages", "context_length_exceeded")
    if isinstance(error, NanScores):
        return ApiError(500, _line(error), code="nan_scores")
    if isinstance(error, DeviceLost | DeviceLimit):
        return ApiError(503, _line(error), code="device", retry_after="5")
    if isinstance(error, ValueError):
        message = _line(error)
        name = message.partition(":")[0]
        return ApiError(400, message, name if name.isidentifier() else None)
    number = uuid.uuid4().hex[:12]
    log.error("error %s", number, exc_info=error)
    return ApiError(500, f"the server failed; its log has more about error {number}", code="internal")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


async def answer(request: Request, error: Exception) -> Response:
    """The exception handler of the application."""
    return api_error(error).response
