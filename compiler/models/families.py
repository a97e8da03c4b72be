"""The families, and the phases that compile a model of any family into programs.

The first family that matches a model compiles it. The plain family matches any model, so it comes last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from onnx import ModelProto

from intaglio.compiler.ir.values import Value
from intaglio.compiler.models import hub
from intaglio.compiler.models.accuracy import compare
from intaglio.compiler.models.encoder.family import Encoder
from intaglio.compiler.models.family import Family, Passes, Request, Source
from intaglio.compiler.models.language.family import LanguageModel
from intaglio.compiler.models.layout import Layout
from intaglio.compiler.models.model import GoldenRun, Model
from intaglio.compiler.models.plain.family import PlainModel
from intaglio.compiler.models.preview import Preview
from intaglio.compiler.models.reference import Reference
from intaglio.compiler.models.whisper.family import Whisper
from intaglio.compiler.passes import pipeline
from intaglio.compiler.passes.merge_linear import merge_linear
from intaglio.compiler.passes.pipeline import UNDERSTAND, Trace
from intaglio.compiler.passes.quantize import Precision, Statistics, matrix_bytes, observe, quantize

FAMILIES: tuple[type[Family], ...] = (Whisper, Encoder, LanguageModel, PlainModel)


def family_of(source: Source) -> type[Family]:
    """Return the first family that matches. Raises BadModel if the configuration cannot be read."""
    return next(family for family in FAMILIES if family.matches(source))


def reference(
    model: str | Path | ModelProto, bind: Mapping[str, Any] | None = None, dtype: str | None = None
) -> Reference:
    """Return the reference of a model that `compile` takes. Raises BadModel."""
    source = _source(model, dtype)
    return family_of(source).reference(source, bind or {})


def compile(
    model: str | Path | ModelProto, trace: Trace, precision: Precision, request: Request | None = None
) -> Model:
    """Compile a model into programs. It is a folder, a .onnx file, hf:OWNER/NAME, or a model in memory.

    Raises BadModel, UnsupportedOperator.
    """
    request = request or Request()
    source = _source(model, request.dtype)
    return compiled(family_of(source).read(source, request), trace, precision)


def preview(model: str | Path, request: Request) -> Preview:
    """Return the files that `compile` would use of a folder, a file or a model of the hub. Raises BadModel."""
    layout = hub.layout(model, request.dtype)
    family = family_of(layout)
    return Preview.of(family.kind, layout, family.notes_on(layout, request))


def _source(model: str | Path | ModelProto, dtype: str | None) -> Source:
    return model if isinstance(model, ModelProto) else Layout.of(hub.local(model, dtype), dtype)


def plain(model: str | Path | ModelProto, dtype: str | None = None) -> Source | None:
    """Return the model if it is plain, else None: other families have their sizes configured. Raises BadModel."""
    source = _source(model, dtype)
    return source if family_of(source) is PlainModel else None


def compiled(model: Family, trace: Trace, precision: Precision) -> Model:
    """Compile a model that was read into programs. Raises BadModel, UnsupportedOperator."""
    # Phase 1, prepare: the family rewrites the graphs so that numpy can run them.
    _apply(model, model.prepare(), trace)
    # Phase 2, golden values: compute them before the passes, which could be wrong, unless phase 6 computes them.
    trace.stage("golden values")
    decoder = model.decoder()
    golden = model.golden(decoder) if decoder is None or not precision.reduced else []
    # Phase 3, understand: recover what the exporter meant.
    trace.stage("passes", len(UNDERSTAND) * len(model.graphs))
    _apply(model, dict.fromkeys(model.graphs, UNDERSTAND), trace)
    # Phase 4, derive: the family adds what its programs need, such as caches.
    _apply(model, model.derive(), trace)
    # Phase 5, merge layers: this follows the caches, which separate layers.
    _apply(model, dict.fromkeys(model.graphs, (merge_linear,)), trace)
    # Phase 6, quantize: the golden values are those of the stored numbers.
    accuracy = None
    if precision.reduced:
        accuracy, golden = _reduce(model, precision, trace, golden)
    # Phase 7, programs: copy the graphs for each use.
    graphs = model.programs(trace)
    report = precision.report(accuracy, graphs.values())
    return Model(model.kind, graphs, model.settings, model.files, golden, report, model.notes)


def _reduce(
    model: Family, precision: Precision, trace: Trace, golden: list[GoldenRun]
) -> tuple[dict[str, Any] | None, list[GoldenRun]]:
    """Quantize a model; return its accuracy and its golden runs.

    Without a decoder there is no text to measure accuracy on. It is then None, and the golden runs stay the same.
    """
    decoder = model.decoder()
    if decoder is None:
        _pack(model, precision, {}, trace)
        return None, golden
    trace.stage("accuracy before")
    ids, others = model.texts()
    expected = decoder.logits(ids)
    observed = observe(decoder.graph, *decoder.feeds(others))
    _pack(model, precision, observed, trace)
    trace.stage("accuracy after")
    packed = replace(decoder)  # this computes the encoder's results again
    return compare(expected, packed.logits(ids), ids), model.golden(packed)


def _pack(model: Family, precision: Precision, observed: Mapping[Value, Statistics], trace: Trace) -> None:
    total, done = sum(matrix_bytes(model.graphs[name]) for name in model.reduces), 0

    def report(size: int) -> None:
        nonlocal done
        done += size
        trace.progress("packing", done, total)

    trace.stage("packing")
    step = partial(quantize, precision=precision, observed=observed, report=report)
    _apply(model, dict.fromkeys(model.reduces, (step,)), trace)


def _apply(model: Family, passes: Passes, trace: Trace) -> None:
    for name, steps in passes.items():
        pipeline.run(model.graphs[name], steps, trace)
