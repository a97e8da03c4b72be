"""Plain models: any ONNX model that no other family matches becomes the program `main`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import ml_dtypes
import numpy as np
from onnx import ModelProto

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.values import DTYPES, FLOATS
from intaglio.compiler.models import precision_notes
from intaglio.compiler.models.family import Family, Request, Source
from intaglio.compiler.models.layout import MODEL, Layout
from intaglio.compiler.models.model import Decoder, Probe
from intaglio.compiler.models.plain import range_notes
from intaglio.compiler.models.plain.binding import bound
from intaglio.compiler.models.reference import Arrays, Observed, Part, Reference, Run
from intaglio.compiler.passes.pipeline import Trace
from intaglio.compiler.reader import external_data, load
from intaglio.compiler.semantics import evaluate
from intaglio.runtime.contract import MAIN, PLAIN

SEED = 0
SMALL = 3  # the size of free dimensions in the golden run
TOLERANCE = 1e-4  # the largest error of a value, relative to the largest value of the output if that is above 1

_NARROW = (np.float16, ml_dtypes.bfloat16)


class PlainModel(Family):
    kind = PLAIN
    reduces = (MAIN,)

    def __init__(self, graph: Graph) -> None:
        self.graphs = {MAIN: graph}
        self.settings: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.notes: list[str] = []

    @classmethod
    def matches(cls, source: Source) -> bool:
        return True

    @classmethod
    def read(cls, source: Source, request: Request) -> Self:
        request.refuse_max_length(source)
        model, folder = opened(source)
        bind = bound(model, request.bind)
        result = cls(load.load(model, MAIN, folder=folder, bind=bind))
        result.notes = range_notes.notes(model, result.graphs[MAIN], bind)
        return result

    def probes(self) -> list[Probe]:
        """Return one run on random inputs of small sizes."""
        graph = self.graphs[MAIN]
        symbols = {s.name: max(s.low, min(s.high, SMALL)) for v in graph.inputs for s in v.type.symbols}
        random = np.random.default_rng(SEED)
        inputs = {}
        for v in graph.inputs:
            shape = tuple(dims.fixed(dims.substitute(d, symbols)) for d in v.shape)
            array = random.standard_normal(shape) if v.dtype in FLOATS else random.integers(0, 2, shape)
            inputs[v.name] = array.astype(DTYPES[v.dtype])
        outputs = {v.name: TOLERANCE for v in graph.outputs}
        return [Probe(MAIN, symbols, inputs, outputs, TOLERANCE, relative=True)]

    def evaluated(self, probes: Sequence[Probe], decoder: Decoder | None) -> list[dict[str, np.ndarray]]:
        """Return the outputs of each probe, or nothing if numpy cannot evaluate it."""
        try:
            return [evaluate.run(self.graphs[MAIN], probe.inputs, probe.symbols) for probe in probes]
        except Exception:  # of any type: random indices or sizes may be invalid
            return []

    def programs(self, trace: Trace) -> dict[str, Graph]:
        self.notes += precision_notes.notes(self.graphs[MAIN])
        return self.graphs

    @classmethod
    def reference(cls, source: Source, bind: Mapping[str, Any]) -> Reference:
        return PlainReference(source, bind)


class PlainReference:
    def __init__(self, source: Source, bind: Mapping[str, Any]) -> None:
        file = _file(source) if isinstance(source, Layout) else None
        part = Part(partial(opened, source), file, partial(_fixed, bind=bind))
        self._outputs, self._fixed = [o.name for o in part.header.graph.output], _fixed(part.header, bind)
        self.parts = {MAIN: part}

    def observe(self, program: str, symbols: Mapping[str, int], inputs: Arrays, run: Run) -> dict[str, Observed]:
        wide = {name: a.astype(np.float32) if a.dtype in _NARROW else a for name, a in inputs.items()}
        return {MAIN: Observed(run(MAIN, {**self._fixed, **wide}), symbols)}

    def outputs(self, program: str, observed: Mapping[str, Observed]) -> dict[str, np.ndarray]:
        return {name: observed[MAIN].values[name] for name in self._outputs}


def _fixed(header: ModelProto, bind: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the content of inputs that are bound."""
    return {name: value for name, value in bound(header, bind).items() if isinstance(value, np.ndarray)}


def opened(source: Source) -> tuple[ModelProto, Path | None]:
    """Return the model and the folder of its external data, which is None for a model in memory. Raises BadModel."""
    return (source, None) if isinstance(source, ModelProto) else external_data.opened(_file(source))


def _file(layout: Layout) -> Path:
    return layout.named[1].path if layout.named else layout.file(MODEL).path
