"""The builder: how a rewrite adds nodes to a graph, with their types and ONNX names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from intaglio.compiler.ir import operators
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.encoded import EncodedWeight
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node, Operator
from intaglio.compiler.ir.packed import PackedMatrix
from intaglio.compiler.ir.values import DTYPES, Content, TensorType, Value, known
from intaglio.compiler.rewrite.provenance import backward_origin, forward_origin
from intaglio.compiler.semantics.infer import infer
from intaglio.compiler.semantics.operators import KNOWN


class Declined(Exception):
    """A rule matched but declines; the message is the reason."""


class GraphBuilder:
    """The `op` that a rewrite sees. Each call adds a node to `graph`, or a constant if the result is known, and returns
    the first output.

    `root` is the node that is being rewritten; new nodes take its name and the ONNX names in `sources`.
    """

    def __init__(self, graph: Graph, root: Node, sources: tuple[str, ...] | None = None) -> None:
        self.graph, self.root = graph, root
        self._sources, self._name = sources or root.sources, root.output.name
        self.made: set[Value] = set()

    def decline(self, why: str) -> NoReturn:
        raise Declined(why)

    def constant(self, array: Content | np.generic, name: str | None = None) -> Value:
        whole = array if isinstance(array, PackedMatrix | EncodedWeight) else np.asarray(array)
        return self.graph.constant(whole, name or f"{self._name}.const")

    def number(self, value: float, like: Value) -> Value:
        """A scalar of the type of `like`."""
        return self.constant(np.array(value, DTYPES[like.dtype]))

    def integers(self, *values: int) -> Value:
        """A constant of axes, sizes and so on."""
        return self.constant(np.array(values, np.int64))

    def dimensions(self, *values: Dim) -> Value:
        """A constant of sizes, some of which may be symbolic."""
        return self.constant(known(values, (len(values),)))

    def node(self, op: str, inputs: tuple[Value | None, ...], outputs: int = 1, **attrs: Any) -> tuple[Value, ...]:
        """The outputs of an operator, one of ONNX or of ours by its name."""
        return self._added(operators.node(op, inputs, self._values(outputs), attrs, self._sources))

    def add(self, own: Operator[Value], outputs: int = 1) -> Value:
        """The first output of one of our own operators."""
        return self._added(Node.of(own, self._values(outputs), self._sources))[0]

    def like(self, node: Node, change: Mapping[Value, Value]) -> Value:
        """The first output of an operator such as that of `node`, whose operands are changed."""
        new = node.reading(change, self._values(len(node.outputs)))
        return self._added(replace(new, sources=self._sources))[0]

    def _values(self, count: int) -> tuple[Value, ...]:
        return tuple(self.graph.value(self._name, TensorType("f32", ())) for _ in range(count))

    def _added(self, node: Node) -> tuple[Value, ...]:
        infer(node)
        forward_origin(node)
        if any(v.const is None for v in node.outputs):
            self.graph.add(node)
            self.made.update(node.outputs)
        return node.outputs

    def rebind(self, out: Value, result: Value) -> None:
        """Let the node that computes `result` compute `out` instead of its old node."""
        if result.type != out.type:
            raise ValueError(f"a rewrite changed the type of {out} to {result.type}")
        graph = self.graph
        if result not in self.made:
            graph.redirect(out, result)
            return
        maker = graph.expect_producer(result)
        graph.remove(maker)
        outputs = tuple(out if v is result else v for v in maker.outputs)
        graph.replace(graph.expect_producer(out), replace(maker, outputs=outputs))
        backward_origin(graph, out)

    def __getattr__(self, op: str) -> Any:
        if op not in KNOWN:
            raise AttributeError(f"{op} is not an operator of ONNX, nor one of ours")
        return lambda *inputs, **attrs: self.node(op, inputs, **attrs)[0]
