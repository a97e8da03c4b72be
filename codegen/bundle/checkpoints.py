"""Checkpoints: what every step must write, computed by numpy from the final graphs, so that `verify` can name the first
step that is wrong without the model at hand.

The golden runs build on one another (a step on the prefill's cache), so states are carried from one to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from intaglio.codegen.lower import Dispatch
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.graph import Graph, Value
from intaglio.compiler.models.model import Check, sample
from intaglio.compiler.semantics import evaluate

SAMPLES = 256  # of a step's values

Checkpoint = tuple[int, int, np.ndarray, np.ndarray]  # step, binding, flat indices, the values there


def checkpoints(
    checks: Sequence[Check], graphs: Mapping[str, Graph], dispatches: Mapping[str, Sequence[Dispatch]]
) -> Iterator[list[Checkpoint]]:
    """For each check the values of its program's steps. A value is known where it is whole: at its last step."""
    states = {name: array for graph in graphs.values() for name, array in evaluate.zeros(graph).items()}
    for check in checks:
        graph = graphs[check.program]
        states |= {name: array for name, array in check.inputs.items() if name in states}
        values = {v: (states | check.inputs)[v.name] for v in (*graph.inputs, *graph.states)}
        written = {value: state.name for node in graph.nodes for value, state in node.written.items()}
        made = _places(dispatches[check.program])
        found: list[Checkpoint] = []
        for value, array in _evaluated(graph, values, check.symbols):
            if value in written:
                before = states[written[value]]
                states[written[value]] = np.concatenate([array, before[..., array.shape[-2] :, :]], axis=-2)
            if value in made:
                found.append((*made[value], *sample(array, SAMPLES)))
        yield sorted((c for c in found if c[-1].size), key=lambda c: c[:2])


def _places(dispatches: Sequence[Dispatch]) -> dict[Value, tuple[int, int]]:
    """The step and the binding that write the last of each value."""
    return {
        value: (step, len(d.kernel.reads) + i)
        for step, d in enumerate(dispatches)
        for i, value in enumerate(d.kernel.writes.values())
    }


def _evaluated(
    graph: Graph, values: dict[Value, np.ndarray], symbols: Mapping[str, int]
) -> Iterator[tuple[Value, np.ndarray]]:
    """Every value of the graph, in order, but for what no numpy function computes, and what depends on that."""
    nodes = graph.nodes
    last = {value: i for i, node in enumerate(nodes) for value in node.reads}
    for i, node in enumerate(nodes):
        if all(v is None or v.const is not None or v in values for v in node.reads):
            try:
                made = evaluate.compute(graph, [node], values, symbols)
            except BadModel:
                continue
            for value in node.outputs:
                values[value] = made[value]
                yield value, made[value]
        for value in set(node.reads):
            if last[value] == i:
                values.pop(value, None)
