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

from intaglio.compiler import load, mel, pipeline
from intaglio.compiler.dims import Dim, Symbol, dim
from intaglio.compiler.export import Export, read
from intaglio.compiler.golden import checks
from intaglio.compiler.ir import BadModel, Graph, Node, TensorType, known
from intaglio.compiler.model import Model
from intaglio.compiler.passes.fold import fold
from intaglio.compiler.passes.kv_cache import kv_cache, last_position
from intaglio.compiler.passes.merge_linear import merge_linear
from intaglio.compiler.passes.positions import positions
from intaglio.compiler.pattern import GraphBuilder
from intaglio.compiler.pipeline import FUSE, UNDERSTAND, Trace

# symbols: P tokens lie in the cache, T new ones come; sampling began at token `begin`; `timed` is 1 for timestamp rules


@dataclass(frozen=True)
class Symbols:
    past: Dim
    new: Symbol
    begin: Dim
    timed: Dim


def symbols(context: int) -> Symbols:
    return Symbols(
        dim(Symbol("P", 0, context - 1)),
        Symbol("T", 1, context),
        dim(Symbol("begin", 0, context)),
        dim(Symbol("timed", 0, 1)),
    )


def compile(folder: Path, trace: Trace) -> Model:
    """The programs of a Whisper export. Raises BadModel and UnsupportedOperator."""
    export = read(folder)
    s = symbols(export.context)
    spectrogram = load.load(mel.model(export.mels, 2 * export.positions), "mel")
    encoder = _encoder(export)
    decoder = _decoder(export, encoder.outputs[0].shape[-1], s)
    trace.say("golden values")
    golden = checks(export, spectrogram, encoder, decoder)
    for graph in (spectrogram, encoder, decoder):
        pipeline.run(graph, UNDERSTAND, trace)
    cached = (
        partial(positions, tokens=s.new, past=s.past),
        fold,
        partial(move_to_encoder, encoder=encoder),
        partial(kv_cache, tokens=s.new, past=s.past),
        merge_linear,
        partial(sample_token, settings=export.settings, symbols=s),
    )
    pipeline.run(decoder, cached, trace)
    prefill, step = decoder.copy("prefill"), decoder.copy("step", {"T": 1})
    graphs = {
        "mel": pipeline.run(spectrogram, FUSE, trace),
        "encode": pipeline.run(encoder, FUSE, trace),
        "prefill": pipeline.run(prefill, (partial(last_position, tokens=dim(s.new)), *FUSE), trace),
        "step": pipeline.run(step, (partial(read_own_token, past=s.past), *FUSE), trace),
    }
    return Model("whisper", graphs, export.settings, {"tokenizer.json": export.tokenizer}, golden)


def _encoder(export: Export) -> Graph:
    """The encoder: input_features f32[1,mels,frames] -> last_hidden_state f32[1,positions,width]."""
    model = load.read(export.encoder)
    inputs = load.input_types(model)
    features = [name for name, (dtype, rank) in inputs.items() if dtype == "f32" and rank == 3]
    if len(features) != 1:
        raise BadModel(f"the encoder takes {', '.join(inputs)}; one f32 spectrogram [batch, mels, frames] is wanted")
    shapes = {features[0]: (1, export.mels, 2 * export.positions)}
    graph = load.load(model, "encode", folder=export.encoder.parent, shapes=shapes)
    if [v.shape[:2] for v in graph.outputs] != [(1, export.positions)] or len(graph.outputs[0].shape) != 3:
        made = ", ".join(map(str, graph.outputs))
        raise BadModel(f"the encoder makes {made}; rows [1, {export.positions}, width] are wanted")
    graph.inputs[0].name, graph.outputs[0].name = "input_features", "last_hidden_state"
    return graph


def _decoder(export: Export, width: int, s: Symbols) -> Graph:
    """The decoder for T tokens and no past: input_ids i64[1,T] and the encoder's rows -> logits f32[1,T,vocab]."""
    model = load.read(export.decoder)
    shapes: dict[str, tuple[Dim, ...]] = {}
    bind: dict[str, np.ndarray] = {}
    new = dim(s.new)
    positions_input = None
    declared = {i.name: i for i in model.graph.input}
    for name, (dtype, rank) in load.input_types(model).items():
        if dtype == "bool":
            bind[name] = np.zeros([1] * rank, bool)  # use_cache_branch
        elif dtype in ("i64", "i32") and rank == 2 and "mask" not in name:
            shapes[name] = (1, new)
        elif dtype in ("i64", "i32") and rank == 1:
            shapes[name], positions_input = (new,), name  # cache_position
        elif dtype == "f32" and rank == 3:
            shapes[name] = (1, export.positions, width)
        elif dtype == "f32" and rank == 4:
            heads, head_dim = (declared[name].type.tensor_type.shape.dim[i].dim_value for i in (1, 3))
            bind[name] = np.zeros((1, heads, 0, head_dim), np.float32)
        else:
            raise BadModel(f"the decoder takes {name}: {dtype} of rank {rank}, which no Whisper export known here does")
    graph = load.load(model, "decode", folder=export.decoder.parent, shapes=shapes, bind=bind)
    graph.outputs = [v for v in graph.outputs if len(v.shape) == 3][:1]
    if not graph.outputs:
        raise BadModel("the decoder has no output logits [batch, tokens, vocabulary]")
    if positions_input is not None:
        _count_positions(graph, positions_input, new)
    graph.prune()
    graph.inputs = [v for v in graph.inputs if graph.consumers(v)]
    by_rank = {len(v.shape): v for v in graph.inputs}
    if sorted(by_rank) != [2, 3] or len(graph.inputs) != 2:
        raise BadModel(
            f"the decoder reads {', '.join(v.name for v in graph.inputs)}; token ids and encoder rows are wanted"
        )
    by_rank[2].name, by_rank[3].name, graph.outputs[0].name = "input_ids", "encoder_hidden_states", "logits"
    return graph


def _count_positions(graph: Graph, name: str, new: Dim) -> None:
    """Let the input `name` be 0, 1, ... as the exporters' callers pass it."""
    value = next(v for v in graph.inputs if v.name == name)
    graph.inputs.remove(value)
    bounds = tuple(graph.constant(known([d], ())) for d in (0, new, 1))
    graph.add(Node("Range", bounds, (value,), {}, (name,)))


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
    """Append the choice of the next token, written into the state `tokens` at P+T; returns 1."""
    s = symbols
    logits = graph.outputs[0]
    vocabulary = logits.shape[-1]
    state = graph.value("tokens", TensorType("i32", (1, s.new.high + 1, 1)))
    graph.states.append(state)
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


def read_own_token(step: Graph, past: Dim) -> int:
    """Let the step read its token where the one before wrote it; returns 1."""
    ids = step.inputs.pop()
    tokens = next(v for v in step.states if v.name == "tokens")
    builder = GraphBuilder(step, step.consumers(ids)[0])
    bounds = (known([past], (1,)), known([past + 1], (1,)), np.array([1]))
    row = builder.Slice(tokens, *map(builder.constant, bounds))
    step.redirect(ids, builder.Reshape(row, builder.constant(np.array([1, 1]))))
    return 1
