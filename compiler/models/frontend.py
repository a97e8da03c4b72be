"""What there is to compile: the folder of a Whisper, a folder with a model.onnx, a .onnx file, a model in memory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.graph import DTYPES, FLOATS, Graph
from intaglio.compiler.models import precision_notes
from intaglio.compiler.models.language import export as language_export
from intaglio.compiler.models.language import programs as language
from intaglio.compiler.models.model import Check, Model, sample
from intaglio.compiler.models.whisper import export as whisper_export
from intaglio.compiler.models.whisper import programs as whisper
from intaglio.compiler.passes import pipeline
from intaglio.compiler.passes.merge_linear import merge_linear
from intaglio.compiler.passes.pipeline import UNDERSTAND, Trace
from intaglio.compiler.passes.quantize import Precision, quantize
from intaglio.compiler.reader import load
from intaglio.compiler.semantics import evaluate

SEED = 0
SMALL = 3  # for sizes that are not known
MAX_SIZE = 1 << 31


def compile(
    source: str | Path | onnx.ModelProto,
    trace: Trace,
    precision: Precision,
    bind: Mapping[str, Any] | None = None,
    max_length: int | None = None,
) -> Model:
    """`bind` fixes named dimensions (ints, or ranges that they stay in) and inputs (arrays) of a plain model.
    `max_length` is a language model's.

    Raises BadModel, UnsupportedOperator.
    """
    if isinstance(source, onnx.ModelProto):
        return _plain(source, None, trace, precision, bind or {})
    path = Path(source)
    whole = path.is_dir() and (whisper_export.is_whisper(path) or language_export.is_language(path))
    if whole and bind:
        raise BadModel(f"{path} is a Whisper or a language model: its sizes are known, and there is nothing to bind")
    if whole and not whisper_export.is_whisper(path):
        return language.compile(path, trace, precision, max_length)
    if max_length is not None:
        raise BadModel(f"--max-length is for language models, and {path} is none")
    if whole:
        return whisper.compile(path, trace, precision)
    if path.is_dir() and not (path / "model.onnx").is_file():
        known = "a Whisper (encoder_model.onnx), a language model (config.json, model.onnx) nor a model.onnx"
        raise BadModel(f"{path} holds neither {known}; name the .onnx file")
    file = path / "model.onnx" if path.is_dir() else path
    return _plain(load.read(file), file.parent, trace, precision, bind or {})


def _plain(
    model: onnx.ModelProto, folder: Path | None, trace: Trace, precision: Precision, bind: Mapping[str, Any]
) -> Model:
    graph = load.load(model, "main", folder=folder, bind=bound(model, bind))
    checks = _checks(graph)
    notes = precision_notes.notes(pipeline.run(graph, UNDERSTAND, trace))
    passes = (merge_linear, partial(quantize, precision=precision, observed={}))
    graphs = {"main": pipeline.run(graph, passes, trace)}
    return Model("model", graphs, checks=checks, precision=precision.report(None, graphs.values()), notes=notes)


def bound(model: onnx.ModelProto, bind: Mapping[str, Any]) -> dict[str, Any]:
    """`bind` with arrays of the type of the inputs they replace. Raises BadModel for names that the model lacks."""
    inputs = load.input_types(model)
    sizes = {d.dim_param for i in model.graph.input for d in i.type.tensor_type.shape.dim} - {""}
    result: dict[str, Any] = {}
    for name, value in bind.items():
        if name in inputs:
            dtype, rank = inputs[name]
            result[name] = np.asarray(value).astype(DTYPES[dtype])
            if result[name].ndim != rank:
                raise BadModel(f"the input {name} is bound to a value of rank {result[name].ndim}; its rank is {rank}")
        elif name not in sizes:
            raise BadModel(
                f"{name} is bound, but the model's inputs and sizes are {', '.join([*inputs, *sorted(sizes)])}"
            )
        elif not _is_size(value):
            raise BadModel(f"the size {name} is bound to {value}; a number from 1, or a range of them, is wanted")
        else:
            result[name] = value
    return result


def _is_size(value: Any) -> bool:
    if isinstance(value, range):
        return value.step == 1 and 1 <= value.start < value.stop <= MAX_SIZE
    return isinstance(value, int) and 1 <= value < MAX_SIZE


def _checks(graph: Graph) -> list[Check]:
    """One run on random inputs, at small sizes; none where the reference implementation refuses it."""
    symbols = {s.name: max(s.low, min(s.high, SMALL)) for v in graph.inputs for s in v.type.symbols}
    random = np.random.default_rng(SEED)
    inputs = {}
    for v in graph.inputs:
        shape = tuple(dims.substitute(d, symbols) for d in v.shape)
        array = random.standard_normal(shape) if v.dtype in FLOATS else random.integers(0, 2, shape)
        inputs[v.name] = array.astype(DTYPES[v.dtype])
    try:
        outputs = evaluate.run(graph, inputs, symbols)
    except Exception:  # whatever it raises: random indices, or sizes, may not be valid ones
        return []
    samples = {name: sample(y) for name, y in outputs.items()}
    return [Check("main", symbols, inputs, {name: (at, values) for name, (at, values) in samples.items() if at.size})]
