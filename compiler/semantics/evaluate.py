"""A graph run by numpy, node by node: the reference for folding, golden values and the tests of passes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.encoded import EncodedWeight
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.packed import PackedMatrix
from intaglio.compiler.ir.values import DTYPES, Value
from intaglio.compiler.semantics.operators import evaluate


def run(
    graph: Graph, feeds: Mapping[str, np.ndarray], symbols: Mapping[str, int] | None = None
) -> dict[str, np.ndarray]:
    """The graph's outputs by name. `feeds` holds its inputs and states; `symbols` gives every symbolic dimension."""
    values = {v: feeds[v.name] for v in (*graph.inputs, *graph.states)}
    results = compute(graph, graph.nodes, values, symbols or {}, keep=graph.outputs)
    return {v.name: results[v] if v in results else concrete(v, symbols or {}) for v in graph.outputs}


def zeros(graph: Graph) -> dict[str, np.ndarray]:
    """The states of a graph before anything is written into them."""
    return {v.name: np.zeros(v.fixed_shape, DTYPES[v.dtype]) for v in graph.states}


def compute(
    graph: Graph,
    nodes: list[Node],
    values: Mapping[Value, np.ndarray],
    symbols: Mapping[str, int],
    keep: Collection[Value] | None = None,
) -> dict[Value, np.ndarray]:
    """The results of `nodes` (in order) on `values`. `symbols` has a number for every symbolic dimension.

    keep: the results to return; None: all. Those of a whole encoder would fill the memory.
    """
    results = dict(values)
    final = () if keep is None else keep
    last = {value: i for i, node in enumerate(nodes) for value in node.reads} if keep is not None else {}

    def read(value: Value | None) -> np.ndarray | None:
        if value is None:
            return None
        return results[value] if value in results else concrete(value, symbols)

    for i, node in enumerate(nodes):
        try:
            with np.errstate(all="ignore"):  # masks overflow when they are added
                outputs = evaluate(node.with_sizes(symbols), [read(v) for v in node.reads])
        except BadModel as e:
            raise BadModel(f"{node.op} ({', '.join(node.sources) or node.output.name}): {e}") from e
        results.update(zip(node.outputs, outputs, strict=False))
        for value in set(node.reads):
            if value is not None and last.get(value) == i and value not in final:
                results.pop(value, None)
    return results


def concrete(constant: Value, symbols: Mapping[str, Dim]) -> np.ndarray:
    """The content of a constant: dequantized, and with its symbolic dimensions, if it has any, replaced by numbers."""
    if isinstance(constant.const, PackedMatrix | EncodedWeight):
        return constant.const.dequantized()
    array = constant.array
    if array.dtype != object:
        return array
    numbers = [dims.fixed(dims.substitute(d, symbols)) for d in array.reshape(-1)]
    return np.array(numbers, DTYPES[constant.dtype]).reshape(array.shape)
