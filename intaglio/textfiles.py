"""What a bundle needs to read and write texts, checked before the bundle is written, when the files can be mended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from intaglio.runtime.errors import BadBundle
from intaglio.runtime.tasks.chat_template import ChatTemplate
from intaglio.runtime.tasks.tokenizer import Tokenizer


def fault(files: Mapping[str, bytes], settings: Mapping[str, Any]) -> str | None:
    """What is wrong with a tokenizer, a chat template or an end token, None if nothing is.

    files: those of a bundle, by name. settings: the content of generation.json.
    """
    readers: dict[str, Callable[[bytes], Any]] = {
        "tokenizer.json": Tokenizer,
        "chat_template.jinja": lambda content: ChatTemplate(content.decode(), settings["special"]),
    }
    for name, read in readers.items():
        if name in files and (reason := _unreadable(files[name], read)):
            reason = reason.removeprefix(f"{name} is broken: ").removesuffix("; compile the model again")
            return f"{name} is broken: {reason[:160]}; save the model's tokenizer again"
    vocabulary, end = settings.get("vocabulary"), settings.get("end", [])
    ends = end if isinstance(end, list) else [end]  # a Whisper has one
    wrong = [token for token in ends if vocabulary is not None and not 0 <= token < vocabulary]
    if not wrong:
        return None
    return (
        f"the end token {wrong[0]} does not exist, because the model has {vocabulary} tokens; "
        "correct eos_token_id in generation_config.json"
    )


def _unreadable(content: bytes, read: Callable[[bytes], Any]) -> str | None:
    try:
        read(content)
    except (BadBundle, UnicodeDecodeError) as error:
        return str(error)
    return None
