"""Quantize layer weights, lookup tables and caches. Norms, biases, angles and sums stay f32.

Errors are weighted by the mean square of the activations, measured on a calibration text if the model has a tokenizer.
The bias of the output layer corrects the mean of the remaining error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from intaglio.compiler.ir.dims import divides
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Linear
from intaglio.compiler.ir.packed import QUANTIZED, STORAGE, PackedMatrix, pack
from intaglio.compiler.ir.values import TensorType, Value
from intaglio.compiler.semantics import evaluate

_LEAST = 1024  # elements; smaller tensors keep their format


@dataclass
class Precision:
    """The requested formats: `quantize` (q8, q4 or None) for weights, `storage` (f32 or f16) for other large tensors.

    keep_head: do not quantize the output layer, or a table that shares its matrix. half_caches: GPUs may store f32
    caches in f16 if that costs nothing. packed: the names of the tensors in each format. kept: the tensors that stayed
    f32 although another format was requested, with the reason.
    """

    quantize: str | None = None
    storage: str = "f32"
    keep_head: bool = False
    half_caches: bool = False
    packed: dict[str, list[str]] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    _done: dict[object, PackedMatrix | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.quantize not in (None, *QUANTIZED) or self.storage not in STORAGE:
            expected = f"expected quantize {' or '.join(QUANTIZED)}, and precision {' or '.join(STORAGE)}"
            raise ValueError(f"{self.name} is not supported; {expected}")

    @property
    def reduced(self) -> bool:
        """Whether any tensor is to take fewer bits than f32."""
        return self.quantize is not None or self.storage != "f32"

    @property
    def name(self) -> str:
        """The name of the formats, such as q4, or q4 and f16."""
        return " and ".join(filter(None, [self.quantize, self.storage if self.storage != "f32" else None])) or "f32"

    def report(self, accuracy: dict[str, Any] | None, graphs: Iterable[Graph]) -> dict[str, Any]:
        """Return the part of the bundle's report about precision.

        It has the tensors of each format, those that stayed f32 with the reason, and the accuracy. If no format was
        requested, it has the formats of the model's files.
        """
        if not self.reduced:
            names = {v.const: v.name for graph in graphs for v in graph.values() if isinstance(v.const, PackedMatrix)}
            formats: dict[str, list[str]] = {}
            for const, name in names.items():
                formats.setdefault(const.format, []).append(name)
            return {"name": " and ".join(sorted(formats)), "packed": formats} if formats else {"name": self.name}
        return {"name": self.name, "packed": self.packed, "kept_f32": self.kept, "accuracy": accuracy}

    def of(self, value: Value, formats: list[str], importance: np.ndarray | None = None) -> PackedMatrix | None:
        """Return the constant in the first format that can hold it, or None. Equal constants share one object."""
        for format in formats:
            key = _content(value), format
            if key not in self._done:
                self._done[key] = pack(evaluate.concrete(value, {}), format, importance)
                if self._done[key] is not None:
                    self.packed.setdefault(format, []).append(value.name)
            if (packed := self._done[key]) is not None:
                return packed
        if formats and isinstance(value.const, np.ndarray):
            why = f"numbers up to {np.abs(value.const).max():.3g}, rows of {value.shape[1]}"
            self.kept[value.name] = f"{' and '.join(formats)} cannot hold it: {why}"
        return None


@dataclass(frozen=True)
class Statistics:
    """The mean and the mean square of each column of the rows that a layer reads."""

    mean: np.ndarray
    square: np.ndarray


def observe(graph: Graph, feeds: Mapping[str, np.ndarray], symbols: Mapping[str, int]) -> dict[Value, Statistics]:
    """Run the graph once; return the statistics of each value that a layer reads."""
    nodes = graph.nodes
    read = {layer.x for n in nodes if (layer := Linear.of(n)) and layer.window is None}
    last = max((i for i, n in enumerate(nodes) if read & {*n.outputs}), default=-1)  # no layer reads later results
    values = {v: feeds[v.name] for v in (*graph.inputs, *graph.states)}
    results = evaluate.compute(graph, nodes[: last + 1], values, symbols, keep=read)
    rows = {v: results[v].reshape(-1, results[v].shape[-1]) for v in read}
    return {v: Statistics(x.mean(0), np.square(x).mean(0)) for v, x in rows.items()}


def matrix_bytes(graph: Graph) -> int:
    """Return the bytes in f32 of the weights that may take another format. A weight counts once for each reader."""
    return sum(4 * matrix.numbers.size for node in graph.nodes if (matrix := _matrix(node)))


def quantize(
    graph: Graph,
    precision: Precision,
    observed: Mapping[Value, Statistics],
    report: Callable[[int], None] = lambda size: None,
) -> int:
    """Store the weights and caches of a graph as `precision` requests; return the number of changed tensors.

    observed: statistics of the values that layers read. report: called with the bytes in f32 of each weight visited.
    """
    heads = [n for n in graph.nodes if Linear.of(n) and n.output in graph.outputs and _matrix(n)]
    excluded = {_content(matrix) for n in heads if (matrix := _matrix(n))} if precision.keep_head else set()
    changed = 0
    for node in (*heads, *(n for n in graph.nodes if n not in heads)):  # a table shares the format of the head it is
        value, layer = _matrix(node), Linear.of(node)
        if value is None:
            continue
        statistics = observed.get(layer.x) if layer is not None else None
        formats = []
        if precision.quantize is not None and _by_fours(layer) and not (excluded and _content(value) in excluded):
            formats.append(precision.quantize)
        if precision.storage != "f32" and not isinstance(value.const, PackedMatrix):  # already f16 in the file
            formats.append(precision.storage)
        packed = precision.of(value, formats, statistics.square if statistics is not None else None)
        report(4 * value.numbers.size)
        if packed is not None:
            new = graph.replace(node, node.reading({value: Value(value.name, value.type, packed)}))
            if node in heads and statistics is not None:
                _correct(graph, new, (evaluate.concrete(value, {}) - packed.dequantized()) @ statistics.mean)
            changed += 1
    return changed + (_halve_caches(graph) if precision.storage == "f16" else 0)


def _matrix(node: Node) -> Value | None:
    """Return the weight of a layer or the table of a lookup if it may take another format, else None."""
    if layer := Linear.of(node):
        return layer.weight if _is_matrix(layer.weight) else None
    return node.inputs[0] if node.op == "Gather" and _is_matrix(node.inputs[0]) and _is_table(node) else None


def _is_matrix(value: Value) -> bool:
    """Return whether a value is a large constant matrix of f32, or of f16 as in the file."""
    const = value.const
    if const is None or const.dtype != np.float32 or len(const.shape) != 2 or const.size < _LEAST:
        return False
    return const.format == "f16" if isinstance(const, PackedMatrix) else isinstance(const, np.ndarray)


def _is_table(node: Node) -> bool:
    """Return whether a Gather looks up rows that are whole vec4s."""
    return node.attrs.get("axis", 0) == 0 and divides(4, node.inputs[0].shape[1])


def _by_fours(layer: Linear[Value] | None) -> bool:
    """Return whether the rows that a layer multiplies, or the rows of its window, are whole vec4s."""
    return layer is None or layer.window is None or divides(4, layer.weight.shape[1] // layer.window.kernel)


def _content(value: Value) -> bytes:
    """Return a key that is equal for constants with the same numbers, whatever their memory layout."""
    numbers = value.const.codes if isinstance(value.const, PackedMatrix) else value.array
    return hashlib.sha256(np.ascontiguousarray(numbers).data).digest()


def _correct(graph: Graph, node: Node, error: np.ndarray) -> None:
    """Add the mean error of a layer's outputs to its bias."""
    layer = Linear.expect(node)
    total = error if layer.bias is None else layer.bias.const + error
    bias = graph.constant(total.astype(np.float32), f"{layer.weight.name}.bias")
    graph.replace(node, Node.of(replace(layer, bias=bias), node.outputs, node.sources))


def _halve_caches(graph: Graph) -> int:
    """Store caches in f16 if their rows are whole vec4s; return the number of changed caches."""
    changed = 0
    for node in graph.nodes:
        for out, state in node.written.items():
            if state.dtype == "f32" and divides(4, state.shape[-1]):
                out.type, state.type = (TensorType("f16", v.shape) for v in (out, state))
                changed += 1
    return changed
