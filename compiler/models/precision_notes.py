"""Notes for the user about 64-bit numbers, which are computed in 32 bits because WGSL has no 64-bit numbers.

The compiler refuses constants that do not fit, and the runtime refuses such inputs. An integer result that does not
fit wraps around, and an f64 loses digits.
"""

from __future__ import annotations

from intaglio.compiler.ir.expression import BITWISE, UNARY
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node

_COMPUTE = (
    UNARY - {"Identity"}
    | BITWISE
    | set("Add Conv CumProd CumSum Div Gemm MatMul Mod Mul Pow ReduceL1 ReduceProd ReduceSum Sub Sum".split())
)
_NAMED = 4


def notes(graph: Graph) -> list[str]:
    """Return one line for integers and one for f64, if the graph computes them with fewer bits than they have."""
    lines = []
    for dtypes, means in ((("i64", "u64"), "larger numbers wrap around"), (("f64",), "digits are lost")):
        nodes = [node for node in graph.nodes if _computes(node, dtypes)]
        if nodes:
            names = ", ".join(node.name for node in nodes[:_NAMED]) + ", ..." * (len(nodes) > _NAMED)
            lines.append(f"{' and '.join(dtypes)} in 32 bits: {means}; {len(nodes)} nodes: {names}")
    return lines


def _computes(node: Node, dtypes: tuple[str, ...]) -> bool:
    return node.output.const is None and node.output.dtype in dtypes and (node.op in _COMPUTE or dtypes == ("f64",))
