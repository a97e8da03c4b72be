"""Notes for the user about numbers that get other bits than they have in the model.

64-bit numbers are computed in 32 bits because WGSL has no 64-bit numbers. The compiler refuses constants that do not
fit, and the runtime refuses such inputs. An integer result that does not fit wraps around, and an f64 loses digits.
Weights in few bits that no kernel reads in few bits are stored in f32.
"""

from __future__ import annotations

from collections.abc import Iterable

from intaglio.compiler.ir.encoded import EncodedWeight
from intaglio.compiler.ir.expression import BITWISE, UNARY
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value

_COMPUTE = (
    UNARY - {"Identity"}
    | BITWISE
    | set("Add Conv CumProd CumSum Div Gemm MatMul Mod Mul Pow ReduceL1 ReduceProd ReduceSum Sub Sum".split())
)
_NAMED = 4
_SMALL = 4096  # numbers of a weight whose size does not matter


def notes(graph: Graph) -> list[str]:
    """Return one line for integers and one for f64, if the graph computes them with fewer bits than they have."""
    lines = []
    for dtypes, means in ((("i64", "u64"), "larger numbers wrap around"), (("f64",), "digits are lost")):
        nodes = [node for node in graph.nodes if _computes(node, dtypes)]
        if nodes:
            names = ", ".join(node.name for node in nodes[:_NAMED]) + ", ..." * (len(nodes) > _NAMED)
            lines.append(f"{' and '.join(dtypes)} in 32 bits: {means}; {len(nodes)} nodes: {names}")
    return lines


def widened(graphs: Iterable[Graph]) -> list[str]:
    """Return a line for the nodes whose weights in few bits are stored in f32, if there are any."""
    nodes = (node for graph in graphs for node in graph.nodes)
    names = list(dict.fromkeys(n.name for n in nodes if any(map(_few_bits, n.reads))))
    if not names:
        return []
    listed = ", ".join(names[:_NAMED]) + ", ..." * (len(names) > _NAMED)
    return [f"weights in few bits are stored in f32, because the kernels of these nodes read f32: {listed}"]


def _few_bits(value: Value | None) -> bool:
    weight = value.const if value is not None else None
    return isinstance(weight, EncodedWeight) and weight.codes.dtype.itemsize == 1 and weight.size >= _SMALL


def _computes(node: Node, dtypes: tuple[str, ...]) -> bool:
    return node.output.const is None and node.output.dtype in dtypes and (node.op in _COMPUTE or dtypes == ("f64",))
