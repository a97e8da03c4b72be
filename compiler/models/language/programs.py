"""Language models: the folder that an exporter left becomes {prefill, step}, which share weights and caches.

As with Whisper the decoder is read without its cache, which the passes derive again. Tokens lie in a state: the host
puts a prompt there, and each run reads its own tokens from it and writes the next one behind them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from intaglio.compiler.ir.dims import Dim, Symbol, dim
from intaglio.compiler.ir.graph import Graph, Node, TensorType
from intaglio.compiler.models import decoder_inputs
from intaglio.compiler.models.accuracy import compare, text_tokens
from intaglio.compiler.models.language import export as exports
from intaglio.compiler.models.model import Check, Model, sample
from intaglio.compiler.passes import pipeline
from intaglio.compiler.passes.fold import fold
from intaglio.compiler.passes.fuse_quantized import rounds_by_run
from intaglio.compiler.passes.kv_cache import kv_cache, last_position
from intaglio.compiler.passes.merge_linear import merge_linear
from intaglio.compiler.passes.pipeline import UNDERSTAND, Trace
from intaglio.compiler.passes.positions import positions
from intaglio.compiler.passes.quantize import Precision, observe, quantize
from intaglio.compiler.passes.widen import widen
from intaglio.compiler.semantics import evaluate
from intaglio.runtime.contract import NEW_TOKENS, PAST

_SAMPLING = 5  # numbers in the state `sampling`: temperature, top_k, top_p, min_p, repetition_penalty
_CHECKED = 6  # tokens of the golden run


def compile(folder: Path, trace: Trace, precision: Precision, max_length: int | None = None) -> Model:
    """The programs of a language model's export, with caches for `max_length` tokens.

    Raises BadModel and UnsupportedOperator.
    """
    export = exports.read(folder, max_length)
    past, new = dim(Symbol(PAST, 0, export.context - 1)), Symbol(NEW_TOKENS, 1, export.context)
    graph = decoder_inputs.read(export.decoder, dim(new))
    pipeline.run(graph, (partial(widen, whole=True),), trace)
    settings = export.settings | {"vocabulary": graph.outputs[0].shape[-1]}
    trace.say("golden values")
    golden = _checks(graph, export.context, settings)
    cached = (
        *UNDERSTAND,
        partial(positions, tokens=new, past=past),
        fold,
        partial(kv_cache, tokens=new, past=past),
        merge_linear,
    )
    pipeline.run(graph, cached, trace)
    accuracy = None
    if precision.reduced:
        trace.say("accuracy")
        ids, other = text_tokens(export.files.get("tokenizer.json"), settings["vocabulary"], export.context)
        reference = _logits(graph, ids)
        observed = observe(graph, *_run(graph, other))
        pipeline.run(graph, (partial(quantize, precision=precision, observed=observed),), trace)
        accuracy = compare(reference, _logits(graph, ids), ids)
        golden = _checks(graph, export.context, settings)
    tokens = (
        partial(sample_token, at=past + dim(new), context=export.context),
        partial(decoder_inputs.read_tokens, past=past, new=dim(new)),
    )
    pipeline.run(graph, tokens, trace)
    sizes = {"prefill": dim(Symbol(NEW_TOKENS, 1, settings["chunk"])), "step": 1}
    graphs = {
        name: pipeline.run(graph.copy(name, {NEW_TOKENS: size}), (partial(last_position, tokens=size),), trace)
        for name, size in sizes.items()
    }
    return Model(
        "language", graphs, settings, export.files, golden, precision.report(accuracy, graphs.values()), export.notes
    )


def sample_token(graph: Graph, at: Dim, context: int) -> int:
    """Append the choice of the next token, written into the state `tokens` at row `at`; returns 1."""
    tokens = decoder_inputs.add_tokens(graph, context)
    sampling = graph.value("sampling", TensorType("f32", (_SAMPLING,)))
    graph.states.append(sampling)
    attrs = {"at": at, "seed": dim(Symbol("seed", 0, (1 << 31) - 1))}
    token = graph.value("token", tokens.type)
    graph.add(Node("SampleToken", (graph.outputs[0], sampling, tokens), (token,), attrs, ("sampling",)))
    return 1


def _logits(graph: Graph, ids: np.ndarray) -> np.ndarray:
    """f32[1, n, vocabulary] for ids i64[1, n], by numpy; `graph` has its caches or not."""
    return evaluate.run(graph, *_run(graph, ids))["logits"]


def _run(graph: Graph, ids: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Inputs and symbols for `ids` and nothing before them."""
    return {"input_ids": ids} | evaluate.zeros(graph), {PAST: 0, NEW_TOKENS: ids.shape[1]}


def _checks(graph: Graph, context: int, settings: dict[str, Any]) -> list[Check]:
    """A few tokens through both programs. Their logits are those of the export, or of the packed weights, by numpy."""
    count = min(_CHECKED, context)
    ids = np.random.default_rng(0).integers(0, settings["vocabulary"], (1, count))
    logits = _logits(graph, ids)
    tokens = np.zeros((1, context + 1, 1), np.int32)
    tokens[0, :count, 0] = ids[0]
    first = count if rounds_by_run(graph) else min(count, settings["chunk"], count - 1 or 1)
    runs = [("prefill", {PAST: 0, NEW_TOKENS: first}), *(("step", {PAST: p}) for p in range(first, count))]
    last = [symbols[PAST] + symbols.get(NEW_TOKENS, 1) - 1 for _, symbols in runs]
    return [
        Check(program, symbols, {"tokens": tokens}, {"logits": sample(logits[:, i])})
        for (program, symbols), i in zip(runs, last, strict=True)
    ]
