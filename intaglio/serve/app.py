"""The ASGI application: the routes, with and without /v1, and what they answer besides the models' work."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from intaglio.bundle import Bundle
from intaglio.runtime.contract import ENCODER
from intaglio.serve import audio, chat, streams
from intaglio.serve.errors import ApiError, answer
from intaglio.serve.fields import Embedding, parsed
from intaglio.serve.gate import LEFT, Gate
from intaglio.serve.metrics import Metrics
from intaglio.serve.models import Model, Models
from intaglio.serve.scheduler import Turns
from intaglio.session import BundleSession


@dataclass(frozen=True)
class Settings:
    """keys: one of them is needed, if there are any. sessions: of each bundle, which run side by side. queue: requests
    that may wait for each bundle. max_upload: bytes of a body. strict: requests must name their model. cors: origins of
    pages that may use the server. metrics: whether /metrics answers.
    """

    keys: Sequence[str] = ()
    sessions: int = 2
    queue: int = 32
    max_upload: int = 200_000_000
    strict: bool = False
    cors: Sequence[str] = ()
    metrics: bool = True


def app(bundles: Mapping[str, Bundle], settings: Settings = Settings()) -> Starlette:
    """The application that serves bundles by name. They are opened when it starts."""
    turns, metrics = Turns(), Metrics()
    models = Models(
        (Model(name, bundle, turns, settings.sessions, settings.queue) for name, bundle in bundles.items()),
        settings.strict,
    )

    @asynccontextmanager
    async def running(application: Starlette) -> AsyncIterator[None]:
        opening = asyncio.ensure_future(_open(models))
        yield
        opening.cancel()
        models.close()

    middleware = [Middleware(Gate, settings.keys, settings.max_upload, metrics)]
    if settings.cors:
        cors = Middleware(CORSMiddleware, allow_origins=[*settings.cors], allow_methods=["*"], allow_headers=["*"])
        middleware.insert(0, cors)
    handlers: Any = {HTTPException: _not_here, streams.Left: _left, **dict.fromkeys(_ERRORS, answer)}
    made = Starlette(routes=_routes(settings), middleware=middleware, exception_handlers=handlers, lifespan=running)
    made.state.models, made.state.metrics = models, metrics
    return made


_ERRORS = (Exception, ApiError, ValueError)


async def _open(models: Models) -> None:
    for model in models.all.values():
        await asyncio.to_thread(model.open)


def _routes(settings: Settings) -> list[Route]:
    api = [
        ("/audio/transcriptions", audio.transcriptions, "POST"),
        ("/audio/translations", audio.translations, "POST"),
        ("/chat/completions", chat.chat_completions, "POST"),
        ("/completions", chat.completions, "POST"),
        ("/embeddings", _embeddings, "POST"),
        ("/models", _models, "GET"),
        ("/models/{name:path}", _model, "GET"),
        ("/info", _info, "GET"),
    ]
    others = [("/health", _health), ("/ready", _ready), ("/", _page)]
    others += [("/metrics", _metrics)] if settings.metrics else []
    routes = [Route(f"{prefix}{path}", call, methods=[method]) for prefix in ("/v1", "") for path, call, method in api]
    return [*routes, *(Route(path, call, methods=["GET"]) for path, call in others)]


async def _not_here(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = {404: f"there is no {request.url.path[:80]} here", 405: f"{request.method} is not allowed here"}
    text = message.get(error.status_code, str(error.detail))
    response = ApiError(
        error.status_code, text, code={404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
    )
    answer = response.response
    answer.headers.update(error.headers or {})
    return answer


async def _left(request: Request, error: Exception) -> Response:
    return Response(status_code=LEFT)


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _ready(request: Request) -> Response:
    if not request.app.state.models.ready:
        raise ApiError(503, "the models are loading", code="loading", retry_after="1")
    return JSONResponse({"status": "ready"})


async def _models(request: Request) -> Response:
    return JSONResponse({"object": "list", "data": [m.entry for m in request.app.state.models.all.values()]})


async def _model(request: Request) -> Response:
    return JSONResponse(request.app.state.models.named(request.path_params["name"]).entry)


async def _info(request: Request) -> Response:
    models = request.app.state.models.all.values()
    return JSONResponse({"models": [m.entry | {"kind": m.kind, "ready": m.ready} for m in models]})


async def _metrics(request: Request) -> Response:
    pools = [model.pool for model in request.app.state.models.all.values()]
    now = {"requests_running": sum(p.running for p in pools), "requests_waiting": sum(p.waiting for p in pools)}
    return PlainTextResponse(request.app.state.metrics.text(now), media_type="text/plain; version=0.0.4")


async def _page(request: Request) -> Response:
    rows = "".join(f"<li><b>{html.escape(m.name)}</b>: {m.kind}" for m in request.app.state.models.all.values())
    base = html.escape(str(request.base_url))
    return HTMLResponse(
        f"<!doctype html><meta charset=utf-8><title>Intaglio</title><h1>Intaglio</h1><p>This server answers OpenAI's "
        f"API at {base}v1:<ul>{rows}</ul><pre>curl {base}v1/audio/transcriptions -F file=@speech.wav\n"
        f"curl {base}v1/models</pre>"
    )


async def _embeddings(request: Request) -> Response:
    body = await parsed(request, Embedding)
    model = request.app.state.models.of(ENCODER, body.model)
    if body.encoding_format not in (None, "float", "base64"):
        raise ApiError(400, "encoding_format: expected float or base64", "encoding_format")
    several = isinstance(body.input, list) and not (body.input and isinstance(body.input[0], int))
    texts: Any = body.input if several else [body.input]

    def work(session: BundleSession, look: Any, put: Any) -> None:
        look()
        put(session.embed(texts))

    async def rows() -> np.ndarray:
        async for item in model.pool.run(work):
            return item
        raise LookupError("no rows came")

    found = await streams.attended(request, rows())
    if body.dimensions not in (None, found.shape[1]):
        raise ApiError(400, f"dimensions: expected {found.shape[1]}, got {body.dimensions}", "dimensions")
    data = [{"object": "embedding", "index": i, "embedding": _encoded(r, body)} for i, r in enumerate(found)]
    count = sum(len(model.bundle.contents.tokens(t)) if isinstance(t, str) else len(t) for t in texts)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return JSONResponse({"object": "list", "data": data, "model": model.name, "usage": usage})


def _encoded(row: np.ndarray, body: Embedding) -> Any:
    import base64

    return base64.b64encode(row.astype("<f4").tobytes()).decode() if body.encoding_format == "base64" else row.tolist()
