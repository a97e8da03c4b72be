"""Checkpoints: golden runs with what every step must write, so that `verify` can name the first wrong step without the
model. numpy computes these values from the final graphs.

A run may depend on the one before it, as a step on the prefill's cache. States are carried from one run to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from intaglio.codegen.kernel import stored
from intaglio.codegen.lower import Dispatch
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.values import Value
from intaglio.compiler.models.model import GoldenRun, sample
from intaglio.compiler.semantics import evaluate
from intaglio.runtime.instruments.golden import Check, Slice
from intaglio.runtime.progress import Progress

SAMPLES = 256  # values that are kept of a step


def checks(
    runs: Sequence[GoldenRun],
    graphs: Mapping[str, Graph],
    dispatches: Mapping[str, Sequence[Dispatch]],
    progress: Progress,
    note: Callable[[str], None],
) -> Iterator[Check]:
    """Yield the checks of a bundle. A value is checked after the last step that writes it, because it is whole then.

    note: called if the graphs do not compute the expected outputs. Raises BadModel if these have another size.
    """
    states = {name: array for graph in graphs.values() for name, array in evaluate.zeros(graph).items()}
    for i, run in enumerate(runs):
        progress("checkpoints", i, len(runs))
        probe = run.probe
        graph = graphs[probe.program]
        states |= {name: array for name, array in probe.inputs.items() if name in states}
        values = {v: (states | probe.inputs)[v.name] for v in (*graph.inputs, *graph.states)}
        written = {value: state.name for node in graph.nodes for value, state in node.written.items()}
        places = _places(dispatches[probe.program])
        steps: dict[tuple[int, int], Slice] = {}
        for value, array in _evaluated(graph, values, probe.symbols):
            if value in written:
                before = states[written[value]]
                states[written[value]] = np.concatenate([array, before[..., array.shape[-2] :, :]], axis=-2)
            if value in graph.outputs and value.name in run.expected:
                _compare(run, value.name, array, note)
            if value in places:
                at, numbers = sample(array, SAMPLES)
                steps |= {places[value]: Slice(numbers, at)} if at.size else {}
        yield Check(
            probe.program,
            probe.symbols,
            {name: _plain(array) for name, array in probe.inputs.items()},
            {name: Slice(_plain(e.values), e.at) for name, e in run.expected.items()},
            dict(sorted(steps.items())),
            {name: e.tolerance for name, e in run.expected.items()},
            probe.tolerance,
            run.by,
        )


def _compare(run: GoldenRun, name: str, array: np.ndarray, note: Callable[[str], None]) -> None:
    """Compare an output of the final graph with its expected values."""
    right = run.expected[name]
    if array.size != right.size:
        raise BadModel(f"{run.by} computes {right.size} numbers for {name}, the compiled model {array.size}")
    difference = array.reshape(-1)[right.at].astype(np.float64) - right.values.astype(np.float64)
    error = np.abs(difference).max()
    if not error <= right.tolerance:
        note(
            f"{name} of {run.probe.program} differs from {run.by} by {error:.2g}, allowed {right.tolerance:.2g}; "
            "`intaglio verify BUNDLE --reference MODEL` names the first step that differs"
        )


def _plain(array: np.ndarray) -> np.ndarray:
    """Convert an array to a type that numpy has."""
    return np.asarray(array if array.dtype.kind != "V" else stored(array), order="C")


def _places(dispatches: Sequence[Dispatch]) -> dict[Value, tuple[int, int]]:
    """Return the last step that writes each value, and its binding."""
    return {
        value: (step, len(d.kernel.reads) + i)
        for step, d in enumerate(dispatches)
        for i, value in enumerate(d.kernel.writes.values())
    }


def _evaluated(
    graph: Graph, values: dict[Value, np.ndarray], symbols: Mapping[str, int]
) -> Iterator[tuple[Value, np.ndarray]]:
    """Yield the values of a graph in order, except those that numpy cannot compute and those that depend on them."""
    nodes = graph.nodes
    last = {value: i for i, node in enumerate(nodes) for value in node.reads}
    for i, node in enumerate(nodes):
        if all(v is None or v.const is not None or v in values for v in node.reads):
            try:
                results = evaluate.compute(graph, [node], values, symbols)
            except BadModel:
                continue
            for value in node.outputs:
                values[value] = results[value]
                yield value, results[value]
        for value in set(node.reads):
            if value is not None and last[value] == i:
                values.pop(value, None)
