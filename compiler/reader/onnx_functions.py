"""Operators that ONNX defines by others: written out, so that they need no kernel of their own.

Those that a kernel computes or a pass recognises stay whole.
"""

from __future__ import annotations

from typing import Any

import onnx
from onnx import AttributeProto, FunctionProto, NodeProto, TypeProto

from intaglio.compiler.expansions import EXPANSIONS
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.expression import ELEMENTWISE
from intaglio.compiler.ir.nodes import OPSET, Node
from intaglio.compiler.reader.kernels import has_kernel
from intaglio.compiler.semantics import operators
from intaglio.compiler.semantics.types import proto_type

_WHOLE = ELEMENTWISE | EXPANSIONS.keys()
_NARROWER = frozenset({"RMSNormalization"})  # ONNX's scale may broadcast, that of the kernel may not: see fuse_norm
_NEVER = frozenset({"Bernoulli", "SequenceMap"})  # of random numbers and of sequences


def defines(op: str) -> bool:
    """Whether nodes of an operator are replaced by their definition."""
    whole = op in _WHOLE or (has_kernel(op) and op not in _NARROWER)
    if whole or op in _NEVER or not onnx.defs.has(op):
        return False
    schema: Any = onnx.defs.get_schema(op, OPSET)  # onnx declares no functions of schemas
    return schema.has_function or schema.has_context_dependent_function


def body(node: Node) -> FunctionProto | None:
    """The definition of a node of OPSET with its attributes; None if it stays whole or has no definition."""
    if not defines(node.op) and not (node.op == "LayerNormalization" and len(node.outputs) > 1):
        return None
    schema: Any = onnx.defs.get_schema(node.op, OPSET)  # onnx declares no functions of schemas
    if schema.has_function:
        version = max(schema.function_opset_versions)
        function = FunctionProto.FromString(schema.get_function_with_opset_version(version))
    else:
        version = max(schema.context_dependent_function_opset_versions)
        types = [proto_type(v.type) if v is not None else TypeProto() for v in node.inputs]
        texts = [t.SerializeToString() for t in types]
        text = schema.get_context_dependent_function_with_opset_version(
            version, operators.proto(node).SerializeToString(), texts
        )
        if not text:
            raise BadModel("ONNX does not define this operator for these types")
        function = FunctionProto.FromString(text)
    defaults = {name: a.default_value for name, a in schema.attributes.items() if a.default_value.name}
    attributes = defaults | {a.name: a for a in operators.proto(node).attribute}
    for inner in function.node:
        _fill(inner, attributes)
    return function


def _fill(node: NodeProto, attributes: dict[str, AttributeProto]) -> None:
    """Replace references to the attributes of the function by what is given; one that is not given is left out."""
    filled = []
    for a in node.attribute:
        if a.ref_attr_name in attributes:
            value = AttributeProto()
            value.CopyFrom(attributes[a.ref_attr_name])
            value.name = a.name
            filled.append(value)
        elif not a.ref_attr_name:
            for inner in a.g.node:
                _fill(inner, attributes)
            filled.append(a)
    del node.attribute[:]
    node.attribute.extend(filled)
