"""Prologue: where there is one row, the norm before a linear layer is computed by the layer as it reads the row."""

from __future__ import annotations

from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.graph import Graph, Node, Value

_KINDS = {"LayerNormalization": "layernorm", "RMSNormalization": "rmsnorm"}
MAX_BINDINGS = 8  # storage buffers that a shader may bind under WebGPU's default limits


def fuse_prologue(graph: Graph) -> int:
    """Returns the number of norms that were absorbed."""
    changed = 0
    for node in graph.nodes:
        if node.op in _KINDS and node.output not in graph.outputs and one_row(node.output.shape):
            readers = graph.consumers(node.output)
            if readers and all(_can_host(n, node.output) for n in readers):
                for reader in readers:
                    _absorb(graph, node, reader)
                changed += 1
    graph.prune()
    return changed


def one_row(shape: tuple[Dim, ...]) -> bool:
    """Whether the last axis is all there is."""
    return all(d == 1 for d in shape[:-1])


def _can_host(node: Node, x: Value) -> bool:
    bindings = (
        sum(v is not None for v in node.inputs) - sum(map(bool, node.attrs.get("states", ()))) + len(node.outputs)
    )
    return (
        node.op == "Linear"
        and node.inputs[0] is x
        and x.shape[-1] % 4 == 0  # the layer reads four numbers at a time
        and not {"norm", "window", "tail"} & node.attrs.keys()
        and all(w % 4 == 0 for w in node.attrs.get("splits", ()))  # or the rows of a cache begin anywhere
        and bindings + 2 <= MAX_BINDINGS
    )


def _absorb(graph: Graph, norm: Node, reader: Node) -> None:
    x, scale, *shift = norm.inputs
    inputs = reader.inputs if len(reader.inputs) > 2 else (*reader.inputs, None)
    spec = {
        "kind": _KINDS[norm.op],
        "epsilon": norm.attrs.get("epsilon", 1e-5),
        "scale": len(inputs),
        "shift": len(inputs) + 1 if shift else None,
    }
    merged = Node(
        "Linear",
        (x, *inputs[1:], scale, *shift),
        reader.outputs,
        reader.attrs | {"norm": spec},
        (*norm.sources, *reader.sources),
    )
    graph.replace(reader, merged)
