"""A graph run by numpy, node by node: what folding, golden values and the tests of passes compare with."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.encoded import Quantized
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.graph import DTYPES, Graph, Node, Value
from intaglio.compiler.ir.packed import Packed
from intaglio.compiler.semantics.operators import evaluate


def run(
    graph: Graph, feeds: Mapping[str, np.ndarray], symbols: Mapping[str, int] | None = None
) -> dict[str, np.ndarray]:
    """The graph's outputs by name. `feeds` holds its inputs and states; `symbols` gives every symbolic dimension."""
    values = {v: feeds[v.name] for v in (*graph.inputs, *graph.states)}
    results = compute(graph, graph.nodes, values, symbols or {}, wanted=graph.outputs)
    return {v.name: results[v] if v in results else concrete(v, symbols or {}) for v in graph.outputs}


def zeros(graph: Graph) -> dict[str, np.ndarray]:
    """The states of a graph as they are before anything is written into them."""
    return {v.name: np.zeros(v.fixed_shape, DTYPES[v.dtype]) for v in graph.states}


def compute(
    graph: Graph,
    nodes: list[Node],
    values: Mapping[Value, np.ndarray],
    symbols: Mapping[str, int],
    wanted: Collection[Value] | None = None,
) -> dict[Value, np.ndarray]:
    """What `nodes` (in order) make of `values`, with every symbolic dimension given a number.

    Of the results only `wanted` are kept, where they are named: those of a whole encoder would fill the memory.
    """
    results = dict(values)
    kept = () if wanted is None else wanted
    last = {value: i for i, node in enumerate(nodes) for value in node.reads} if wanted is not None else {}

    def read(value: Value | None) -> np.ndarray | None:
        if value is None:
            return None
        return results[value] if value in results else concrete(value, symbols)

    for i, node in enumerate(nodes):
        try:
            with np.errstate(all="ignore"):  # masks overflow when they are added
                made = evaluate(node.with_sizes(symbols), [read(v) for v in node.reads])
        except BadModel as e:
            raise BadModel(f"{node.op} ({', '.join(node.sources) or node.output.name}): {e}") from e
        results.update(zip(node.outputs, made, strict=False))
        for value in set(node.reads):
            if value is not None and last.get(value) == i and value not in kept:
                results.pop(value, None)
    return results


def concrete(constant: Value, symbols: Mapping[str, Dim]) -> np.ndarray:
    """The content of a constant: dequantized, and with its symbolic dimensions, if it has any, replaced by numbers."""
    if isinstance(constant.const, Packed | Quantized):
        return constant.const.dequantized()
    array = constant.array
    if array.dtype != object:
        return array
    numbers = [dims.fixed(dims.substitute(d, symbols)) for d in array.reshape(-1)]
    return np.array(numbers, DTYPES[constant.dtype]).reshape(array.shape)
