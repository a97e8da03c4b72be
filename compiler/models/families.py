"""The families, and the phases that compile a model of any family into programs.

The first family that matches a model compiles it. The plain family matches any model, so it comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from onnx import ModelProto

from intaglio.compiler.ir.errors import MissingFile
from intaglio.compiler.ir.values import Value
from intaglio.compiler.models import cache_accuracy, hub, precision_notes
from intaglio.compiler.models.accuracy import compare
from intaglio.compiler.models.encoder.family import Encoder
from intaglio.compiler.models.family import Family, Passes, Request, Source
from intaglio.compiler.models.golden import Golden, golden
from intaglio.compiler.models.language.family import LanguageModel
from intaglio.compiler.models.layout import Layout
from intaglio.compiler.models.model import Decoder, Model
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
    family = family_of(source)
    reference = partial(family.reference, source, request.bind)
    return compiled(family.read(source, request), trace, precision, reference)


def preview(model: str | Path, request: Request) -> Preview:
    """Return the files that `compile` would use of a folder, a file or a model of the hub. Raises BadModel.

    The .onnx files of a model of the hub are downloaded only if its configuration does not tell the family.
    """
    try:
        return _preview(hub.layout(model, request.dtype), request)
    except MissingFile:
        return _preview(Layout.of(hub.local(model, request.dtype), request.dtype), request)


def _preview(layout: Layout, request: Request) -> Preview:
    family = family_of(layout)
    return Preview.of(family.kind, layout, family.notes_on(layout, request))


def _source(model: str | Path | ModelProto, dtype: str | None) -> Source:
    return model if isinstance(model, ModelProto) else Layout.of(hub.local(model, dtype), dtype)


def plain(model: str | Path | ModelProto, dtype: str | None = None) -> Source | None:
    """Return the model if it is plain, else None: other families have their sizes configured. Raises BadModel."""
    source = _source(model, dtype)
    return source if family_of(source) is PlainModel else None


def compiled(
    model: Family, trace: Trace, precision: Precision, reference: Callable[[], Reference] | None = None
) -> Model:
    """Compile a model that was read into programs, without golden values if there is no reference.

    Raises BadModel, UnsupportedOperator.
    """
    # Phase 1, prepare: the family rewrites the graphs so that numpy can run them.
    _apply(model, model.prepare(), trace)
    # Phase 2, golden values: the oracle computes them from the files as they came.
    trace.stage("golden values")
    goldens = golden(model, model.decoder(), reference) if reference is not None else Golden()
    # Phase 3, understand: recover what the exporter meant.
    trace.stage("passes", len(UNDERSTAND) * len(model.graphs))
    _apply(model, dict.fromkeys(model.graphs, UNDERSTAND), trace)
    # Phase 4, derive: the family adds what its programs need, such as caches.
    _apply(model, model.derive(), trace)
    # Phase 5, merge layers: this follows the caches, which separate layers.
    _apply(model, dict.fromkeys(model.graphs, (merge_linear,)), trace)
    # Phase 6, quantize: the golden values become those of the stored numbers.
    accuracy, decoder = None, model.decoder()
    if precision.reduced:
        accuracy, goldens, decoder = _reduce(model, decoder, precision, trace, goldens)
    # Phase 7, caches: what would change if GPUs stored them in f16.
    trace.stage("caches")
    caches = cache_accuracy.measure(decoder, model.texts()[0]) if decoder and precision.half_caches else None
    # Phase 8, programs: copy the graphs for each use.
    graphs = model.programs(trace)
    report = precision.report(accuracy, graphs.values()) | ({"caches": caches.report()} if caches else {})
    notes = [*model.notes, *precision_notes.widened(graphs.values()), *goldens.notes]
    return Model(
        model.kind, graphs, model.settings, model.files, goldens.runs, report, notes, bool(caches and caches.free)
    )


def _reduce(
    model: Family, decoder: Decoder | None, precision: Precision, trace: Trace, goldens: Golden
) -> tuple[dict[str, Any] | None, Golden, Decoder | None]:
    """Quantize a model; return its accuracy, its golden values and its decoder.

    Without a decoder there is no text to measure accuracy on. It is then None.
    """
    trace.stage("accuracy before")
    before = model.evaluated(goldens.probes, decoder)
    if decoder is None:
        _pack(model, precision, {}, trace)
        return None, goldens.changed(before, model.evaluated(goldens.probes, None)), None
    ids, others = model.texts()
    expected = decoder.logits(ids)
    observed = observe(decoder.graph, *decoder.feeds(others))
    _pack(model, precision, observed, trace)
    trace.stage("accuracy after")
    packed = replace(decoder)  # this computes the encoder's results again
    goldens = goldens.changed(before, model.evaluated(goldens.probes, packed))
    return compare(expected, packed.logits(ids), ids), goldens, packed


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
