"""The commands: each is a module with `SUMMARY`, `add_arguments` and `run`. The other modules serve them."""

from __future__ import annotations

from pathlib import Path


def save(file: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)
