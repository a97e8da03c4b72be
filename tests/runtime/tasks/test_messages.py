"""Chat messages as clients write them: a text each, or one line that names the message at fault."""

from __future__ import annotations

import pytest

from intaglio.runtime.tasks.messages import with_texts

TEXT = {"type": "text", "text": "Hi"}


@pytest.mark.parametrize(
    "message, content",
    [
        ({"role": "user", "content": "Hi"}, "Hi"),
        ({"role": "user", "content": ""}, ""),
        ({"role": "user", "content": [TEXT, {"type": "text", "text": " you"}]}, "Hi you"),
        ({"role": "user", "content": []}, ""),
        ({"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, ""),
        ({"role": "assistant", "tool_calls": [{"id": "1"}]}, ""),
    ],
)
def test_a_message_becomes_a_text(message, content):
    (result,) = with_texts([message])
    assert result == {**message, "content": content}


@pytest.mark.parametrize(
    "message, facts",
    [
        ({"role": "user", "content": None}, "content is missing"),
        ({"role": "user"}, "content is missing"),
        ({"role": "user", "content": 5}, "content is of type int"),
        ({"role": "user", "content": {"text": "Hi"}}, "content is of type dict"),
        ({"role": "user", "content": [TEXT, {"type": "image_url"}]}, "'image_url' is not supported"),
        ({"role": "user", "content": "caf\udce9"}, "not UTF-8 at character 4; convert it with iconv"),
        ({"role": "user", "content": ["Hi"]}, "'str' is not supported"),
        ({"role": 1, "content": "Hi"}, "expected"),
        ({"content": "Hi"}, "expected"),
        ("Hi", "expected"),
    ],
)
def test_a_wrong_message_is_named(message, facts):
    with pytest.raises(ValueError, match=facts) as error:
        with_texts([{"role": "user", "content": "first"}, message])
    assert str(error.value).startswith("messages[1]: ") and len(str(error.value)) < 300


@pytest.mark.parametrize("messages", [None, 5, "Hi", [], {"role": "user", "content": "Hi"}])
def test_what_is_not_a_list(messages):
    with pytest.raises(ValueError, match="messages: expected a list"):
        with_texts(messages)
