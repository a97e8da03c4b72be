"""Chat completions and completions, by OpenAI's Python client: what the bundle says, in OpenAI's shapes."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

import intaglio

MESSAGES: Any = [{"role": "user", "content": "a b c"}]
GREEDY: Any = {"temperature": 0, "max_tokens": 8, "model": "chat"}


@pytest.fixture(scope="module")
def expected(bundles: dict[str, intaglio.Bundle]) -> Any:
    session = bundles["chat"].session()
    return session.chat(MESSAGES, **session.sampling | {"temperature": 0, "max_tokens": 8})


def test_a_chat(client: openai.OpenAI, expected: Any) -> None:
    result = client.chat.completions.create(messages=MESSAGES, **GREEDY)
    assert result.object == "chat.completion" and result.model == "chat"
    assert result.choices[0].message.content == expected.text and result.choices[0].message.role == "assistant"
    assert result.choices[0].finish_reason == ("length" if len(expected.tokens) == 8 else "stop")
    usage = result.usage
    assert usage and usage.prompt_tokens == expected.prompt_tokens and usage.completion_tokens == len(expected.tokens)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_prompt_that_was_read_before_is_cached(client: openai.OpenAI) -> None:
    for _ in range(2):
        result = client.chat.completions.create(messages=MESSAGES, **GREEDY)
    assert result.usage and result.usage.prompt_tokens_details
    assert result.usage.prompt_tokens_details.cached_tokens == result.usage.prompt_tokens - 1


def test_a_streamed_chat(client: openai.OpenAI, expected: Any) -> None:
    options = GREEDY | {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(messages=MESSAGES, **options))
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[0].choices[0].delta.content == ""
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == expected.text
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert reasons[-1] in ("stop", "length") and not any(reasons[:-1])
    assert chunks[-1].choices == [] and chunks[-1].usage and chunks[-1].usage.completion_tokens == len(expected.tokens)
    assert all(c.usage is None for c in chunks[:-1]) and len({c.id for c in chunks}) == 1


def test_parts_of_text_and_several_answers(client: openai.OpenAI, expected: Any) -> None:
    parts: Any = [{"role": "user", "content": [{"type": "text", "text": "a b"}, {"type": "text", "text": " c"}]}]
    result = client.chat.completions.create(messages=parts, n=2, **GREEDY)
    assert [c.message.content for c in result.choices] == [expected.text] * 2
    assert [c.index for c in result.choices] == [0, 1]


def test_log_probabilities(client: openai.OpenAI) -> None:
    result = client.chat.completions.create(messages=MESSAGES, logprobs=True, top_logprobs=2, **GREEDY)
    content = result.choices[0].logprobs and result.choices[0].logprobs.content
    assert content and all(len(one.top_logprobs) == 2 and one.logprob <= 0 for one in content)


def test_a_seed_repeats(client: openai.OpenAI) -> None:
    options = GREEDY | {"temperature": 1.5, "seed": -(2**40)}
    texts = {client.chat.completions.create(messages=MESSAGES, **options).choices[0].message.content for _ in range(3)}
    assert len(texts) == 1


def test_completions(client: openai.OpenAI, bundles: dict[str, intaglio.Bundle]) -> None:
    expected = (
        bundles["chat"].session().generate("a b", **bundles["chat"].sampling | {"temperature": 0, "max_tokens": 8})
    )
    tokens = bundles["chat"].contents.tokens("a b")
    for prompt in "a b", tokens, ["a b", "a b"], [tokens, tokens]:
        result = client.completions.create(prompt=prompt, **GREEDY)
        assert {c.text for c in result.choices} == {expected.text}
    chunks = list(client.completions.create(prompt="a b", stream=True, **GREEDY))
    assert "".join(c.choices[0].text for c in chunks) == expected.text


def test_many_at_once(server: Any, expected: Any) -> None:
    """More than there are sessions, streamed and not: each gets what it gets alone."""

    async def ask(client: openai.AsyncOpenAI, streamed: bool) -> str | None:
        if not streamed:
            result = await client.chat.completions.create(messages=MESSAGES, **GREEDY)
            return result.choices[0].message.content
        stream = await client.chat.completions.create(messages=MESSAGES, stream=True, **GREEDY)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def everyone() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as client:
            return await asyncio.gather(*(ask(client, bool(i % 2)) for i in range(12)))

    assert set(asyncio.run(everyone())) == {expected.text}


@pytest.mark.parametrize(
    "changed, param",
    [
        ({"temperature": 3}, "temperature"),
        ({"n": 9}, "n"),
        ({"top_p": 2}, "top_p"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"max_completion_tokens": 5}, "max_tokens"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"messages": "hello"}, "messages"),
    ],
)
def test_what_is_not_supported_is_refused(client: openai.OpenAI, changed: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(**{"messages": MESSAGES, **GREEDY, **changed})
    assert error.value.param == param and error.value.body
    assert set(error.value.body) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_over_the_context(client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(
            messages=[{"role": "user", "content": "a b c d " * 500}], stream=stream, **GREEDY
        )
    assert error.value.code == "context_length_exceeded"


def test_a_client_that_leaves_ends_its_text(server: Any, client: openai.OpenAI) -> None:
    import time

    stream = client.chat.completions.create(messages=MESSAGES, stream=True, temperature=0, model="chat")
    next(iter(stream))
    stream.close()
    pool, begin = server.app.state.models.all["chat"].pool, time.monotonic()
    while pool.running:
        assert time.monotonic() - begin < 5
        time.sleep(0.02)
