"""Whisper: the folder that an exporter left becomes {mel, encode, prefill, step}.

Only the decoder without a cache is read; the passes derive the cache from it, so split, merged and one-file exports are
one case. What depends on the audio alone, the keys and values of cross-attention, moves into `encode`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from intaglio.compiler import evaluate, load, mel, pipeline
from intaglio.compiler.dims import Dim, Symbol, dim
from intaglio.compiler.ir import BadModel, Graph, Node, TensorType, known
from intaglio.compiler.model import Check, Model, sample
from intaglio.compiler.passes.fold import fold
from intaglio.compiler.passes.kv_cache import kv_cache, last_position
from intaglio.compiler.passes.merge_linear import merge_linear
from intaglio.compiler.passes.positions import positions
from intaglio.compiler.pattern import GraphBuilder
from intaglio.compiler.pipeline import FUSE, UNDERSTAND, Trace

MULTILINGUAL = 50_363  # the id of <|notimestamps|> in the vocabulary with languages; 50,362 in the one without
DECODERS = ("decoder_model_merged.onnx", "decoder_model.onnx")


@dataclass(frozen=True)
class Export:
    """A Whisper as an exporter leaves it: `mels` bands, `positions` of two frames in the encoder, `context` tokens."""

    folder: Path
    encoder: onnx.ModelProto
    decoder: onnx.ModelProto
    mels: int
    positions: int
    context: int
    settings: dict[str, Any]
    tokenizer: bytes


def is_whisper(folder: Path) -> bool:
    """Whether the folder's config.json says Whisper, or its files look like an encoder and a decoder."""
    config = _json(folder / "config.json", required=False)
    return config.get("model_type") == "whisper" or (folder / "encoder_model.onnx").exists()


def read(folder: Path) -> Export:
    """Raises BadModel, naming the file or setting that is missing and where it comes from."""
    config = _json(folder / "config.json")
    if config.get("model_type") != "whisper":
        raise BadModel(f"{folder} holds a model of type {config.get('model_type')!r}, not whisper")
    decoders = [folder / name for name in DECODERS if (folder / name).exists()]
    if not decoders:
        raise BadModel(f"{folder} has no {' or '.join(DECODERS)}; export the decoder too")
    try:
        sizes = [int(config[k]) for k in ("num_mel_bins", "max_source_positions", "max_target_positions")]
    except (KeyError, TypeError, ValueError) as e:
        raise BadModel(f"{folder / 'config.json'} lacks {e}") from e
    if min(sizes) < 1:
        raise BadModel(f"{folder / 'config.json'} gives the sizes {sizes}")
    if not (folder / "tokenizer.json").is_file():
        raise BadModel(f"{folder} has no tokenizer.json; save the model's tokenizer there")
    tokenizer = (folder / "tokenizer.json").read_bytes()
    generation = _json(folder / "generation_config.json", required=False) or config
    try:
        settings = _settings(generation, tokenizer, sizes[2])
    except BadModel:
        raise
    except (TypeError, ValueError, AttributeError, IndexError) as e:
        raise BadModel(f"the generation settings in {folder} are broken: {e}") from e
    settings |= {"rate": mel.RATE, "hop": mel.HOP, "context": mel.N_FFT, "frames": 2 * sizes[1]}
    return Export(folder, load.read(folder / "encoder_model.onnx"), load.read(decoders[0]), *sizes, settings, tokenizer)


def _json(path: Path, required: bool = True) -> dict[str, Any]:
    if not path.is_file():
        if required:
            raise BadModel(f"{path} is missing; exporters leave it beside the model")
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as e:
        raise BadModel(f"{path} is broken: {e}") from e
    if not isinstance(data, dict):
        raise BadModel(f"{path} is broken: it holds no settings")
    return data


def _settings(config: dict[str, Any], tokenizer: bytes, context: int) -> dict[str, Any]:
    """generation.json: special tokens by role, suppression lists, and limits."""
    try:
        added = {t["content"]: int(t["id"]) for t in json.loads(tokenizer)["added_tokens"]}
    except (ValueError, KeyError, TypeError) as e:
        raise BadModel(f"tokenizer.json is broken: {e}") from e

    def token(key: str, content: str) -> int:
        found = added.get(content) if config.get(key) is None else config[key]
        if found is None:
            raise BadModel(f"generation_config.json lacks {key}, and tokenizer.json has no {content}")
        return int(found[0] if isinstance(found, list) else found)

    languages = config.get("lang_to_id") or {t: i for t, i in added.items() if re.fullmatch(r"<\|[a-z]{2,3}\|>", t)}
    tasks = config.get("task_to_id") or {
        t: added[f"<|{t}|>"] for t in ("transcribe", "translate") if f"<|{t}|>" in added
    }
    no_timestamps = token("no_timestamps_token_id", "<|notimestamps|>")
    return {
        "start": token("decoder_start_token_id", "<|startoftranscript|>"),
        "end": token("eos_token_id", "<|endoftext|>"),
        "no_timestamps": no_timestamps,
        "first_timestamp": added.get("<|0.00|>", no_timestamps + 1),
        "multilingual": bool(config.get("is_multilingual", no_timestamps >= MULTILINGUAL)),
        "languages": {t.strip("<|>"): int(i) for t, i in sorted(languages.items())},
        "tasks": {t: int(i) for t, i in sorted(tasks.items())},
        "suppress": sorted(int(i) for i in config.get("suppress_tokens") or [] if i >= 0),
        "suppress_first": sorted(int(i) for i in config.get("begin_suppress_tokens") or [] if i >= 0),
        "max_initial_timestamp": int(config.get("max_initial_timestamp_index") or 50),
        "max_length": min(int(config.get("max_length") or context), context),
    }


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
    frames = 2 * export.positions
    spectrogram = load.load(mel.model(export.mels, frames), "mel")
    encoder = load.load(export.encoder, "encode", folder=folder, shapes=_encoder_shapes(export))
    encoder.inputs[0].name, encoder.outputs[0].name = "input_features", "last_hidden_state"
    decoder = _decoder(export, s)
    sources = {g.name: g.copy(g.name) for g in (spectrogram, encoder, decoder)}
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
    return Model("whisper", graphs, export.settings, {"tokenizer.json": export.tokenizer}, checks(export, sources))


def _encoder_shapes(export: Export) -> dict[str, tuple[Dim, ...]]:
    inputs = load.input_types(export.encoder)
    features = [name for name, (dtype, rank) in inputs.items() if dtype == "f32" and rank == 3]
    if len(features) != 1:
        raise BadModel(f"the encoder takes {', '.join(inputs)}; one f32 spectrogram [batch, mels, frames] is wanted")
    return {features[0]: (1, export.mels, 2 * export.positions)}


def _decoder(export: Export, s: Symbols) -> Graph:
    """The decoder for T tokens and no past: input_ids i64[1,T] and the encoder's rows -> logits f32[1,T,vocab]."""
    width = _width(export.encoder)
    shapes: dict[str, tuple[Dim, ...]] = {}
    bind: dict[str, np.ndarray] = {}
    new = dim(s.new)
    positions_input = None
    declared = {i.name: i for i in export.decoder.graph.input}
    for name, (dtype, rank) in load.input_types(export.decoder).items():
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
    graph = load.load(export.decoder, "decode", folder=export.folder, shapes=shapes, bind=bind)
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


def _width(encoder: onnx.ModelProto) -> int:
    width = encoder.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    if not width:
        raise BadModel("the encoder's output has no fixed width")
    return width


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


# golden values


def checks(export: Export, sources: dict[str, Graph]) -> list[Check]:
    """One second of a rising tone through every program, against the reference implementation of ONNX on the export."""
    samples = np.arange(mel.RATE, dtype=np.float64) / mel.RATE
    audio = np.zeros((1, 1, 2 * export.positions * mel.HOP + mel.N_FFT), np.float32)
    tone = 0.5 * np.sin(2 * np.pi * (200 + 900 * samples) * samples)
    audio[0, 0, mel.N_FFT // 2 : mel.N_FFT // 2 + len(tone)] = tone[: audio.size - mel.N_FFT]
    inputs = {"audio": audio, "loudest": np.full((1, 1, 1), -10, np.float32)}
    features = evaluate.run(sources["mel"], inputs)
    encoder = sources["encode"]
    hidden = evaluate.run(encoder, {"input_features": features["input_features"]})["last_hidden_state"]
    settings = export.settings
    prompt = [settings["start"], settings["no_timestamps"]]
    ids = np.array([[*prompt, *_ordinary_tokens(settings)]], np.int64)
    logits = evaluate.run(sources["decode"], {"input_ids": ids, "encoder_hidden_states": hidden}, {"T": ids.shape[1]})[
        "logits"
    ]
    result = [
        Check("mel", {}, inputs, {name: sample(y) for name, y in features.items()}),
        Check("encode", {}, {"input_features": features["input_features"]}, {"last_hidden_state": sample(hidden)}),
        Check("prefill", {"P": 0, "T": 2, "begin": 2}, {"input_ids": ids[:, :2]}, {"logits": sample(logits[:, 1])}),
    ]
    for position in range(2, ids.shape[1]):
        tokens = np.zeros((1, export.context + 1, 1), np.int32)
        tokens[0, : ids.shape[1], 0] = ids[0]
        result.append(
            Check("step", {"P": position, "begin": 2}, {"tokens": tokens}, {"logits": sample(logits[:, position])})
        )
    return result


def _ordinary_tokens(settings: dict[str, Any]) -> list[int]:
    return [i for i in range(settings["end"]) if i not in settings["suppress"]][-2:]
