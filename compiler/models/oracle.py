"""The oracle: the ONNX models of a reference run by onnxruntime or, if it refuses one, by ONNX's reference evaluator.

Both read the files by themselves, so a model that our reader misunderstands does not agree with them. Nothing is
optimized, so each value is what its node says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx

from intaglio.compiler.models.reference import Arrays, Part, exposed

_FOLDER = "session.model_external_initializers_file_folder_path"
_UNPACKED = "session.disable_prepacking"  # packing copies the weights, which pays only for many runs


class OracleError(ValueError):
    """Neither onnxruntime nor ONNX's reference evaluator runs a model on these inputs."""


@dataclass(frozen=True)
class _Runner:
    """An opened model. by: what runs it, with its version. run: takes names of outputs, and inputs by name."""

    by: str
    inputs: Collection[str]
    outputs: Sequence[str]
    run: Callable[[Any, Any], Sequence[Any]]

    def values(self, feeds: Arrays) -> dict[str, np.ndarray]:
        arrays = self.run(list(self.outputs), {name: array for name, array in feeds.items() if name in self.inputs})
        return {**feeds, **dict(zip(self.outputs, arrays, strict=True))}


class Oracle:
    """Runs the parts of a reference. Only the model that ran last is open, because each needs memory for its weights.

    names: by part, further values of the model to return.
    """

    def __init__(self, parts: Mapping[str, Part], names: Mapping[str, Collection[str]] | None = None) -> None:
        self._parts, self._names = parts, names or {}
        self._open: tuple[str, _Runner] | None = None
        self.by = ""  # what ran the last model

    def run(self, part: str, feeds: Arrays) -> dict[str, np.ndarray]:
        """Return all outputs of a part by name, and its feeds. Raises OracleError."""
        if self._open is not None and self._open[0] == part:
            with suppress(Exception):  # neither library has a common type of error
                return self._open[1].values(feeds)
        refusal: Exception | None = None
        for opener in (_onnxruntime, _evaluator):
            self._open = None  # this frees the memory of the earlier model first
            try:
                runner = opener(self._parts[part], self._names.get(part, ()))
                result = runner.values(feeds)
            except ModuleNotFoundError:
                raise
            except Exception as error:
                refusal = refusal or error
            else:
                self._open, self.by = (part, runner), runner.by
                return result
        raise OracleError(f"onnxruntime cannot run the model on the golden inputs: {_line(refusal)}") from refusal


def _onnxruntime(part: Part, names: Collection[str]) -> _Runner:
    import onnxruntime  # it takes a fifth of a second to import

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.add_session_config_entry(_UNPACKED, "1")
    if part.folder is not None:
        options.add_session_config_entry(_FOLDER, str(part.folder.resolve()))
    whole = part.file is None or names
    model = exposed(part, names).SerializeToString() if whole else str(part.file)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs, outputs = ([v.name for v in values] for values in (session.get_inputs(), session.get_outputs()))
    return _Runner(f"onnxruntime {onnxruntime.__version__}", inputs, outputs, session.run)


def _evaluator(part: Part, names: Collection[str]) -> _Runner:
    from onnx.external_data_helper import load_external_data_for_model
    from onnx.reference import ReferenceEvaluator

    model = exposed(part, names)
    if part.folder is not None:
        load_external_data_for_model(model, str(part.folder))
    evaluator = ReferenceEvaluator(model)
    run = cast("Callable[[Any, Any], Sequence[Any]]", evaluator.run)
    inputs, outputs = (list(map(str, names)) for names in (evaluator.input_names, evaluator.output_names))
    return _Runner(f"onnx {onnx.__version__}", inputs, outputs, run)


def _line(error: Exception | None) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
