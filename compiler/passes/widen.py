"""Widen f16 and bf16 to f32, in which everything is computed. Weights keep the format of the file.

A low-bit constant stays encoded where a layer or a lookup reads it. A later pass packs it for the kernel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto

from intaglio.compiler.ir.encoded import SMALL, EncodedWeight
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node, operands
from intaglio.compiler.ir.values import TensorType, Value, type_of
from intaglio.compiler.semantics.evaluate import concrete
from intaglio.compiler.semantics.infer import infer

_NARROW = ("f16", "bf16")
_CODES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
_MATRICES = {"Conv": 1, "Gather": 0, "Gemm": 1, "MatMul": 1}  # which input may be a low-bit weight


def widen(graph: Graph, whole: bool = False) -> int:
    """Change f16 and bf16 values to f32; return the number of changes.

    The graph's inputs and outputs keep their types unless `whole` is true.
    """
    ports = [] if whole else [*graph.inputs, *graph.outputs]
    values = dict.fromkeys((*graph.values(), *graph.inputs, *graph.outputs))
    narrow = [v for v in values if v.dtype in _NARROW and v.const is None and not _is_rounded(graph, v)]
    ends = {v: v.dtype for v in narrow if v in ports}
    for value in narrow:
        value.type = TensorType("f32", value.shape)
    changed = sum(_widen_node(graph, node) for node in graph.nodes)
    for value, dtype in ends.items():
        _keep_type(graph, value, dtype)
    return len(narrow) + changed + _settle(graph)


def _is_rounded(graph: Graph, value: Value) -> bool:
    """Return whether `value` is an f32 value cast down and then cast to f32 again, which rounds on purpose."""
    maker, readers = graph.producer(value), graph.consumers(value)
    if maker is None or maker.op != "Cast" or maker.inputs[0].dtype != "f32" or not readers:
        return False
    return value not in graph.outputs and all(r.op == "Cast" and r.attrs["to"] == "f32" for r in readers)


def _widen_node(graph: Graph, node: Node) -> bool:
    """Widen the constants and attributes of a node, and compute its result if all inputs are constant."""
    inputs = tuple(_widened(v, _MATRICES.get(node.op) == i) for i, v in enumerate(node.inputs))
    attrs = {name: _attribute(name, a) for name, a in node.attrs.items()}
    attrs |= {"to": node.output.dtype} if node.op == "Cast" else {}
    constant = node.output.const is None and all(v is None or v.const is not None for v in inputs)
    before, after = (*node.inputs, *node.attrs.values()), (*inputs, *attrs.values())
    if all(a is b for a, b in zip(before, after, strict=True)) and not constant:
        return False
    new = graph.replace(node, Node(node.op, operands(inputs), node.outputs, attrs, node.sources))
    if constant:
        infer(new)
    return True


def _widened(value: Value | None, matrix: bool) -> Value | None:
    if value is None or value.const is None or value.dtype not in _NARROW:
        return value
    large = len(value.shape) > 1 and value.const.size >= SMALL
    const = EncodedWeight(value.array) if matrix and large else value.array.astype(np.float32)
    return Value(value.name, TensorType("f32", value.shape), const)


def _attribute(name: str, value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.astype(np.float32) if type_of(value).dtype in _NARROW else value
    return TensorProto.FLOAT if name in ("dtype", "output_dtype") and value in _CODES else value


def _keep_type(graph: Graph, value: Value, dtype: str) -> None:
    """Keep the type of an input or output with a cast after the input or before the output."""
    wide = graph.value(f"{value.name}.f32", value.type)
    value.type = TensorType(dtype, value.shape)
    for reader in graph.consumers(value):
        graph.replace(reader, reader.reading({value: wide}))
    ends = (value, wide)
    if (maker := graph.producer(value)) is not None:
        outputs = tuple(wide if v is value else v for v in maker.outputs)
        graph.replace(maker, replace(maker, outputs=outputs))
        ends = (wide, value)
    graph.add(Node("Cast", ends[:1], ends[1:], {"to": ends[1].dtype}, maker.sources if maker else (value.name,)))


def _settle(graph: Graph) -> int:
    """Dequantize low-bit constants whose readers do not accept them; return the number of changed nodes."""
    changed = 0
    for node in graph.nodes:
        inputs = tuple(
            Value(v.name, v.type, concrete(v, {})) if _misplaced(node, i, v) else v for i, v in enumerate(node.inputs)
        )
        if any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
            graph.replace(node, Node(node.op, inputs, node.outputs, node.attrs, node.sources))
            changed += 1
    return changed


def _misplaced(node: Node, i: int, value: Value | None) -> bool:
    return value is not None and isinstance(value.const, EncodedWeight) and _MATRICES.get(node.op) != i
