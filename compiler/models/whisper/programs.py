"""Whisper: the folder that an exporter left becomes {mel, encode, prefill, step}.

Only the decoder without a cache is read; the passes derive the cache from it, so split, merged and one-file exports are
one case. What depends on the audio alone, the keys and values of cross-attention, moves into `encode`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from intaglio.compiler.ir.dims import Dim, Symbol, dim
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.graph import FLOATS, Graph, Node
from intaglio.compiler.models import decoder_inputs as decoders
from intaglio.compiler.models.accuracy import compare, text_tokens
from intaglio.compiler.models.model import Model
from intaglio.compiler.models.whisper import golden, mel
from intaglio.compiler.models.whisper.export import Export, read
from intaglio.compiler.passes import pipeline
from intaglio.compiler.passes.fold import fold
from intaglio.compiler.passes.kv_cache import kv_cache, last_position
from intaglio.compiler.passes.merge_linear import merge_linear
from intaglio.compiler.passes.pipeline import UNDERSTAND, Trace
from intaglio.compiler.passes.positions import positions
from intaglio.compiler.passes.quantize import Precision, observe, quantize
from intaglio.compiler.passes.widen import widen
from intaglio.compiler.reader import load
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.runtime.contract import NEW_TOKENS, PAST


@dataclass(frozen=True)
class Symbols:
    past: Dim
    new: Symbol
    begin: Dim
    timed: Dim


def symbols(context: int) -> Symbols:
    return Symbols(
        dim(Symbol(PAST, 0, context - 1)),
        Symbol(NEW_TOKENS, 1, context),
        dim(Symbol("begin", 0, context)),
        dim(Symbol("timed", 0, 1)),
    )


def compile(folder: Path, trace: Trace, precision: Precision) -> Model:
    """The programs of a Whisper export. Raises BadModel and UnsupportedOperator."""
    export = read(folder)
    s = symbols(export.context)
    spectrogram = load.load(mel.model(export.mels, 2 * export.positions), "mel")
    encoder = _encoder(export)
    decoder = decoders.read(export.decoder, dim(s.new), encoder)
    for graph in (encoder, decoder):
        pipeline.run(graph, (partial(widen, whole=True),), trace)
    trace.say("golden values")
    heard = golden.tone(export, spectrogram)
    exported = golden.Listener(encoder, decoder, heard)
    checks = golden.checks(export, heard, exported)
    accuracy = None
    if precision.reduced:
        begin = golden.prompt(export.settings)
        texts = text_tokens(export.tokenizer, decoder.outputs[0].shape[-1], export.context - len(begin))
        ids, other = (np.concatenate([[begin], text], axis=1) for text in texts)
        reference = exported.logits(ids)
    for graph in (spectrogram, encoder, decoder):
        pipeline.run(graph, UNDERSTAND, trace)
    cached = (
        partial(positions, tokens=s.new, past=s.past),
        fold,
        partial(move_to_encoder, encoder=encoder),
        partial(kv_cache, tokens=s.new, past=s.past),
        merge_linear,
    )
    pipeline.run(decoder, cached, trace)
    for graph in (spectrogram, encoder):
        pipeline.run(graph, (merge_linear,), trace)
    if precision.reduced:
        trace.say("accuracy")
        observed = observe(decoder, *golden.Listener(encoder, decoder, heard).run(other))
        for graph in (decoder, encoder):
            pipeline.run(graph, (partial(quantize, precision=precision, observed=observed),), trace)
        packed = golden.Listener(encoder, decoder, heard)
        accuracy = compare(reference, packed.logits(ids), ids)
        checks = golden.checks(export, heard, packed)
    pipeline.run(decoder, (partial(sample_token, settings=export.settings, symbols=s),), trace)
    prefill, step = decoder.copy("prefill"), decoder.copy("step", {NEW_TOKENS: 1})
    graphs = {
        "mel": spectrogram,
        "encode": encoder,
        "prefill": pipeline.run(prefill, (partial(last_position, tokens=dim(s.new)),), trace),
        "step": pipeline.run(step, (partial(decoders.read_tokens, past=s.past, new=1),), trace),
    }
    files = {"tokenizer.json": export.tokenizer}
    report = precision.report(accuracy, graphs.values())
    return Model("whisper", graphs, export.settings, files, checks, report, export.notes)


def _encoder(export: Export) -> Graph:
    """The encoder: input_features f32[1,mels,frames] -> last_hidden_state f32[1,positions,width].

    It may also make keys and values of cross-attention [1,heads,positions,head_dim].
    """
    model = load.read(export.encoder)
    inputs = load.input_types(model)
    features = [name for name, (dtype, rank) in inputs.items() if dtype in FLOATS and rank == 3]
    if len(features) != 1:
        raise BadModel(f"the encoder takes {', '.join(inputs)}; one spectrogram [batch, mels, frames] is wanted")
    shapes = {features[0]: (1, export.mels, 2 * export.positions)}
    graph = load.load(model, "encode", folder=export.encoder.parent, shapes=shapes)
    graph.outputs.sort(key=lambda v: len(v.shape))
    if [v.shape[:2] for v in graph.outputs if len(v.shape) != 4] != [(1, export.positions)]:
        made = ", ".join(map(str, graph.outputs))
        raise BadModel(f"the encoder makes {made}; rows [1, {export.positions}, width] are wanted")
    graph.inputs[0].name, graph.outputs[0].name = "input_features", "last_hidden_state"
    return graph


def move_to_encoder(decoder: Graph, encoder: Graph) -> int:
    """Move what depends on the encoder's rows alone into the encoder's graph, its results into shared states."""
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
        encoder.add(
            Node(
                node.op, tuple(hidden if v is rows else v for v in node.inputs), node.outputs, node.attrs, node.sources
            )
        )
    for i, (node, value) in enumerate(cut):
        state = decoder.value(f"cross.{i // 2}.{('key', 'value')[i % 2]}", value.type)
        decoder.states.append(state)
        decoder.redirect(value, state)
        encoder.states.append(state)
        GraphBuilder(encoder, node).Write(value, state, at=0)
    decoder.prune()
    decoder.inputs.remove(rows)
    return len(cut)


def sample_token(graph: Graph, settings: dict[str, Any], symbols: Symbols) -> int:
    """Append the choice of the next token, written into the state `tokens` behind the new ones; returns 1."""
    s = symbols
    logits = graph.outputs[0]
    vocabulary = logits.shape[-1]
    state = decoders.add_tokens(graph, s.new.high)
    lists = [graph.constant(bits(settings[k], vocabulary), k) for k in ("suppress", "suppress_first")]
    graph.add(
        Node(
            "WhisperToken",
            (logits, *lists, state),
            (graph.value("token", state.type),),
            {"at": s.past + dim(s.new), "begin": s.begin, "timed": s.timed}
            | {k: settings[k] for k in ("end", "no_timestamps", "first_timestamp", "max_initial_timestamp")},
            ("sampling",),
        )
    )
    return 1


def bits(tokens: list[int], vocabulary: int) -> np.ndarray:
    """A set of tokens as u32[ceil(vocabulary / 32)], token i in bit i % 32 of word i // 32."""
    flags = np.zeros(-(-vocabulary // 32) * 32, np.uint8)
    flags[[t for t in tokens if t < vocabulary]] = 1
    return np.packbits(flags, bitorder="little").view("<u4")
