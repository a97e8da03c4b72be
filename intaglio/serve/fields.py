"""The fields of requests. A field that OpenAI's API has is used or refused; it is never ignored."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request

from intaglio.serve.errors import ApiError

T = TypeVar("T", bound="Body")
SEEDS = (1 << 31) - 1


class Body(msgspec.Struct, kw_only=True):
    """What all endpoints share."""

    model: str | None = None
    user: str | None = None


class Sampled(Body, kw_only=True):
    """The fields of texts that are generated."""

    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None

    def refused(self) -> dict[str, bool]:
        """The fields that are not supported, and whether the request uses them."""
        return {
            "frequency_penalty": bool(self.frequency_penalty),
            "presence_penalty": bool(self.presence_penalty),
            "logit_bias": bool(self.logit_bias),
        }

    def options(self, recommended: dict[str, Any]) -> dict[str, Any]:
        """Return the options of Bundle.generate. Raises ApiError."""
        for name, used in self.refused().items():
            if used:
                raise ApiError(400, f"{name} is not supported by this server; leave it out", name, "unsupported")
        within("temperature", self.temperature, 0, 2)
        within("n", self.n, 1, 8)
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(stop) > 16:
            raise ApiError(400, f"stop: expected up to 16 texts, got {len(stop)}", "stop")
        names = "max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty"
        explicit = {name: value for name in names if (value := getattr(self, name)) is not None}
        seed = {} if self.seed is None else {"seed": self.seed & SEEDS}
        return {"temperature": 1.0} | recommended | explicit | seed | {"stop": stop}

    @property
    def include_usage(self) -> bool:
        return bool((self.stream_options or {}).get("include_usage"))


class Chat(Sampled, kw_only=True):
    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    functions: list[Any] | None = None
    audio: dict[str, Any] | None = None
    modalities: list[str] | None = None

    def refused(self) -> dict[str, bool]:
        return super().refused() | {
            "response_format": (self.response_format or {}).get("type", "text") != "text",
            "tools": bool(self.tools) and self.tool_choice != "none",
            "tool_choice": self.tool_choice not in (None, "none", "auto"),
            "functions": bool(self.functions),
            "audio": self.audio is not None,
            "modalities": self.modalities not in (None, ["text"]),
        }

    def options(self, recommended: dict[str, Any]) -> dict[str, Any]:
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise ApiError(400, "max_tokens and max_completion_tokens differ; send one of them", "max_tokens")
        within("top_logprobs", self.top_logprobs, 0, 20)
        if self.top_logprobs is not None and not self.logprobs:
            raise ApiError(400, "top_logprobs needs logprobs: true", "top_logprobs")
        options = super().options(recommended)
        if self.max_completion_tokens is not None:
            options["max_tokens"] = self.max_completion_tokens
        return options | ({"logprobs": self.top_logprobs or 0} if self.logprobs else {})


class Completion(Sampled, kw_only=True):
    prompt: str | list[str | int | list[int]]
    logprobs: int | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None

    def refused(self) -> dict[str, bool]:
        best_of = self.best_of not in (None, self.n or 1)
        return super().refused() | {"suffix": bool(self.suffix), "best_of": best_of}

    def options(self, recommended: dict[str, Any]) -> dict[str, Any]:
        within("logprobs", self.logprobs, 0, 5)
        options = {"max_tokens": 16} | super().options(recommended)
        return options | ({} if self.logprobs is None else {"logprobs": self.logprobs})

    @property
    def prompts(self) -> list[str | list[int]]:
        several = isinstance(self.prompt, list) and (not self.prompt or not isinstance(self.prompt[0], int))
        return list(self.prompt) if several else [self.prompt]  # type: ignore[list-item, return-value]


class Embedding(Body, kw_only=True):
    input: str | list[str | int | list[int]]
    encoding_format: str | None = None
    dimensions: int | None = None


def within(name: str, value: float | None, low: float, high: float) -> None:
    """Raise ApiError unless the value is None or in the range."""
    if value is not None and not low <= value <= high:
        raise ApiError(400, f"{name}: expected a number from {low} to {high}, got {value}", name)


async def parsed(request: Request, kind: type[T]) -> T:
    """Return the fields of a request with JSON. Raises ApiError, which names the field at fault."""
    content_type = request.headers.get("content-type", "application/json")
    if "json" not in content_type:
        raise ApiError(415, f"expected a body of application/json, got {content_type[:60]}")
    try:
        return msgspec.json.decode(await request.body(), type=kind, strict=True)
    except msgspec.ValidationError as error:
        message = str(error)
        place = re.search(r"at `\$\.?([^`]*)`", message) or re.search(r"required field `(\w+)`", message)
        raise ApiError(400, message, place.group(1) if place and place.group(1) else None) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None
