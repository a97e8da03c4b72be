"""The files that compiling would use: the .onnx files by part, and the settings and text files beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from intaglio.compiler.models import genai, tokenizer_files
from intaglio.compiler.models.encoder import pooling
from intaglio.compiler.models.layout import EMBED, File, Layout
from intaglio.runtime.contract import ENCODER, PLAIN

# The files for each purpose, the preferred one first.
_CONFIGURATION = ("config.json", genai.NAME)
_TOKENIZER = (tokenizer_files.FILE, tokenizer_files.VOCABULARY, tokenizer_files.PIECES)
_OF_DECODERS = {
    "configuration": _CONFIGURATION,
    "generation": ("generation_config.json",),
    "tokenizer": _TOKENIZER,
    "chat template": ("chat_template.jinja", "chat_template.json"),
}
_OF_ENCODERS = {"configuration": _CONFIGURATION, "pooling": pooling.FILES[::-1], "tokenizer": _TOKENIZER}


@dataclass(frozen=True)
class Preview:
    """The kind of the bundle, the .onnx files by part, and the other files by purpose (None if missing)."""

    kind: str
    models: dict[str, File]
    beside: dict[str, Path | None]
    notes: list[str]

    @classmethod
    def of(cls, kind: str, layout: Layout, notes: list[str]) -> Self:
        """Return the preview of a layout. Raises BadModel if no .onnx file or several files match."""
        return cls(kind, models(layout), {} if kind == PLAIN else dict(_beside(kind, layout)), notes)


def models(layout: Layout) -> dict[str, File]:
    """Return the .onnx files to compile, by part. They may not exist yet. Raises BadModel."""
    named = genai.files(layout)
    if not named:
        return layout.sources()
    if "embedding" not in named and "encoder" not in named and layout.has(EMBED):
        named["embedding"] = layout.file(EMBED).path
    files = (*layout.others, *(file for by_dtype in layout.files.values() for file in by_dtype.values()))
    sizes = {file.path: file.size for file in files}
    return {part: File(path, "", sizes.get(path, 0)) for part, path in named.items()}


def _beside(kind: str, layout: Layout) -> Iterator[tuple[str, Path | None]]:
    for purpose, names in (_OF_ENCODERS if kind == ENCODER else _OF_DECODERS).items():
        yield purpose, next((path for name in names if (path := layout.find(name))), None)
