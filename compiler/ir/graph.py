"""The graph: Values and Nodes, bipartite over networkx, in an order that depends only on how it was built.

A Value outlives its producer: a rewrite gives the same Value a new producer, so its readers and its type stay.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping

import networkx as nx
import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import DTYPES, Content, TensorType, Value, known, type_of


class Graph:
    """Nodes over values. The caller feeds `inputs` and reads `outputs`. `states` keep their content between runs; one
    Write writes each of them. `model` is the name under which the graph was loaded, which its copies keep.

    Invariants (see `verify`): each value read is a constant, an input, a state or the output of exactly one node. There
    are no cycles.
    """

    def __init__(self, name: str = "main") -> None:
        self.name = self.model = name
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self.states: list[Value] = []
        self._net = nx.DiGraph()
        self._age: dict[Node, int] = {}
        self._clock = itertools.count()
        self._taken: dict[str, int] = {}
        self._order: dict[Node, int] | None = None  # the position of each node; None after a change

    # building

    def value(self, name: str, type: TensorType) -> Value:
        """Return a new value with a unique name that begins with `name`."""
        stem = name
        while name in self._taken:
            self._taken[stem] += 1
            name = f"{stem}.{self._taken[stem]}"
        self._taken[name] = 0
        return Value(name, type)

    def constant(self, array: Content, name: str = "const") -> Value:
        """Return a constant. Names of constants need not be unique."""
        return Value(name, type_of(array), array)

    def add(self, node: Node) -> Node:
        """Insert a node and return it. Its inputs may be new to the graph. Raises ValueError for a second producer."""
        self._order = None
        self._age[node] = next(self._clock)
        for value in node.reads:
            if value is not None:
                self._net.add_edge(value, node)
        for value in node.outputs:
            if self.producer(value) is not None:
                raise ValueError(f"{value.name} has two producers")
            self._net.add_edge(node, value)
        return node

    def remove(self, node: Node) -> None:
        self._order = None
        del self._age[node]
        self._net.remove_node(node)

    def replace(self, old: Node, new: Node) -> Node:
        """Replace `old` by `new`, which has the same outputs, at the same place in the order; return `new`."""
        age = self._age[old]
        self.remove(old)
        self.add(new)
        self._age[new] = age
        return new

    def redirect(self, old: Value, new: Value) -> None:
        """Replace `old` by `new` in all readers and in the outputs of the graph.

        An output keeps its name: if users already know `new` by its name, `old` becomes a copy of it.
        """
        if new.origin is None and new.shape == old.shape:
            new.origin = old.origin
        for reader in self.consumers(old):
            self.replace(reader, reader.reading({old: new}))
        if old in self.outputs and self.is_named(new):
            maker = self.expect_producer(old)
            self.replace(maker, Node("Identity", (new,), (old,), {}, maker.sources))
        elif old in self.outputs:
            new.name = old.name
            self.outputs = [new if v is old else v for v in self.outputs]

    def is_named(self, value: Value) -> bool:
        """Return whether users see the name of the value: it is an input, an output or a state."""
        return value in self.inputs or value in self.states or value in self.outputs

    # reading

    def producer(self, value: Value) -> Node | None:
        return next(self._net.predecessors(value), None) if value in self._net else None

    def expect_producer(self, value: Value) -> Node:
        """Return the node that produces `value`. Raises ValueError if there is none."""
        node = self.producer(value)
        if node is None:
            raise ValueError(f"no node makes {value}")
        return node

    def consumers(self, value: Value) -> list[Node]:
        """Return the nodes that read `value`, each once, oldest first."""
        return sorted(self._net.successors(value), key=self._age.__getitem__) if value in self._net else []

    @property
    def nodes(self) -> list[Node]:
        """All nodes in topological order. The oldest comes first where several are possible."""
        return list(self._places())

    def _places(self) -> dict[Node, int]:
        if self._order is None:
            self._order = {node: i for i, node in enumerate(self._sorted(self._age))}
        return self._order

    def _sorted(self, nodes: Collection[Node]) -> list[Node]:
        """Return `nodes` in topological order. Raises BadModel if they form a cycle."""
        net, age = self._net, self._age
        # For each node, the number of its inputs that are not computed yet.
        missing = {node: sum(self.producer(v) in nodes for v in net.predecessors(node)) for node in nodes}
        by_age = {age[node]: node for node in nodes}
        ready = [when for when, node in by_age.items() if not missing[node]]
        heapq.heapify(ready)
        result: list[Node] = []
        while ready:
            node = by_age[heapq.heappop(ready)]
            result.append(node)
            for reader in itertools.chain.from_iterable(map(net.successors, net.successors(node))):
                if reader in missing:
                    missing[reader] -= 1
                    if not missing[reader]:
                        heapq.heappush(ready, age[reader])
        if len(result) < len(missing):
            raise BadModel(f"graph {self.name} has a cycle")
        return result

    def values(self) -> Iterator[Value]:
        """Yield every value that a node reads or produces, in order."""
        seen: set[int] = set()
        for node in self.nodes:
            for value in (*node.reads, *node.outputs):
                if value is not None and id(value) not in seen:
                    seen.add(id(value))
                    yield value

    def ancestors(self, value: Value, stop: Iterable[Value] = ()) -> list[Node]:
        """Return the nodes that `value` depends on, in the graph's order, without those before the values in `stop`."""
        barrier, seen, todo = set(map(id, stop)), set(), [value]
        while todo:
            v = todo.pop()
            node = None if id(v) in barrier else self.producer(v)
            if node is not None and node not in seen:
                seen.add(node)
                todo.extend(x for x in node.reads if x is not None)
        if self._order is None and not barrier:
            return self._sorted(seen)  # only they decide their order, and sorting the whole graph is slow
        return sorted(seen, key=self._places().__getitem__)

    def prune(self) -> int:
        """Remove nodes whose outputs are not read; return their number."""
        outputs, order = set(self.outputs), self._places()
        for node in reversed(order):
            if not node.written and not any(v in outputs or self._net.out_degree(v) for v in node.outputs):
                self._net.remove_nodes_from(node.outputs)
                self.remove(node)
        self._order = {n: i for n, i in order.items() if n in self._age}  # the order of the rest is the same
        return len(order) - len(self._order)

    def copy(self, name: str, symbols: Mapping[str, Dim] | None = None) -> Graph:
        """Return an independent graph that shares the constants, with dimensions substituted by symbol name."""
        renamed: dict[Value, Value] = {}
        change = symbols or {}

        def of(value: Value) -> Value:
            if value not in renamed:
                const = value.const
                if isinstance(const, np.ndarray) and const.dtype == object:
                    const = known([dims.substitute(d, change) for d in const.reshape(-1)], const.shape)
                    const = const if const.dtype == object else const.astype(DTYPES[value.dtype])
                shape = tuple(dims.substitute(d, change) for d in value.shape)
                renamed[value] = Value(value.name, TensorType(value.dtype, shape), const, value.origin)
            return renamed[value]

        result = Graph(name)
        result.model = self.model
        result._taken = dict(self._taken)
        result.inputs, result.outputs, result.states = (
            [of(v) for v in vs] for vs in (self.inputs, self.outputs, self.states)
        )
        for n in self.nodes:
            inner = {v: of(v) for v in n.reads if v is not None}
            result.add(n.with_sizes(change).reading(inner, tuple(map(of, n.outputs))))
        return result

    def verify(self) -> None:
        """Raise BadModel if an invariant of the class is broken."""
        known_values = {id(v) for v in (*self.inputs, *self.states)}
        for node in self.nodes:
            for v in node.reads:
                if v is not None and v.const is None and id(v) not in known_values:
                    raise BadModel(
                        f"{node.op} ({', '.join(node.sources) or node.output.name}) reads {v.name}, "
                        "which no node produces"
                    )
            known_values.update(map(id, node.outputs))
        for v in self.outputs:
            if v.const is None and id(v) not in known_values:
                raise BadModel(f"no node produces the output {v.name}")

    def __str__(self) -> str:
        lines = [f"graph {self.name}"]
        for kind, values in (("input", self.inputs), ("state", self.states)):
            lines += [f"  {kind} {v}" for v in values]
        lines += [f"  const {v}" for v in self.values() if v.const is not None and v.const.size > 4]
        lines += [f"  {node}" for node in self.nodes]
        lines += [f"  output {v.name}" for v in self.outputs]
        return "\n".join(lines) + "\n"
