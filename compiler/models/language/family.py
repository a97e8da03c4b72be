"""Language models: an exported folder becomes the programs {prefill, step}, which share weights and caches.

The decoder is read without its cache, which the passes derive again. A state holds the tokens. The host writes the
prompt into it, and each run reads its tokens from it and writes the next token after them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self, cast

import numpy as np

from intaglio.compiler.ir.dims import Dim, Symbol, dim
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import SampleToken
from intaglio.compiler.ir.values import TensorType
from intaglio.compiler.models import decoder_inputs
from intaglio.compiler.models import embedding as embeddings
from intaglio.compiler.models.accuracy import text_tokens
from intaglio.compiler.models.decoder_reference import DECODE, DecoderReference
from intaglio.compiler.models.embedding import EMBED
from intaglio.compiler.models.family import Family, Passes, Request, Source
from intaglio.compiler.models.language import folder as folders
from intaglio.compiler.models.language.folder import Folder
from intaglio.compiler.models.layout import Layout
from intaglio.compiler.models.model import Decoder, Probe
from intaglio.compiler.models.reference import Reference
from intaglio.compiler.passes import pipeline
from intaglio.compiler.passes.fold import fold
from intaglio.compiler.passes.fuse_quantized import rounds_by_run
from intaglio.compiler.passes.kv_cache import kv_cache, last_position
from intaglio.compiler.passes.pipeline import Trace
from intaglio.compiler.passes.positions import positions
from intaglio.compiler.passes.widen import widen
from intaglio.runtime.contract import (
    DRAWN,
    LANGUAGE,
    LOGITS,
    NEW_TOKENS,
    PAST,
    PREFILL,
    SAMPLING,
    SAMPLING_OPTIONS,
    SEED,
    STEP,
    TOKENS,
)

_CHECKED = 6  # tokens of the golden run
_TOLERANCE = 2e-3  # the largest error of its logits


class LanguageModel(Family):
    kind = LANGUAGE
    reduces = (DECODE,)

    def __init__(self, folder: Folder) -> None:
        self._context = folder.context
        self._past, self._new = dim(Symbol(PAST, 0, folder.context - 1)), Symbol(NEW_TOKENS, 1, folder.context)
        embedding = embeddings.read(folder.embedding, dim(self._new)) if folder.embedding else None
        graph = decoder_inputs.read(folder.decoder, dim(self._new), None, folder.vocabulary, embedding)
        self.graphs = {DECODE: graph} | ({EMBED: embedding} if embedding is not None else {})
        self.settings = folder.settings | {"vocabulary": graph.outputs[0].shape[-1]}
        self.files, self.notes = folder.files, folder.notes

    @classmethod
    def matches(cls, source: Source) -> bool:
        return isinstance(source, Layout) and folders.matches(source)

    @classmethod
    def read(cls, source: Source, request: Request) -> Self:
        request.refuse_bind(source)
        return cls(folders.read(cast(Layout, source), request.max_length))

    def prepare(self) -> Passes:
        return {DECODE: (partial(widen, whole=True),)}

    def derive(self) -> Passes:
        past, new = self._past, self._new
        return {DECODE: (partial(positions, tokens=new, past=past), fold, partial(kv_cache, tokens=new, past=past))}

    def decoder(self) -> Decoder:
        return Decoder(self.graphs[DECODE])

    def texts(self) -> tuple[np.ndarray, np.ndarray]:
        return text_tokens(self.files.get("tokenizer.json"), self.settings["vocabulary"], self._context)

    def probes(self) -> list[Probe]:
        """Return runs of a few tokens in both programs."""
        count = min(_CHECKED, self._context)
        ids = np.random.default_rng(0).integers(0, self.settings["vocabulary"], (1, count))
        tokens = decoder_inputs.tokens_state(ids, self._context)
        # If the range of a rounding depends on the run, only a run of all tokens computes what the export computes.
        rounds = rounds_by_run(self.graphs[DECODE])
        first = count if rounds else min(count, self.settings["chunk"], count - 1 or 1)
        runs = [(PREFILL, {PAST: 0, NEW_TOKENS: first}), *((STEP, {PAST: p}) for p in range(first, count))]
        return [Probe(name, symbols, {TOKENS: tokens}, {LOGITS: _TOLERANCE}, _TOLERANCE) for name, symbols in runs]

    def evaluated(self, probes: Sequence[Probe], decoder: Decoder | None) -> list[dict[str, np.ndarray]]:
        return (decoder or self.decoder()).golden(probes)

    def programs(self, trace: Trace) -> dict[str, Graph]:
        past, new = self._past, dim(self._new)
        tokens = (
            partial(decoder_inputs.read_tokens, past=past, new=new, context=self._context),
            partial(sample_token, at=past + new),
        )
        graph = pipeline.run(self.graphs[DECODE], tokens, trace)
        sizes: dict[str, Dim] = {PREFILL: dim(Symbol(NEW_TOKENS, 1, self.settings["chunk"])), STEP: 1}
        return {
            name: pipeline.run(graph.copy(name, {NEW_TOKENS: size}), (partial(last_position, tokens=size),), trace)
            for name, size in sizes.items()
        }

    @classmethod
    def notes_on(cls, source: Source, request: Request) -> list[str]:
        return folders.read(cast(Layout, source), request.max_length).notes

    @classmethod
    def reference(cls, source: Source, bind: Mapping[str, Any]) -> Reference:
        folder = folders.read(cast(Layout, source))
        return DecoderReference(folder.decoder, folder.sizes, folder.vocabulary, embedding=folder.embedding)


def sample_token(graph: Graph, at: Dim) -> int:
    """Append a SampleToken, which writes the next token into row `at` of the state `tokens`; return 1."""
    tokens = next(v for v in graph.states if v.name == TOKENS)
    sampling = graph.value(SAMPLING, TensorType("f32", (len(SAMPLING_OPTIONS),)))
    graph.states.append(sampling)
    seed, drawn = dim(Symbol(SEED, 0, (1 << 31) - 1)), dim(Symbol(DRAWN, 0, 1))
    choice = SampleToken(graph.outputs[0], sampling, tokens, at=at, seed=seed, drawn=drawn)
    graph.add(Node.of(choice, (graph.value("token", tokens.type),), ("sampling",)))
    return 1
