"""A family: models that are read in one way, have the same programs, and serve one task of the runtime.

It is a class in a folder of its own. families.py lists the families, and compiles a model of any of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import onnx

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.models.layout import Layout
from intaglio.compiler.models.model import Decoder, GoldenRun
from intaglio.compiler.models.reference import Reference
from intaglio.compiler.passes.pipeline import Pass, Trace

Source = Layout | onnx.ModelProto
Passes = Mapping[str, Sequence[Pass]]  # by the name of the graph


@dataclass(frozen=True)
class Request:
    """What the user asks of a model: `bind` fixes named dimensions (ints, or ranges that they stay in) and inputs
    (arrays); `max_length` is how many tokens of prompt and answer there is room for; `dtype` chooses among the files of
    a folder (`q4`, or `encoder=fp32,decoder=q4`)."""

    bind: Mapping[str, Any] = field(default_factory=dict)
    max_length: int | None = None
    dtype: str | None = None

    def refuse_bind(self, source: Source) -> None:
        """For families whose sizes are known. Raises BadModel."""
        if self.bind:
            raise BadModel(f"{source} has no sizes to bind: its configuration gives them; leave out --bind")

    def refuse_max_length(self, source: Source) -> None:
        """For families without a context of their own choice. Raises BadModel."""
        if self.max_length is not None:
            name = source if isinstance(source, Layout) else "this model"
            raise BadModel(f"--max-length is for language models, and {name} is not one; leave it out")


class Family(ABC):
    """A model that was read, on its way to its programs.

    `graphs`: its parts by name, which the recipe of families.py rewrites in place. `settings` becomes generation.json,
    `files` are copied into the bundle, and `notes` are what its user should know.
    """

    kind: ClassVar[str]  # of the bundle, by runtime/contract.py
    reduces: ClassVar[
        tuple[str, ...]
    ]  # graphs whose numbers can be stored in fewer bits; a shared one as the first does
    graphs: dict[str, Graph]
    settings: dict[str, Any]
    files: dict[str, bytes]
    notes: list[str]

    @classmethod
    @abstractmethod
    def matches(cls, source: Source) -> bool:
        """Whether `source` is of this family. Raises BadModel for a configuration that cannot be read."""

    @classmethod
    @abstractmethod
    def read(cls, source: Source, request: Request) -> Self:
        """Raises BadModel, UnsupportedOperator."""

    @abstractmethod
    def golden(self, decoder: Decoder | None) -> list[GoldenRun]:
        """What the programs must compute, by numpy on the graphs as they are now. `decoder`: what `decoder()` gives."""

    @abstractmethod
    def programs(self, trace: Trace) -> dict[str, Graph]:
        """The programs by name, of the graphs after every phase."""

    @classmethod
    @abstractmethod
    def reference(cls, source: Source, bind: Mapping[str, Any]) -> Reference:
        """The ONNX files themselves, as onnxruntime can run them. Raises BadModel."""

    @classmethod
    def notes_on(cls, source: Source, request: Request) -> list[str]:
        """What the files beside the model have its user know, before anything is compiled. Raises BadModel."""
        return []

    def prepare(self) -> Passes:
        """What must be rewritten before golden values can be computed."""
        return {}

    def derive(self) -> Passes:
        """What follows once the graphs are understood, such as a cache."""
        return {}

    def decoder(self) -> Decoder | None:
        """For families that continue texts: what their accuracy in fewer bits is measured with, and learns from."""
        return None

    def texts(self) -> tuple[np.ndarray, np.ndarray]:
        """For families with a decoder: tokens i64[1, n] to measure on, and others to learn from."""
        raise NotImplementedError
