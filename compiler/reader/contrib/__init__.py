"""Operators that ONNX Runtime adds to ONNX's: replaced by ONNX operators while reading, so that no pass sees them.

Each module maps operators to functions from a node to the values of its outputs, in order; None for an output that is
not produced. Their meaning is in docs/ContribOperators.md of onnxruntime.
"""

from __future__ import annotations

from onnx import NodeProto

from intaglio.compiler.ir.dims import NotLinear
from intaglio.compiler.ir.errors import UNDECIDED, BadModel, UnsupportedOperator
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value
from intaglio.compiler.reader.contrib import attention, fused, integers, qlinear, quantize
from intaglio.compiler.rewrite.builder import GraphBuilder

DOMAIN = "com.microsoft"
CONTRIB = {
    op: write_out
    for family in (attention, fused, integers, qlinear, quantize)
    for op, write_out in family.CONTRIB.items()
}
BEFORE = {"LayerNormalization": 17, "SimplifiedLayerNormalization": 99}  # in ONNX's domain, before it defines them


def defines(proto: NodeProto, opset: int) -> bool:
    """Whether a node is of such an operator."""
    if proto.domain == DOMAIN:
        return proto.op_type in CONTRIB.keys() - BEFORE.keys()
    return opset < BEFORE.get(proto.op_type, 0)


def write_out(graph: Graph, node: Node) -> list[Value | None]:
    """Its results, computed by operators of ONNX. Raises BadModel for broken nodes, and UnsupportedOperator."""
    try:
        return CONTRIB[node.op](GraphBuilder(graph, node), node)
    except BadModel:
        raise
    except NotLinear as e:
        raise UnsupportedOperator(UNDECIDED.format(e)) from e
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, ZeroDivisionError) as e:
        raise BadModel(
            f"{node.op} ({node.name}) lacks an input or attribute that it needs; export the model again"
        ) from e
