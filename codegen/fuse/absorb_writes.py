"""Rows that are written into a state are written there by the layer that makes them, so that a cache costs no dispatch
of its own."""

from __future__ import annotations

from intaglio.compiler.ir.graph import Graph, Node, Value


def absorb_writes(graph: Graph) -> int:
    """Returns the number of writes that were absorbed."""
    return sum(_absorb(graph, node) for node in graph.nodes if node.op == "Write") + graph.prune()


def _absorb(graph: Graph, write: Node) -> bool:
    new, state = write.inputs
    maker = graph.producer(new)
    if maker is None or maker.op != "Linear" or len(graph.consumers(new)) != 1 or new in graph.outputs:
        return False
    at = maker.attrs.get("at", write.attrs["at"])
    if at != write.attrs["at"] or "window" in maker.attrs:
        return False
    inputs = maker.inputs if len(maker.inputs) > 2 else (*maker.inputs, None)
    states = list(maker.attrs.get("states", [0] * len(maker.outputs)))
    states[maker.outputs.index(new)] = len(inputs)
    splits = maker.attrs.get("splits", tuple(v.shape[-1] for v in maker.outputs))
    attrs = maker.attrs | {"splits": splits, "states": tuple(states), "at": at}
    outputs: tuple[Value, ...] = tuple(write.output if v is new else v for v in maker.outputs)
    graph.remove(write)
    graph.replace(maker, Node("Linear", (*inputs, state), outputs, attrs, maker.sources))
    return True
