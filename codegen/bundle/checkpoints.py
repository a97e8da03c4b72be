"""Checkpoints: golden runs with what every step must write, so that `verify` can name the first wrong step without the
model. numpy computes these values from the final graphs.

A run may depend on the one before it, as a step on the prefill's cache. States are carried from one run to the next.

Where a class of adapters stores f32 caches in f16, a run has other results there: those that follow from numbers that
were rounded when they were written. Only what depends on them is computed again. Outputs may differ there by what the
rounding changes of them, beyond their tolerance: adapters differ in the last bits of f32, and so in what they round up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from intaglio.codegen.kernel import stored
from intaglio.codegen.lower import Dispatch
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.values import Value
from intaglio.compiler.models.golden import changed
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
    halves: Collection[str] = (),
) -> Iterator[Check]:
    """Yield the checks of a bundle. A value is checked after the last step that writes it, because it is whole then.

    note: called if the graphs do not compute the expected outputs. halves: the names of the states that a class of
    adapters stores in f16. Raises BadModel if expected outputs have another size than those of the graphs.
    """
    states = {name: array for graph in graphs.values() for name, array in evaluate.zeros(graph).items()}
    rounded = {name: states[name] for name in halves}
    for i, run in enumerate(runs):
        progress("checkpoints", i, len(runs))
        graph, symbols = graphs[run.probe.program], run.probe.symbols
        states |= {name: array for name, array in run.probe.inputs.items() if name in states}
        values = {v: (states | run.probe.inputs)[v.name] for v in (*graph.inputs, *graph.states)}
        others = {v: rounded[v.name] for v in graph.states if v.name in rounded}
        written = {value: state.name for node in graph.nodes for value, state in node.written.items()}
        results = _Results(run, graph, _places(dispatches[run.probe.program]), note)
        for value, array, other in _evaluated(graph, values, others, symbols):
            results.add(value, array, other)
            if (name := written.get(value)) is not None:
                states[name] = _whole(array, states[name])
            if name in rounded:
                rounded[name] = _whole(array if other is None else other, rounded[name])
        yield results.check


def _whole(rows: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Return a state after its first rows were written."""
    return np.concatenate([rows, state[..., rows.shape[-2] :, :]], axis=-2)


class _Results:
    """What a golden run has computed so far, with f32 caches and with caches in f16."""

    def __init__(
        self, run: GoldenRun, graph: Graph, places: Mapping[Value, tuple[int, int]], note: Callable[[str], None]
    ) -> None:
        self._run, self._places, self._note = run, places, note
        self._outputs = {v for v in graph.outputs if v.name in run.expected}
        self._expected = {name: Slice(_plain(e.values), e.at) for name, e in run.expected.items()}
        self._tolerances = {name: e.tolerance for name, e in run.expected.items()}
        self._rounded_outputs, self._rounded_tolerances = dict(self._expected), dict(self._tolerances)
        self._steps: dict[tuple[int, int], Slice] = {}
        self._rounded_steps: dict[tuple[int, int], Slice] = {}
        self._changes = False

    def add(self, value: Value, array: np.ndarray, other: np.ndarray | None) -> None:
        """Add a value of the graph. other: with caches in f16, None if it is the same."""
        self._changes |= other is not None
        other = array if other is None else other
        if value in self._outputs:
            _compare(self._run, value.name, array, self._note)
            right = self._expected[value.name]
            before, after = (a.reshape(-1)[right.at] for a in (array, other))
            self._rounded_outputs[value.name] = replace(right, values=changed(right.values, before, after))
            change = np.abs(after.astype(np.float64) - before).max()
            self._rounded_tolerances[value.name] += float(change) if np.isfinite(change) else 0
        if value in self._places:
            at, numbers = sample(array, SAMPLES)
            if at.size:
                self._steps[self._places[value]] = Slice(numbers, at)
                self._rounded_steps[self._places[value]] = Slice(other.reshape(-1)[at], at)

    @property
    def check(self) -> Check:
        probe = self._run.probe
        check = Check(
            probe.program,
            probe.symbols,
            {name: _plain(array) for name, array in probe.inputs.items()},
            self._expected,
            dict(sorted(self._steps.items())),
            self._tolerances,
            probe.tolerance,
            self._run.by,
        )
        if not self._changes:
            return check
        steps = dict(sorted(self._rounded_steps.items()))
        of = {"outputs": self._rounded_outputs, "steps": steps, "tolerances": self._rounded_tolerances}
        return replace(check, rounded=replace(check, **of))


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
    graph: Graph, values: dict[Value, np.ndarray], others: dict[Value, np.ndarray], symbols: Mapping[str, int]
) -> Iterator[tuple[Value, np.ndarray, np.ndarray | None]]:
    """Yield the values of a graph in order, except those that numpy cannot compute and those that depend on them.

    others: the states that are stored in f16. Each value is yielded with what it is then, or None if it is the same.
    """
    nodes, halves = graph.nodes, {*others}
    last = {value: i for i, node in enumerate(nodes) for value in node.reads}
    for i, node in enumerate(nodes):
        if all(v is None or v.const is not None or v in values for v in node.reads):
            try:
                results = evaluate.compute(graph, [node], values, symbols)
            except BadModel:
                continue
            rounds = {value for value, state in node.written.items() if state in halves}
            if rounds or any(v in others for v in node.reads):
                again = evaluate.compute(graph, [node], values | others, symbols)
                others |= {v: _in_f16(again[v]) if v in rounds else again[v] for v in node.outputs}
            for value in node.outputs:
                values[value] = results[value]
                yield value, results[value], others.get(value)
        for value in set(node.reads):
            if value is not None and last[value] == i:
                values.pop(value, None)
                others.pop(value, None)


def _in_f16(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float16).astype(array.dtype)
