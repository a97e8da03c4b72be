"""Commands that are more than a call: each module has `add_arguments` and `run`, and what it prints."""

from __future__ import annotations

from pathlib import Path


def save(file: Path, text: str) -> None:
    """Whole or not at all."""
    beside = file.with_name(f"{file.name}.partial")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)
