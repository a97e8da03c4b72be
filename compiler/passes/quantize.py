"""Quantize: weights of layers, tables of rows and caches in fewer bits. Norms, biases, angles and sums stay f32."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from intaglio.compiler.ir import Graph, Node, TensorType, Value
from intaglio.compiler.packed import Packed, pack

_LEAST = 1024  # numbers below which a tensor is not worth a format of its own


@dataclass
class Precision:
    """What is asked for: `quantize` (q8, q4 or None) for weights, `storage` (f32 or f16) for all else that is large.

    keep_head: the output layer, and a table that shares its matrix, are not quantized. `packed` and `kept` collect the
    names of the tensors in each format, and of those that stayed f32 although another format was asked for, with why.
    """

    quantize: str | None = None
    storage: str = "f32"
    keep_head: bool = False
    packed: dict[str, list[str]] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    _done: dict[object, tuple[np.ndarray, Packed | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.quantize not in (None, "q8", "q4") or self.storage not in ("f32", "f16"):
            raise ValueError(f"weights can be quantized to q8 or q4, and stored in f32 or f16, not in {self.name}")

    @property
    def reduced(self) -> bool:
        """Whether anything is to take fewer bits than f32."""
        return self.quantize is not None or self.storage != "f32"

    def report(self, accuracy: dict[str, Any] | None) -> dict[str, Any]:
        """For the bundle's report: which tensors are in which format, which stayed f32 and why, and what it costs."""
        if not self.reduced:
            return {"name": self.name}
        return {"name": self.name, "packed": self.packed, "kept_f32": self.kept, "accuracy": accuracy}

    @property
    def name(self) -> str:
        """Such as q4, or q4 and f16."""
        return " and ".join(filter(None, [self.quantize, self.storage if self.storage != "f32" else None])) or "f32"

    def of(self, value: Value, formats: list[str]) -> Packed | None:
        """The constant in the first of the formats that can hold it; the same object for all that hold one memory."""
        for format in formats:
            key = (*_memory(value), format)
            if key not in self._done:
                packed = pack(value.const, format)
                self._done[key] = value.const, packed  # the array is kept: its memory must not become another's
                if packed is not None:
                    self.packed.setdefault(format, []).append(value.name)
            if (packed := self._done[key][1]) is not None:
                return packed
        if formats:
            range_ = f"its range is {np.abs(value.const).max():.3g}"
            self.kept[value.name] = f"{' and '.join(formats)} cannot hold it: {range_}, its rows {value.shape[-1]} long"
        return None


def quantize(graph: Graph, precision: Precision) -> int:
    """Returns the number of tensors whose format changed."""
    heads = [n for n in graph.nodes if n.op == "Linear" and n.output in graph.outputs]
    kept = {_memory(n.inputs[1])[:1] for n in heads} if precision.keep_head else set()
    changed = 0
    for node in graph.nodes:
        i = {"Linear": 1, "Gather": 0}.get(node.op)
        if i is None or not _is_matrix(node.inputs[i]):
            continue
        value = node.inputs[i]
        whole = (node.op == "Linear" and "window" not in node.attrs) or _is_table(node)
        formats = [precision.quantize] if precision.quantize and whole and _memory(value)[:1] not in kept else []
        formats += ["f16"] if precision.storage == "f16" else []
        packed = precision.of(value, formats)
        if packed is not None:
            inputs = (*node.inputs[:i], Value(value.name, value.type, packed), *node.inputs[i + 1 :])
            graph.replace(node, Node(node.op, inputs, node.outputs, node.attrs, node.sources))
            changed += 1
    return changed + (_halve_caches(graph) if precision.storage == "f16" else 0)


def _is_matrix(value: Value) -> bool:
    array = value.const
    return isinstance(array, np.ndarray) and array.dtype == np.float32 and array.ndim == 2 and array.size >= _LEAST


def _is_table(node: Node) -> bool:
    """Whether a Gather looks up rows, whole vec4s each."""
    return node.op == "Gather" and node.attrs.get("axis", 0) == 0 and node.inputs[0].shape[1] % 4 == 0


def _memory(value: Value) -> tuple[object, ...]:
    """Equal for constants that hold the same numbers in the same memory: where it begins, and how it is seen."""
    array = value.const
    return array.__array_interface__["data"][0], array.strides, array.shape


def _halve_caches(graph: Graph) -> int:
    """Keys and values in f16, as long as their rows are whole vec4s."""
    changed = 0
    for node in graph.nodes:
        for out, state in node.written.items():
            if state.dtype == "f32" and state.shape[-1] % 4 == 0:
                out.type, state.type = (TensorType("f16", v.shape) for v in (out, state))
                changed += 1
    return changed
