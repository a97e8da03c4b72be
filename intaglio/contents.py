"""The content of a bundle's files. Each is read and checked at its first use. No adapter is needed."""

from __future__ import annotations

import json
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from intaglio.lazy import lazy
from intaglio.runtime import designs_file, files, plan_file
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.instruments import provenance
from intaglio.runtime.instruments.provenance import Graph
from intaglio.runtime.plan import Plan

if TYPE_CHECKING:
    from intaglio.runtime.tasks.chat_template import ChatTemplate
    from intaglio.runtime.tasks.generate import Settings
    from intaglio.runtime.tasks.tokenizer import Tokenizer


class Contents:
    """The files of the bundle in `folder`. Any thread may use it. It and all its properties raise BadBundle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan: Plan = plan_file.read(folder)
        self._lock = RLock()

    @lazy
    def whole_plan(self) -> Plan:
        """The plan with the variants of its steps, profiles and tunings."""
        return designs_file.read(self.folder, self.plan)

    @lazy
    def graph(self) -> Graph:
        """What each step computes, and for which ONNX nodes."""
        return provenance.read(self.folder, self.plan)

    @lazy
    def report(self) -> dict[str, Any]:
        """The compiler's report: passes, kernels, bytes, dispatches per token."""
        path = self.folder / "report.json"
        if path.is_symlink() or not path.is_file():
            raise BadBundle(f"{path} is missing; compile the model again")
        return _parsed(path, path.read_bytes())  # nothing that runs depends on it, so the plan has no hash of it

    @lazy
    def generation(self) -> dict[str, Any]:
        """generation.json: the constants of a Whisper or a language model."""
        name = "generation.json"
        return _parsed(self.folder / name, files.verify_file(self.folder, self.plan, name))

    @lazy
    def tokenizer(self) -> Tokenizer | None:
        """Converts text to token ids and back; None if the model has none."""
        from intaglio.runtime.tasks.tokenizer import Tokenizer

        content = self._file("tokenizer.json")
        return None if content is None else Tokenizer(content)

    @lazy
    def language(self) -> Settings:
        """The settings of a language model. Raises ValueError for a bundle of another kind."""
        from intaglio.runtime.tasks.generate import Settings

        self.expect("language", "language model", "generate text")
        return Settings.parse(self.generation)

    @lazy
    def chat_template(self) -> ChatTemplate | None:
        """Formats messages as one prompt; None if the model has no template."""
        from intaglio.runtime.tasks.chat_template import ChatTemplate

        content = self._file("chat_template.jinja")
        return ChatTemplate(content.decode("utf-8", "replace"), self.language.special) if content else None

    def tokens(self, text: str, special: bool = True) -> list[int]:
        """The token ids of a text. Raises ValueError if the bundle has no tokenizer."""
        if self.tokenizer is None:
            raise ValueError(f"{self.folder} has no tokenizer; pass token ids, as in generate([1, 2, 3])")
        return self.tokenizer.encode(text, special)

    def expect(self, kind: str, model: str, task: str) -> None:
        """Raise ValueError unless the bundle is of this kind."""
        if self.plan.kind != kind:
            raise ValueError(f"{self.folder} is not a {model} and cannot {task}; its kind is {self.plan.kind!r}")

    def _file(self, name: str) -> bytes | None:
        """The content of an optional file; None if it is missing."""
        return files.verify_file(self.folder, self.plan, name) if name in self.plan.files else None


def _parsed(path: Path, content: bytes) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadBundle(f"{path} is broken: {error}; compile the model again") from error
    if not isinstance(data, dict):
        raise BadBundle(f"{path} is broken: expected a JSON object; compile the model again")
    return data
