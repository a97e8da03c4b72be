"""A bundle's golden runs by onnxruntime, on the model that was compiled: the right values of every step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from intaglio.errors import NoCompiler
from intaglio.runtime.instruments.golden import Check, Slice
from intaglio.runtime.instruments.provenance import Graph, Origin
from intaglio.runtime.plan import Plan
from intaglio.runtime.sizes import Size, evaluate_size

if TYPE_CHECKING:
    import onnx
    import onnxruntime

    from intaglio.compiler.models.reference import Observed, Part, Reference

_FOLDER = "session.model_external_initializers_file_folder_path"


class NoReference(NoCompiler):
    """The reference is not installed: `pip install 'intaglio[reference]'`."""


def checks(
    golden: Iterable[Check],
    graph: Graph,
    plan: Plan,
    model: str | Path | onnx.ModelProto,
    bind: Mapping[str, Any] | None = None,
    dtype: str | None = None,
) -> Iterator[Check]:
    """The golden checks with onnxruntime's values instead of those in the bundle.

    bind, dtype: the same as when the bundle was compiled.
    Raises BadModel, NoReference, and ValueError if the bundle was compiled from another model.
    """
    try:
        from intaglio.compiler.models import families
    except ModuleNotFoundError as error:
        raise NoReference(f"reading the model needs {error.name}: pip install 'intaglio[reference]'") from None
    opened = families.reference(model, bind, dtype)
    if opened.parts.keys() != graph.models.keys():
        raise ValueError(f"the bundle was compiled from another model, whose parts are {', '.join(graph.models)}")
    sessions = _Sessions(opened, graph)
    for check in golden:
        values = opened.observe(check.program, check.symbols, check.inputs, sessions.run)
        yield _expected(check, graph, plan, values)


class _Sessions:
    """A session of onnxruntime for each part of a reference. Its outputs are all values that steps are compared with.

    The graph is not optimized, so that each value is what its node says.
    """

    def __init__(self, reference: Reference, graph: Graph) -> None:
        origins = [o.origin for work in graph.work.values() for w in work for o in w.operands if o.origin]
        self._parts = reference.parts
        self._wanted = {name: {o.name for o in origins if o.model == name} for name in reference.parts}
        self._open: dict[str, onnxruntime.InferenceSession] = {}

    def run(self, name: str, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All values of a part, and its feeds."""
        if name not in self._open:
            self._open[name] = _session(self._parts[name], self._wanted[name])
        session = self._open[name]
        outputs = [o.name for o in session.get_outputs()]
        inputs = {i.name for i in session.get_inputs()}
        try:
            values: Sequence[Any] = session.run(outputs, {k: v for k, v in feeds.items() if k in inputs})
        except Exception as error:  # onnxruntime has no common type of error
            raise ValueError(f"onnxruntime cannot run the model on the bundle's golden inputs: {error}") from error
        return {**feeds, **dict(zip(outputs, values, strict=True))}


def _session(part: Part, names: set[str]) -> onnxruntime.InferenceSession:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise NoReference("--reference needs onnxruntime: pip install 'intaglio[reference]'") from None
    from intaglio.compiler.models.reference import exposed

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    if part.folder is not None:
        options.add_session_config_entry(_FOLDER, str(part.folder.resolve()))
    try:
        content = exposed(part, names).SerializeToString()
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common type of error
        raise ValueError(f"onnxruntime refuses the model: {error}") from error


def _expected(check: Check, graph: Graph, plan: Plan, values: Mapping[str, Observed]) -> Check:
    steps: dict[tuple[int, int], Slice] = {}
    outputs: dict[str, Slice] = {}
    program = plan.programs[check.program]
    names = {buffer: name for name, buffer in program.outputs.items()}
    for i, (work, step) in enumerate(zip(graph.work[check.program], program.steps, strict=True)):
        for binding, (operand, buffer) in enumerate(zip(work.operands, step.buffers, strict=True)):
            origin = operand.origin
            if origin is None or not operand.whole or origin.model not in values:
                continue
            right = _slice(origin, operand.shape, check.symbols, values[origin.model])
            if right is not None:
                steps[i, binding] = right
                outputs |= {names[buffer]: right} if buffer in names else {}
    return replace(check, outputs=outputs, steps=steps)


def _slice(origin: Origin, sizes: Sequence[Size], symbols: Mapping[str, int], observed: Observed) -> Slice | None:
    """The ONNX value that a step writes, as the step has it, None where the model has none.

    The model has computed all tokens so far; the program may have computed the last of them alone.
    """
    if origin.name not in observed.values:
        return None
    value, shape = observed.values[origin.name], tuple(evaluate_size(d, symbols) for d in sizes)
    try:
        array = origin.apply(value, observed.symbols)
        beyond = [a - d for a, d in zip(array.shape, shape, strict=True)]
        if any(n < 0 or (n and a not in observed.symbols.values()) for n, a in zip(beyond, array.shape, strict=True)):
            raise ValueError("sizes differ")
    except ValueError as error:
        raise ValueError(
            f"the model's {origin.name} has shape {list(value.shape)}, the bundle's {list(shape)}; "
            "name the model that was compiled, with the same --bind"
        ) from error
    values = array[tuple(slice(n, None) for n in beyond)].reshape(-1)
    at = np.flatnonzero(np.isfinite(values))
    return Slice(values[at], at) if at.size else None
