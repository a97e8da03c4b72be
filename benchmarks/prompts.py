"""The tokens that prompts are cut from. Engines are given them: no process that is timed reads a text."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from benchmarks.workloads import TOKENS


def tokens(text: Path, tokenizer: Path) -> list[int]:
    """The first ones of `text`, enough for all prompts."""
    return Tokenizer.from_file(str(tokenizer)).encode(text.read_text("utf-8")).ids[:TOKENS]
