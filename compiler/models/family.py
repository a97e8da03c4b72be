"""A family: models that are read in the same way, have the same programs and serve one task of the runtime.

Each family is a class in its own folder. families.py lists the families and compiles a model of any of them.
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
from intaglio.compiler.models.model import Decoder, Probe
from intaglio.compiler.models.reference import Reference
from intaglio.compiler.passes.pipeline import Pass, Trace

Source = Layout | onnx.ModelProto
Passes = Mapping[str, Sequence[Pass]]  # passes by the name of the graph


@dataclass(frozen=True)
class Request:
    """The user's options for reading a model.

    bind: named dimensions (an int, or a range of sizes) and inputs (an array). max_length: the tokens of prompt and
    answer together, or of the longest text of an encoder. dtype: the choice among the files of a folder (`q4`, or
    `encoder=fp32,decoder=q4`).
    """

    bind: Mapping[str, Any] = field(default_factory=dict)
    max_length: int | None = None
    dtype: str | None = None

    def refuse_bind(self, source: Source) -> None:
        """Raise BadModel if sizes are bound, for families whose sizes are known."""
        if self.bind:
            raise BadModel(f"{source} has no sizes to bind: its configuration gives them; leave out --bind")

    def refuse_max_length(self, source: Source) -> None:
        """Raise BadModel if a length is requested, for families whose context is fixed."""
        if self.max_length is not None:
            name = source if isinstance(source, Layout) else "this model"
            raise BadModel(
                f"--max-length is for language models and text encoders, and {name} is not one; leave it out"
            )


class Family(ABC):
    """A model that was read, from which `families.compiled` makes programs.

    graphs: the parts by name, which the phases of families.py rewrite in place. settings: the content of
    generation.json. files: files that are copied into the bundle. notes: messages for the user.
    """

    kind: ClassVar[str]  # the kind of the bundle: see runtime/contract.py
    reduces: ClassVar[
        tuple[str, ...]
    ]  # graphs that can be quantized; the first one decides the format of shared weights
    graphs: dict[str, Graph]
    settings: dict[str, Any]
    files: dict[str, bytes]
    notes: list[str]

    @classmethod
    @abstractmethod
    def matches(cls, source: Source) -> bool:
        """Return whether `source` is of this family. Raises BadModel if the configuration cannot be read."""

    @classmethod
    @abstractmethod
    def read(cls, source: Source, request: Request) -> Self:
        """Read the model. Raises BadModel, UnsupportedOperator."""

    @abstractmethod
    def probes(self) -> list[Probe]:
        """Return runs of the programs whose results go into the bundle as golden values. The oracle computes these."""

    @abstractmethod
    def evaluated(self, probes: Sequence[Probe], decoder: Decoder | None) -> list[dict[str, np.ndarray]]:
        """Return the outputs of each probe, computed by numpy on the current graphs. decoder: from `decoder()`.

        They show what quantization changes, and are the golden values of a model that no oracle runs.
        """

    @abstractmethod
    def programs(self, trace: Trace) -> dict[str, Graph]:
        """Return the programs by name, made of the graphs after all other phases."""

    @classmethod
    @abstractmethod
    def reference(cls, source: Source, bind: Mapping[str, Any]) -> Reference:
        """Return the model's ONNX files in a form that the oracle can run. Raises BadModel."""

    @classmethod
    def notes_on(cls, source: Source, request: Request) -> list[str]:
        """Return messages for the user about the files beside the model, without compiling it. Raises BadModel."""
        return []

    def prepare(self) -> Passes:
        """Return the passes that run before the golden values are computed."""
        return {}

    def derive(self) -> Passes:
        """Return the passes that run after the graphs are understood, such as one that adds a cache."""
        return {}

    def decoder(self) -> Decoder | None:
        """Return the decoder that calibrates and measures quantization, or None if the family has no decoder."""
        return None

    def texts(self) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens i64[1, n] to measure accuracy on and others to calibrate on, for families with a decoder."""
        raise NotImplementedError
