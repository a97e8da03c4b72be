"""Whisper: an exported folder becomes the programs {mel, encode, detect, prefill, step, align}.

The decoder is read without its cache, which the passes derive again, so split, merged and one-file exports become the
same graph. Keys and values of cross-attention depend only on the audio, so `encode` computes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, cast

import numpy as np

from intaglio.compiler.ir.dims import Dim, Symbol, dim, fixed
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Attention, WhisperToken
from intaglio.compiler.ir.values import FLOATS, TensorType, Value, known
from intaglio.compiler.models import decoder_inputs
from intaglio.compiler.models.accuracy import text_tokens
from intaglio.compiler.models.decoder_reference import DECODE
from intaglio.compiler.models.family import Family, Passes, Request, Source
from intaglio.compiler.models.layout import Layout
from intaglio.compiler.models.model import Decoder, Probe
from intaglio.compiler.models.reference import Reference
from intaglio.compiler.models.whisper import folder as folders
from intaglio.compiler.models.whisper import golden, mel
from intaglio.compiler.models.whisper.align import ROWS, align, cross_attentions
from intaglio.compiler.models.whisper.folder import FRAMES_PER_POSITION, Folder
from intaglio.compiler.models.whisper.heads import Heads, Structure, alignment_heads
from intaglio.compiler.models.whisper.reference import WhisperReference
from intaglio.compiler.passes import pipeline
from intaglio.compiler.passes.fold import fold
from intaglio.compiler.passes.kv_cache import cache, kv_cache, last_position
from intaglio.compiler.passes.pipeline import Pass, Trace
from intaglio.compiler.passes.positions import positions
from intaglio.compiler.passes.widen import widen
from intaglio.compiler.reader import external_data, load
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.runtime.contract import (
    ALIGN,
    BEGIN,
    DETECT,
    ENCODE,
    FEATURES,
    HIDDEN,
    LANGUAGES,
    LOUDEST,
    MEL,
    NEW_TOKENS,
    OPENING,
    PADDING,
    PAST,
    PREFILL,
    SAMPLING,
    SCORES,
    SEED,
    STEP,
    SUPPRESS,
    TIMED,
    TOKENS,
    WHISPER,
    WHISPER_SAMPLING,
)


@dataclass(frozen=True)
class Symbols:
    past: Dim
    new: Symbol
    begin: Dim
    timed: Dim
    seed: Dim


def symbols(context: int) -> Symbols:
    return Symbols(
        dim(Symbol(PAST, 0, context - 1)),
        Symbol(NEW_TOKENS, 1, context),
        dim(Symbol(BEGIN, 0, context)),
        dim(Symbol(TIMED, 0, 1)),
        dim(Symbol(SEED, 0, (1 << 31) - 1)),
    )


class Whisper(Family):
    kind = WHISPER
    reduces = (DECODE, ENCODE)

    def __init__(self, folder: Folder) -> None:
        self._context, self._symbols = folder.context, symbols(folder.context)
        spectrogram = _spectrogram(folder)
        encoder = _encoder(folder)
        decoder = decoder_inputs.read(folder.decoder, dim(self._symbols.new), encoder, folder.vocabulary)
        self.graphs = {MEL: spectrogram, ENCODE: encoder, DECODE: decoder}
        self.settings, self.notes = {**folder.settings, "vocabulary": self._vocabulary}, folder.notes
        self.files = {"tokenizer.json": folder.tokenizer}
        self._mels, self._heads = folder.mels, folder.alignment_heads
        self._tone = golden.tone(spectrogram)

    @classmethod
    def matches(cls, source: Source) -> bool:
        return isinstance(source, Layout) and folders.matches(source)

    @classmethod
    def read(cls, source: Source, request: Request) -> Self:
        request.refuse_bind(source)
        request.refuse_max_length(source)
        return cls(folders.read(cast(Layout, source)))

    def prepare(self) -> Passes:
        return dict.fromkeys((ENCODE, DECODE), (partial(widen, whole=True),))

    def derive(self) -> Passes:
        s = self._symbols
        cache = (
            partial(positions, tokens=s.new, past=s.past),
            fold,
            partial(move_to_encoder, encoder=self.graphs[ENCODE]),
            partial(kv_cache, tokens=s.new, past=s.past),
        )
        return {DECODE: cache}

    def decoder(self) -> Decoder:
        return Decoder(self.graphs[DECODE], partial(golden.encoded, self.graphs[ENCODE], self._tone.features))

    @property
    def _vocabulary(self) -> int:
        return fixed(self.graphs[DECODE].outputs[0].shape[-1])

    def texts(self) -> tuple[np.ndarray, np.ndarray]:
        begin = golden.prompt(self.settings)
        texts = text_tokens(self.files["tokenizer.json"], self._vocabulary, self._context - len(begin))
        ids, others = (np.concatenate([[begin], text], axis=1) for text in texts)
        return ids, others

    def probes(self) -> list[Probe]:
        return golden.probes(self._context, self.settings, self._tone, self.graphs[DECODE])

    def evaluated(self, probes: Sequence[Probe], decoder: Decoder | None) -> list[dict[str, np.ndarray]]:
        return golden.evaluated(probes, self._tone, decoder or self.decoder())

    def programs(self, trace: Trace) -> dict[str, Graph]:
        s, decoder = self._symbols, self.graphs[DECODE]
        read = partial(decoder_inputs.read_tokens, past=s.past, new=dim(s.new), context=s.new.high)
        pipeline.run(decoder, (read,), trace)
        sizes = {DETECT: 1} if self.settings["multilingual"] else {}
        sizes |= {PREFILL: dim(s.new), STEP: 1}
        self.settings["alignment_heads"] = self._alignment_heads(decoder)
        if self.settings["alignment_heads"]:
            sizes[ALIGN] = min(ROWS, self._context)
        return {MEL: self.graphs[MEL], ENCODE: self.graphs[ENCODE]} | {
            name: pipeline.run(decoder.copy(name, {NEW_TOKENS: size}), self._ending(name, size), trace)
            for name, size in sizes.items()
        }

    def _alignment_heads(self, decoder: Graph) -> Heads:
        """Return the alignment heads, none if cross-attention was not recognised. Raises BadModel."""
        layers = cross_attentions(decoder)
        if not layers:
            return []
        attention = Attention.of(layers[0])
        assert attention is not None
        structure = Structure(len(layers), attention.heads, self.settings["multilingual"], self._mels)
        try:
            return alignment_heads(self._heads, structure)
        except (TypeError, ValueError) as e:
            raise BadModel(f"generation_config.json is broken: {e}; export the model again") from e

    def _ending(self, program: str, new: Dim) -> tuple[Pass, ...]:
        """Return the passes that let a program of the decoder choose what comes after its `new` tokens."""
        if program == ALIGN:
            heads, end = self.settings["alignment_heads"], self.settings["end"]
            return (partial(align, heads=heads, end=end, past=self._symbols.past, rows=fixed(new)),)
        if program == DETECT:
            choice = partial(detect_language, languages=[*self.settings["languages"].values()])
        else:
            rules = {k: self.settings[k] for k in ("end", "no_timestamps", "first_timestamp", "no_speech")}
            choice = partial(sample_token, rules=rules, symbols=self._symbols, new=new, context=self._context)
        return partial(last_position, tokens=new), choice

    @classmethod
    def notes_on(cls, source: Source, request: Request) -> list[str]:
        return folders.read(cast(Layout, source)).notes

    @classmethod
    def reference(cls, source: Source, bind: Mapping[str, Any]) -> Reference:
        return WhisperReference(folders.read(cast(Layout, source)))


def _spectrogram(folder: Folder) -> Graph:
    """Return the graph of the spectrogram. A state keeps the largest power so far for the next window."""
    frames = FRAMES_PER_POSITION * folder.positions
    symbols = Symbol(OPENING, 0, 1), Symbol(PADDING, 0, frames)
    bind = {symbol.name: known([dim(symbol)], (1,)) for symbol in symbols}
    graph = load.load(mel.model(folder.mels, frames), MEL, bind=bind)
    loudest = next(v for v in graph.inputs if v.name == LOUDEST)
    graph.inputs.remove(loudest)
    graph.states.append(loudest)
    now = graph.outputs.pop()
    GraphBuilder(graph, graph.expect_producer(now)).Write(now, loudest, at=0)
    return graph


def _encoder(folder: Folder) -> Graph:
    """Return the encoder: input_features f32[1, mels, frames] -> last_hidden_state f32[1, positions, width].

    It may also have outputs with keys and values of cross-attention [1, heads, positions, head_dim].
    Raises BadModel for other inputs or outputs.
    """
    model, data = external_data.opened(folder.encoder)
    inputs = load.input_types(model)
    features = [name for name, (dtype, rank) in inputs.items() if dtype in FLOATS and rank == 3]
    if len(features) != 1:
        raise BadModel(f"the encoder's inputs are {', '.join(inputs)}; expected one spectrogram [batch, mels, frames]")
    shapes = {features[0]: (1, folder.mels, FRAMES_PER_POSITION * folder.positions)}
    graph = load.load(model, ENCODE, folder=data, shapes=shapes)
    graph.outputs.sort(key=lambda v: len(v.shape))
    if [v.shape[:2] for v in graph.outputs if len(v.shape) != 4] != [(1, folder.positions)]:
        outputs = ", ".join(map(str, graph.outputs))
        raise BadModel(f"the encoder's outputs are {outputs}; expected rows [1, {folder.positions}, width]")
    graph.inputs[0].name, graph.outputs[0].name = FEATURES, HIDDEN
    return graph


def move_to_encoder(decoder: Graph, encoder: Graph) -> int:
    """Move the nodes that depend only on the encoder's rows into the encoder; return the number of shared states.

    The encoder writes the results of these nodes to the shared states.
    """
    rows = next(v for v in decoder.inputs if len(v.shape) == 3)
    hidden = encoder.outputs[0]
    moved: set[Node] = set()
    for node in decoder.nodes:
        makers = [(v, decoder.producer(v)) for v in node.inputs if v is not None]
        from_rows = [v is rows or maker in moved for v, maker in makers if v.const is None]
        if from_rows and all(from_rows):
            moved.add(node)
    cut = [(n, v) for n in decoder.nodes if n in moved for v in n.outputs if set(decoder.consumers(v)) - moved]
    for node in [n for n in decoder.nodes if n in moved]:
        encoder.add(node.reading({rows: hidden}))
    for i, (node, value) in enumerate(cut):
        type = _type(value, set(decoder.consumers(value)) - moved)
        state = decoder.value(f"cross.{i // 2}.{('key', 'value')[i % 2]}", type)
        decoder.states.append(state)
        decoder.redirect(value, state)
        encoder.states.append(state)
        GraphBuilder(encoder, node).Write(value, state, at=0)
    decoder.prune()
    decoder.inputs.remove(rows)
    return len(cut)


def _type(value: Value, readers: Iterable[Node]) -> TensorType:
    """Return the type of the state that holds a value of the encoder: a cache if only attention reads its rows."""
    attention = [Attention.of(node) for node in readers]
    heads = {of.kv_heads if of is not None and value in (of.k, of.v) else 0 for of in attention}
    return cache(value, max(heads), fixed(value.shape[-2])) if len(heads) == 1 and 0 not in heads else value.type


def detect_language(graph: Graph, languages: Sequence[int]) -> int:
    """Append the output `languages` f32[1, 1, languages]: the probabilities of these tokens among themselves; return 1.

    As whisper/decoding.py's detect_language.
    """
    logits = graph.outputs[0]
    builder = GraphBuilder(graph, graph.expect_producer(logits))
    scores = builder.Gather(logits, builder.constant(np.array(languages)), axis=2)
    probabilities = builder.Softmax(scores, axis=2)
    probabilities.name = LANGUAGES
    graph.outputs.append(probabilities)
    return 1


def sample_token(graph: Graph, rules: Mapping[str, Any], symbols: Symbols, new: Dim, context: int) -> int:
    """Append a WhisperToken, which writes the next token after the `new` ones into the state `tokens`, and its scores
    into the state `scores`; return 1.

    rules: the tokens that the rules of the choice name.
    """
    logits, s = graph.outputs[0], symbols
    vocabulary = fixed(logits.shape[-1])
    tokens = next(v for v in graph.states if v.name == TOKENS)
    suppress = graph.value(SUPPRESS, TensorType("u32", (2, -(-vocabulary // 32))))
    sampling = graph.value(SAMPLING, TensorType("f32", (len(WHISPER_SAMPLING),)))
    scores = graph.value(SCORES, TensorType("f32", (context + 1, 2)))
    graph.states += [suppress, sampling, scores]
    dims = {"at": s.past + new, "begin": s.begin, "timed": s.timed, "seed": s.seed}
    choice = WhisperToken(logits, suppress, sampling, tokens, scores, **dims, **rules)
    outputs = graph.value("token", tokens.type), graph.value("score", scores.type)
    graph.add(Node.of(choice, outputs, ("sampling",)))
    return 1
