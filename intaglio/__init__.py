"""Intaglio compiles ONNX exports of Whisper and language models, ahead of time, into bundles of WGSL kernels.

`compile` makes a bundle, `load` opens one. Each imports what it needs when it is called: a process that only runs
bundles does not load the compiler, and one that only inspects them does not load the graphics library.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from intaglio.bundle import Bundle
from intaglio.errors import NoCompiler, needing_compiler
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.progress import Progress, silent
from intaglio.stages import COMPILING, PACKING, Stages
from intaglio.text import size, table

if TYPE_CHECKING:
    import onnx

__all__ = ["BadBundle", "Bundle", "NoCompiler", "compile", "explain", "load", "operators", "preview"]

# Exceptions whose modules need a compiler or a graphics library, imported when they are asked for.
_LATER = {
    "AudioError": "intaglio.runtime.audio.recording",
    "BadModel": "intaglio.compiler.ir.errors",
    "Cancelled": "intaglio.runtime.errors",
    "DeviceLimit": "intaglio.runtime.errors",
    "DeviceLost": "intaglio.runtime.errors",
    "NanScores": "intaglio.runtime.errors",
    "NoAdapter": "intaglio.runtime.errors",
    "PromptTooLong": "intaglio.runtime.tasks.generate",
    "UnknownAdapter": "intaglio.runtime.errors",
    "UnsupportedOperator": "intaglio.compiler.ir.errors",
}


@np.errstate(all="ignore")  # what overflows is infinity, as IEEE 754 says; numpy would warn
def compile(
    model: str | Path | onnx.ModelProto,
    out: str | Path,
    *,
    bind: Mapping[str, Any] | None = None,
    quantize: str | None = None,
    precision: str | None = None,
    keep_head: bool = False,
    max_length: int | None = None,
    dtype: str | None = None,
    tuning: Iterable[str | Path] = (),
    dump: str | Path | None = None,
    verbose: bool = False,
    say: Progress = silent,
) -> Bundle:
    """Compile `model` into the bundle `out`. An existing bundle there is replaced.

    model: a .onnx file, the folder that an exporter wrote or that a hub lays out, a model of the Hugging Face hub
    (hf:OWNER/NAME or hf:OWNER/NAME@REVISION), or a model in memory.
    bind: by name, an int that fixes a size that the model leaves free, or a range that limits it. A size without a name
    goes by input and axis: {"x.1": 576}. For an input, a tuple gives its shape, with None for sizes that stay free:
    {"x": (1, None, 64)}; an array or a number fixes its content. A batch is 1, and a size
    with one possible value or range has that, with a note in the report, if the model does not compile without.
    quantize: "q8" or "q4" stores the weights in 8 or 4 bits, in groups of 32.
    precision: "f16" stores the KV cache, and weights that are not quantized, in f16; "f32" stores them in f32. Sums are
    f32. Default: f32, with the KV cache in f16 on GPUs if that changes no result of the model that a user can see; the
    report says under precision and caches what it changes.
    keep_head: leave the output layer unquantized.
    max_length: the context length of a language model in tokens, prompt plus answer, or the tokens of the longest text
    of an encoder. Default: the model's own, up to 2,048 of a language model and 8,192 of an encoder.
    dtype: which files of a folder with several: "q4" for model_q4.onnx, "fp32" for names without a suffix, or
    "encoder=fp32,decoder=q4".
    tuning: files that `intaglio tune` wrote on adapters that the bundle will run on.
    dump: a folder; the graph after each pass is written there.
    verbose: print a line for each pass, and every reason why the model is refused.
    say: called with the work, how much of it is done, and how much there is (0: unknown).
    Raises BadModel, UnsupportedOperator, FileExistsError if `out` exists and is not a bundle, ValueError for a file
    that is not a tuning, NoCompiler.
    """
    with needing_compiler():
        from intaglio import textfiles
        from intaglio.codegen.bundle import trial, tunings, write
        from intaglio.codegen.bundle.provenance import outline
        from intaglio.compiler.ir.errors import BadModel
        from intaglio.compiler.models import families
        from intaglio.compiler.models.family import Request
        from intaglio.compiler.passes.pipeline import Trace
        from intaglio.compiler.passes.quantize import Precision
    formats = Precision(quantize, precision or "f32", keep_head, half_caches=precision is None)
    measurements = tunings.given(tuning)
    progress = Stages(say, PACKING if formats.reduced else COMPILING)
    folder = Path(out)
    write.check_place(folder)
    if dump is not None:
        Path(dump).mkdir(parents=True, exist_ok=True)

    def note(line: str) -> None:
        if verbose:
            print(line, file=sys.stderr)

    def build(sizes: Mapping[str, Any], notes: list[str]) -> None:
        trace = Trace(Path(dump) if dump is not None else None, note, outline, silent if verbose else progress)
        with needing_compiler():
            compiled = families.compile(model, trace, formats, Request(sizes, max_length, dtype))
        if (fault := textfiles.fault(compiled.files, compiled.settings)) is not None:
            raise BadModel(fault)
        compiled.notes[:0] = notes
        write.write(compiled, folder, trace, progress, measurements)

    progress("reading", 0, 0)
    try:
        build(bind or {}, [])
    except BadModel as error:
        sizes, batch = trial.settle(model, Request(bind or {}, max_length, dtype), error, note)
        build(sizes, [batch])
    return load(folder)


@np.errstate(all="ignore")
def explain(
    model: str | Path | onnx.ModelProto,
    rule: str,
    *,
    bind: Mapping[str, Any] | None = None,
    max_length: int | None = None,
    dtype: str | None = None,
    say: Progress = silent,
) -> str:
    """Where a rewrite rule of the compiler came closest to matching `model`: what it expected there, and what it got.

    If the model is refused after the rule was applied, the text says so.

    bind, max_length, dtype: as for `compile`, and so is a batch of 1.
    Raises ValueError for an unknown rule, BadModel, NoCompiler.
    """
    with needing_compiler():
        from intaglio.codegen.bundle import trial
        from intaglio.compiler.ir.errors import BadModel
        from intaglio.compiler.models.family import Request
        from intaglio.compiler.passes.pipeline import Trace
    request = Request(bind or {}, max_length, dtype)
    text, error = trial.explained(model, rule, request, Trace(progress=Stages(say, COMPILING)))
    if error is None:
        return text
    try:
        sizes, note = trial.settle(model, request, error, lambda line: None)
    except BadModel as refusal:
        if not text:
            raise
        return f"{text}\nthen: {refusal}"
    text, _ = trial.explained(model, rule, Request(sizes, max_length, dtype), Trace(progress=Stages(say, COMPILING)))
    return f"{text}\nnote: {note}"


def preview(model: str | Path, *, max_length: int | None = None, dtype: str | None = None) -> str:
    """What `compile` would take of a model for what: the family, the files with their sizes, and notes.

    The .onnx files of a model of the hub are not downloaded if its config.json tells enough.

    model, max_length, dtype: as for `compile`.
    Raises BadModel, NoCompiler.
    """
    with needing_compiler():
        from intaglio.compiler.models import families
        from intaglio.compiler.models.family import Request
    seen = families.preview(model, Request({}, max_length, dtype))
    files = [[part, str(file.path), file.dtype, size(file.size)] for part, file in seen.models.items()]
    beside = [[purpose, str(path or "none"), "", ""] for purpose, path in seen.beside.items()]
    return "\n".join([f"{model}: {seen.kind}", *table(files + beside), *(f"note: {note}" for note in seen.notes)])


def operators() -> str:
    """A table in Markdown of the supported ONNX operators and how each is compiled. Raises NoCompiler."""
    with needing_compiler():
        from intaglio.codegen import ops
        from intaglio.compiler.reader import operators as reader
    assert ops  # importing it registered the kernels
    return reader.table()


def load(
    path: str | Path, say: Progress = silent, *, allow_edited: bool = False, adapter: str | int | None = None
) -> Bundle:
    """The bundle in the folder `path`. An adapter is opened when the bundle first runs. Raises BadBundle.

    allow_edited: accept shaders that were edited after compiling; `bundle.engine.edited` lists them.
    adapter: which one to run on: an index of the list of `intaglio device`, or a part of a name. None: what the
    variable INTAGLIO_ADAPTER says, or else the best one. What first runs raises UnknownAdapter.
    """
    return Bundle(Path(path), say, allow_edited=allow_edited, adapter=adapter)


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'intaglio' has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)
