"""The endpoints of language models: chat completions and completions, whole and streamed."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from intaglio.runtime.tasks.generate import Completion as Text
from intaglio.runtime.tasks.generate import Logprob, Piece, PromptTooLong
from intaglio.runtime.tasks.options import Options
from intaglio.serve import streams
from intaglio.serve.errors import ApiError
from intaglio.serve.fields import Chat, Completion, Sampled, parsed
from intaglio.serve.models import Model
from intaglio.serve.scheduler import Work
from intaglio.session import BundleSession

_REASONS = {"stop": "stop", "length": "length", "context": "length"}


@dataclass
class _Answer:
    """An answer in the making. usage: counts of its prompt's and its own tokens."""

    model: Model
    id: str
    prompts: list[list[int]]
    options: dict[str, Any]
    created: int = field(default_factory=lambda: int(time.time()))
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    @property
    def usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }

    def head(self, object: str) -> dict[str, Any]:
        return {"id": self.id, "object": object, "created": self.created, "model": self.model.name}

    async def pieces(self) -> AsyncIterator[tuple[int, Piece | Text]]:
        """Yield the pieces of each choice with its number, and the whole text after them."""
        for number, prompt in enumerate(self.prompts):
            options = self.options
            if "seed" in options and number:
                options = options | {"seed": options["seed"] ^ number}
            async for item in self.model.pool.run(self._work(prompt, options), prompt):
                if isinstance(item, Text):
                    self.prompt_tokens += item.prompt_tokens
                    self.completion_tokens += len(item.tokens)
                yield number, item

    def _work(self, prompt: list[int], options: dict[str, Any]) -> Work[Piece | Text]:
        def work(session: BundleSession, look: Callable[[], bool], put: Callable[[Piece | Text], None]) -> None:
            self.cached_tokens += session.common(prompt)
            stream = session.generate(prompt, stream=True, cancel=look, **options)
            for piece in stream:
                put(piece)
            put(stream.finish())

        return work


def _answer(model: Model, body: Sampled, prompts: list[list[int]], kind: str) -> _Answer:
    """Return an answer that has not begun. Raises ApiError, PromptTooLong, ValueError."""
    options = body.options(model.bundle.sampling)
    Options(**options)
    context = model.bundle.contents.language.context
    for prompt in prompts:
        if len(prompt) > context:
            raise PromptTooLong(f"the prompt has {len(prompt)} tokens, the context {context}; shorten it")
    copies = [prompt for prompt in prompts for _ in range(body.n or 1)]
    return _Answer(model, f"{kind}-{uuid.uuid4().hex}", copies, options)


async def chat_completions(request: Request) -> Response:
    body, models = await parsed(request, Chat), request.app.state.models
    model = models.of("language", body.model)
    prompt = await asyncio.to_thread(model.bundle.prompt, body.messages)
    answer = _answer(model, body, [prompt], "chatcmpl")
    if body.stream:
        return await streams.events(request, _chat_chunks(answer, body))
    return JSONResponse(await streams.attended(request, _chat_whole(answer)))


async def _chat_whole(answer: _Answer) -> dict[str, Any]:
    choices = []
    async for number, item in answer.pieces():
        if isinstance(item, Text):
            message = {"role": "assistant", "content": item.text, "refusal": None}
            logprobs = None if item.logprobs is None else _chat_logprobs(item.logprobs)
            reason = _REASONS[item.finish_reason]
            choices.append({"index": number, "message": message, "logprobs": logprobs, "finish_reason": reason})
    head = answer.head("chat.completion")
    return head | {"choices": choices, "usage": answer.usage, "system_fingerprint": _fingerprint(answer)}


async def _chat_chunks(answer: _Answer, body: Chat) -> AsyncIterator[str]:
    head = answer.head("chat.completion.chunk") | {"system_fingerprint": _fingerprint(answer)}
    usage = {"usage": None} if body.include_usage else {}

    def chunk(number: int, delta: dict[str, Any], reason: str | None = None, logprobs: Any = None) -> str:
        choice = {"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return streams.event(head | {"choices": [choice]} | usage)

    begun = -1
    async for number, item in answer.pieces():
        if number != begun:
            begun = number
            yield chunk(number, {"role": "assistant", "content": ""})
        if isinstance(item, Text):
            yield chunk(number, {}, _REASONS[item.finish_reason])
        else:
            yield chunk(number, {"content": item.text}, None, item.logprobs and _chat_logprobs(item.logprobs))
    if body.include_usage:
        yield streams.event(head | {"choices": [], "usage": answer.usage})
    yield streams.DONE


def _chat_logprobs(logprobs: list[Logprob]) -> dict[str, Any]:
    def entry(one: Logprob) -> dict[str, Any]:
        return {"token": one.text, "logprob": one.logprob, "bytes": list(one.text.encode())}

    content = [entry(one) | {"top_logprobs": [entry(top) for top in one.top]} for one in logprobs]
    return {"content": content, "refusal": None}


def _fingerprint(answer: _Answer) -> str:
    return answer.model.fingerprint


async def completions(request: Request) -> Response:
    body, models = await parsed(request, Completion), request.app.state.models
    model = models.of("language", body.model)
    prompts = [_tokens(model, prompt) for prompt in body.prompts]
    if not prompts:
        raise ApiError(400, "prompt: expected at least one", "prompt")
    answer = _answer(model, body, prompts, "cmpl")
    echoes = [_echo(model, prompt) if body.echo else "" for prompt in answer.prompts]
    if body.stream:
        return await streams.events(request, _text_chunks(answer, body, echoes))
    return JSONResponse(await streams.attended(request, _text_whole(answer, echoes)))


def _tokens(model: Model, prompt: str | list[int]) -> list[int]:
    tokens = model.bundle.contents.tokens(prompt) if isinstance(prompt, str) else prompt
    vocabulary = model.bundle.contents.language.vocabulary
    if wrong := [token for token in tokens if not 0 <= token < vocabulary]:
        raise ApiError(400, f"prompt: token {wrong[0]} is outside of the vocabulary of {vocabulary}", "prompt")
    return tokens


def _echo(model: Model, prompt: list[int]) -> str:
    tokenizer = model.bundle.tokenizer
    return "" if tokenizer is None else tokenizer.decode(prompt)


def _text_choice(number: int, text: str, reason: str | None, logprobs: list[Logprob] | None) -> dict[str, Any]:
    return {"index": number, "text": text, "logprobs": _text_logprobs(logprobs), "finish_reason": reason}


async def _text_whole(answer: _Answer, echoes: list[str]) -> dict[str, Any]:
    choices = []
    async for number, item in answer.pieces():
        if isinstance(item, Text):
            text, reason = echoes[number] + item.text, _REASONS[item.finish_reason]
            choices.append(_text_choice(number, text, reason, item.logprobs))
    head = answer.head("text_completion")
    return head | {"choices": choices, "usage": answer.usage, "system_fingerprint": _fingerprint(answer)}


async def _text_chunks(answer: _Answer, body: Completion, echoes: list[str]) -> AsyncIterator[str]:
    head = answer.head("text_completion")
    usage = {"usage": None} if body.include_usage else {}
    begun = -1
    async for number, item in answer.pieces():
        if number != begun and echoes[number]:
            yield streams.event(head | {"choices": [_text_choice(number, echoes[number], None, None)]} | usage)
        begun = number
        whole = isinstance(item, Text)
        reason = _REASONS[item.finish_reason] if whole else None
        choice = _text_choice(number, "" if whole else item.text, reason, None if whole else item.logprobs)
        yield streams.event(head | {"choices": [choice]} | usage)
    if body.include_usage:
        yield streams.event(head | {"choices": [], "usage": answer.usage})
    yield streams.DONE


def _text_logprobs(logprobs: list[Logprob] | None) -> dict[str, Any] | None:
    if logprobs is None:
        return None
    offsets, at = [], 0
    for one in logprobs:
        offsets.append(at)
        at += len(one.text)
    return {
        "tokens": [one.text for one in logprobs],
        "token_logprobs": [one.logprob for one in logprobs],
        "top_logprobs": [{top.text: top.logprob for top in one.top} for one in logprobs],
        "text_offset": offsets,
    }
