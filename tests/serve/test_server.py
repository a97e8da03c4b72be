"""The server itself: its routes, keys, limits and errors."""

from __future__ import annotations

from typing import Any

import httpx2 as httpx
import openai
import pytest
from serving import Running

import intaglio
from intaglio.serve import Settings


@pytest.mark.parametrize("path", ["/health", "/ready", "/", "/metrics", "/v1/models", "/models", "/v1/info"])
def test_routes(server: Any, path: str) -> None:
    assert httpx.get(server.url + path).status_code == 200


def test_models(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {"chat", "speech"}
    assert client.models.retrieve("chat").id == "chat"
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("gpt-4")
    assert error.value.code == "model_not_found"


def test_what_is_not_there(server: Any, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model here embeds texts; chat generates text"):
        client.embeddings.create(model="x", input="a")
    for method, path, status in [("GET", "/v1/nothing", 404), ("GET", "/v1/chat/completions", 405)]:
        answer = httpx.request(method, server.url + path)
        assert answer.status_code == status and set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["allow"] == "POST"


def test_bodies_of_the_wrong_kind(server: Any) -> None:
    url = f"{server.url}/v1"
    assert httpx.post(f"{url}/chat/completions", content="{", headers={"content-type": "text/plain"}).status_code == 415
    assert httpx.post(f"{url}/audio/transcriptions", json={}).status_code == 415
    broken = httpx.post(f"{url}/chat/completions", content="{", headers={"content-type": "application/json"})
    assert broken.status_code == 400 and "JSON" in broken.json()["error"]["message"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large(server: Any, chunked: bool) -> None:
    content: Any = (b"x" * 100_000 for _ in range(12)) if chunked else b"x" * 1_200_000
    answer = httpx.post(
        f"{server.url}/v1/chat/completions", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413 and "1 MB" in answer.json()["error"]["message"]


def test_keys(bundles: dict[str, intaglio.Bundle]) -> None:
    running = Running({"chat": bundles["chat"]}, Settings(keys=["secret"]))
    try:
        assert httpx.get(f"{running.url}/health").status_code == 200
        assert httpx.get(f"{running.url}/metrics").status_code == 401
        for key in "secrets", "", "SECRET":
            with pytest.raises(openai.AuthenticationError) as error:
                running.client(key or "x").models.list()
            assert error.value.code == "invalid_api_key"
        assert running.client("secret").models.list().data
    finally:
        running.stop()
