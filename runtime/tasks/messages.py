"""Converts chat messages as people and clients write them to the form that chat templates expect: one text each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def with_texts(messages: Any) -> list[dict[str, Any]]:
    """Return `messages`, [{"role": "user", "content": "..."}, ...], with the text parts of each content joined.

    A message that calls tools may leave its content out. Raises ValueError, which names the message at fault.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise ValueError('messages: expected a list of {"role": ..., "content": ...}')
    return [_with_text(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _with_text(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise ValueError(f'{where}: expected {{"role": "user", "content": "..."}}, got {str(message)[:60]!r}')
    content = message.get("content")
    if content is None and message.get("tool_calls"):
        return {**message, "content": ""}
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = "".join(_part(part, where) for part in content)
    if not isinstance(content, str):
        kind = "missing" if content is None else f"of type {type(content).__name__}"
        raise ValueError(f"{where}: its content is {kind}; expected a text, or a list of text parts")
    try:
        content.encode()
    except UnicodeEncodeError as error:
        place = f"character {error.start + 1}"
        raise ValueError(f"{where}: its content is not UTF-8 at {place}; convert it with iconv -t utf-8") from None
    return {**message, "content": content}


def _part(part: Any, where: str) -> str:
    if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return part["text"]
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    raise ValueError(f'{where}: a part of type {kind!r} is not supported; expected {{"type": "text", "text": "..."}}')
