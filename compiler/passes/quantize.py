"""Quantize: weights of layers, tables of rows and caches in fewer bits. Norms, biases, angles and sums stay f32.

Errors are weighted by the mean square of the activations, measured on a calibration text if the model has a tokenizer.
The mean of the remaining error goes into the bias of the output layer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from intaglio.compiler.ir.dims import divides
from intaglio.compiler.ir.graph import Graph, Node, TensorType, Value
from intaglio.compiler.ir.operators import Linear
from intaglio.compiler.ir.packed import QUANTIZED, STORAGE, PackedMatrix, pack
from intaglio.compiler.semantics import evaluate

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
    _done: dict[object, PackedMatrix | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.quantize not in (None, *QUANTIZED) or self.storage not in STORAGE:
            expected = f"expected quantize {' or '.join(QUANTIZED)}, and precision {' or '.join(STORAGE)}"
            raise ValueError(f"{self.name} is not supported; {expected}")

    @property
    def reduced(self) -> bool:
        """Whether anything is to take fewer bits than f32."""
        return self.quantize is not None or self.storage != "f32"

    @property
    def name(self) -> str:
        """Such as q4, or q4 and f16."""
        return " and ".join(filter(None, [self.quantize, self.storage if self.storage != "f32" else None])) or "f32"

    def report(self, accuracy: dict[str, Any] | None, graphs: Iterable[Graph]) -> dict[str, Any]:
        """For the bundle's report: which tensors are in which format, which stayed f32 and why, and what it costs.

        Where nothing was asked for, the formats are those that the model came in.
        """
        if not self.reduced:
            names = {v.const: v.name for graph in graphs for v in graph.values() if isinstance(v.const, PackedMatrix)}
            formats: dict[str, list[str]] = {}
            for const, name in names.items():
                formats.setdefault(const.format, []).append(name)
            return {"name": " and ".join(sorted(formats)), "packed": formats} if formats else {"name": self.name}
        return {"name": self.name, "packed": self.packed, "kept_f32": self.kept, "accuracy": accuracy}

    def of(self, value: Value, formats: list[str], importance: np.ndarray | None = None) -> PackedMatrix | None:
        """The constant in the first of the formats that can hold it; one object for all constants of equal content."""
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
    """Of what a layer reads, for each column: the mean, and the mean of the square."""

    mean: np.ndarray
    square: np.ndarray


def observe(graph: Graph, feeds: Mapping[str, np.ndarray], symbols: Mapping[str, int]) -> dict[Value, Statistics]:
    """What the layers of a graph read in one run."""
    nodes = graph.nodes
    read = {layer.x for n in nodes if (layer := Linear.of(n)) and layer.window is None}
    last = max((i for i, n in enumerate(nodes) if read & {*n.outputs}), default=-1)  # an output layer comes after it
    values = {v: feeds[v.name] for v in (*graph.inputs, *graph.states)}
    results = evaluate.compute(graph, nodes[: last + 1], values, symbols, keep=read)
    rows = {v: results[v].reshape(-1, results[v].shape[-1]) for v in read}
    return {v: Statistics(x.mean(0), np.square(x).mean(0)) for v, x in rows.items()}


def matrix_bytes(graph: Graph) -> int:
    """How many bytes, in f32, the weights have that may take another format, each as often as it is read."""
    return sum(4 * matrix.numbers.size for node in graph.nodes if (matrix := _matrix(node)))


def quantize(
    graph: Graph,
    precision: Precision,
    observed: Mapping[Value, Statistics],
    report: Callable[[int], None] = lambda size: None,
) -> int:
    """Returns the number of tensors whose format changed. `report` hears of the bytes that were looked at, in f32."""
    heads = [n for n in graph.nodes if Linear.of(n) and n.output in graph.outputs and _matrix(n)]
    excluded = {_content(matrix) for n in heads if (matrix := _matrix(n))} if precision.keep_head else set()
    changed = 0
    for node in (*heads, *(n for n in graph.nodes if n not in heads)):  # a table takes the format of the head it is
        value, layer = _matrix(node), Linear.of(node)
        if value is None:
            continue
        statistics = observed.get(layer.x) if layer is not None else None
        formats = []
        if precision.quantize is not None and _by_fours(layer) and not (excluded and _content(value) in excluded):
            formats.append(precision.quantize)
        if precision.storage != "f32" and not isinstance(value.const, PackedMatrix):  # f16 already, in the file
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
    """The weight of a layer, or the table of a lookup, if it may take another format."""
    if layer := Linear.of(node):
        return layer.weight if _is_matrix(layer.weight) else None
    return node.inputs[0] if node.op == "Gather" and _is_matrix(node.inputs[0]) and _is_table(node) else None


def _is_matrix(value: Value) -> bool:
    """Whether it is a matrix worth a format of its own, of f32 or, as the file has it, of f16."""
    const = value.const
    if const is None or const.dtype != np.float32 or len(const.shape) != 2 or const.size < _LEAST:
        return False
    return const.format == "f16" if isinstance(const, PackedMatrix) else isinstance(const, np.ndarray)


def _is_table(node: Node) -> bool:
    """Whether a Gather looks up rows, whole vec4s each."""
    return node.attrs.get("axis", 0) == 0 and divides(4, node.inputs[0].shape[1])


def _by_fours(layer: Linear[Value] | None) -> bool:
    """Whether what a layer multiplies with are whole vec4s, windows too."""
    return layer is None or layer.window is None or divides(4, layer.weight.shape[1] // layer.window.kernel)


def _content(value: Value) -> bytes:
    """Equal for constants that hold the same numbers, however they lie in memory."""
    numbers = value.const.codes if isinstance(value.const, PackedMatrix) else value.array
    return hashlib.sha256(np.ascontiguousarray(numbers).data).digest()


def _correct(graph: Graph, node: Node, error: np.ndarray) -> None:
    """Let a layer add the mean error of its outputs, in its bias."""
    layer = Linear.expect(node)
    total = error if layer.bias is None else layer.bias.const + error
    bias = graph.constant(total.astype(np.float32), f"{layer.weight.name}.bias")
    graph.replace(node, Node.of(replace(layer, bias=bias), node.outputs, node.sources))


def _halve_caches(graph: Graph) -> int:
    """Keys and values in f16, as long as their rows are whole vec4s."""
    changed = 0
    for node in graph.nodes:
        for out, state in node.written.items():
            if state.dtype == "f32" and divides(4, state.shape[-1]):
                out.type, state.type = (TensorType("f16", v.shape) for v in (out, state))
                changed += 1
    return changed
