"""Text encoders: an exported folder becomes the program `main`, which reads the tokens of one text.

A text is never padded, so the mask is all ones and disappears. The runtime makes one row of the rows of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self, cast

import numpy as np

from intaglio.compiler.ir.dims import Symbol, dim
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.values import DTYPES
from intaglio.compiler.models import computed_inputs
from intaglio.compiler.models.encoder import folder as folders
from intaglio.compiler.models.encoder.folder import Folder
from intaglio.compiler.models.encoder.reference import EncoderReference
from intaglio.compiler.models.family import Family, Passes, Request, Source
from intaglio.compiler.models.layout import Layout
from intaglio.compiler.models.model import Decoder, Probe
from intaglio.compiler.models.reference import Reference
from intaglio.compiler.passes.pipeline import Trace
from intaglio.compiler.passes.widen import widen
from intaglio.compiler.reader import external_data, load
from intaglio.compiler.semantics import evaluate
from intaglio.runtime.contract import ENCODER, IDS, MAIN, NEW_TOKENS, TYPES

_CHECKED = 7  # tokens of the golden run
_TOLERANCE = 1e-4  # the largest error of a value, relative to the largest value of the output if that is above 1


class Encoder(Family):
    kind = ENCODER
    reduces = (MAIN,)

    def __init__(self, folder: Folder) -> None:
        graph = _graph(folder)
        self.graphs = {MAIN: graph}
        self.settings = folder.settings | {"vocabulary": folder.vocabulary or _vocabulary(graph)}
        self.files, self.notes = folder.files, folder.notes

    @classmethod
    def matches(cls, source: Source) -> bool:
        return isinstance(source, Layout) and folders.matches(source)

    @classmethod
    def read(cls, source: Source, request: Request) -> Self:
        request.refuse_bind(source)
        return cls(folders.read(cast(Layout, source), request.max_length))

    def prepare(self) -> Passes:
        return {MAIN: (partial(widen, whole=True),)}

    def probes(self) -> list[Probe]:
        """Return one run on a few random tokens, the second half of them of a second text."""
        graph = self.graphs[MAIN]
        count = min(_CHECKED, self.settings["length"])
        ids = np.random.default_rng(0).integers(0, self.settings["vocabulary"] or 1, (1, count))
        arrays = {IDS: ids, TYPES: (np.arange(count) > count // 2)[None]}
        inputs = {v.name: arrays[v.name].astype(DTYPES[v.dtype]) for v in graph.inputs}
        outputs = {v.name: _TOLERANCE for v in graph.outputs}
        return [Probe(MAIN, {NEW_TOKENS: count}, inputs, outputs, _TOLERANCE, relative=True)]

    def evaluated(self, probes: Sequence[Probe], decoder: Decoder | None) -> list[dict[str, np.ndarray]]:
        return [evaluate.run(self.graphs[MAIN], probe.inputs, probe.symbols) for probe in probes]

    def programs(self, trace: Trace) -> dict[str, Graph]:
        return self.graphs

    @classmethod
    def notes_on(cls, source: Source, request: Request) -> list[str]:
        return folders.read(cast(Layout, source), request.max_length).notes

    @classmethod
    def reference(cls, source: Source, bind: Mapping[str, Any]) -> Reference:
        return EncoderReference(folders.read(cast(Layout, source)))


def _graph(folder: Folder) -> Graph:
    """Return the graph input_ids [1, tokens], token_type_ids [1, tokens] (if the file has them) -> rows or scores."""
    model, data = external_data.opened(folder.encoder)
    ports, tokens = folder.ports, dim(Symbol(NEW_TOKENS, 1, folder.length))
    graph = load.load(model, MAIN, folder=data, shapes=dict.fromkeys(load.input_types(model), (1, tokens)))
    for value in [v for v in graph.inputs if v.name in ports.masks]:
        computed_inputs.fill(graph, value)
    for value in [v for v in graph.inputs if v.name in ports.positions]:
        computed_inputs.count(graph, value, folder.first)
    for value in graph.inputs:
        value.name = TYPES if value.name in ports.types else IDS
    graph.outputs = [v for v in graph.outputs if v.name in ports.outputs]
    graph.prune()
    labels = folder.settings.get("labels")
    scores = next(v.shape[-1] for v in graph.outputs if v.name == ports.output)
    if labels and scores != len(labels):
        raise BadModel(
            f"config.json has {len(labels)} labels in id2label, but the model has {scores} scores; "
            "copy the config.json of this model"
        )
    return graph


def _vocabulary(graph: Graph) -> int | None:
    """Return the number of rows of the table that the token ids choose from, or None."""
    ids = next(v for v in graph.inputs if v.name == IDS)
    tables = [n.inputs[0] for n in graph.consumers(ids) if n.op == "Gather" and n.inputs[1] is ids]
    rows = [v.shape[0] for v in tables if v is not None]
    return next((n for n in rows if isinstance(n, int)), None)
