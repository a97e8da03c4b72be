"""Rules: rewrites written as the arithmetic that they match.

A rule's `pattern` is ordinary Python over its parameters. Called with pattern variables it builds a tree that `match`
compares with the graph, root first; called with numpy arrays it computes its own reference. Numbers match scalar
constants, `+` and `*` match in either order, `op.any(...)` lists spellings. A rule declines by `op.decline(why)`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from intaglio.compiler.ir import operators as own
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value, type_of
from intaglio.compiler.rewrite.builder import Declined, GraphBuilder
from intaglio.compiler.rewrite.elementwise_chains import chain_source, operand_of
from intaglio.compiler.semantics import operators

COMMUTATIVE = frozenset({"Add", "Mul", "Max", "Min", "And", "Or"})

_LARGEST_F16 = float(np.finfo(np.float16).max)


class Pattern:
    """A pattern of values."""

    def __add__(self, other: Pattern | float) -> Op:
        return Op("Add", (self, other))

    def __sub__(self, other: Pattern | float) -> Op:
        return Op("Sub", (self, other))

    def __mul__(self, other: Pattern | float) -> Op:
        return Op("Mul", (self, other))

    def __truediv__(self, other: Pattern | float) -> Op:
        return Op("Div", (self, other))

    def __radd__(self, other: float) -> Op:
        return Op("Add", (self, other))

    def __rsub__(self, other: float) -> Op:
        return Op("Sub", (other, self))

    def __rmul__(self, other: float) -> Op:
        return Op("Mul", (self, other))

    def __rtruediv__(self, other: float) -> Op:
        return Op("Div", (other, self))


@dataclass(eq=False)
class Variable(Pattern):
    """Matches any value, and the same value wherever it occurs again."""

    name: str


@dataclass(eq=False)
class Op(Pattern):
    """Matches an output of operator `op` with matching inputs and at least these attributes."""

    op: str
    args: tuple[Pattern | float, ...]
    attrs: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class OneOf(Pattern):
    """Matches if any of the alternatives matches."""

    alternatives: tuple[Pattern | float, ...]


@dataclass(eq=False)
class Chain(Pattern):
    """Matches the result of one or more elementwise operators with numbers on a value that `inner` matches."""

    name: str
    inner: Pattern


class PatternBuilder:
    """The `op` that a pattern sees when it is matched."""

    def any(self, *alternatives: Pattern | float) -> OneOf:
        return OneOf(alternatives)

    def chain(self, last: Variable, inner: Pattern) -> Chain:
        """`last`: what the chain makes (see compiler/rewrite/elementwise_chains.py)."""
        return Chain(last.name, inner)

    def __getattr__(self, name: str) -> Any:
        if name not in operators.KNOWN:
            raise AttributeError(f"{name} is not an operator of ONNX, nor one of ours")
        return lambda *args, **attrs: Op(name, args, attrs)


class NumpyBuilder:
    """The `op` that a pattern sees when it computes its reference on arrays."""

    def any(self, *alternatives: np.ndarray) -> np.ndarray:
        return alternatives[0]

    def chain(self, last: np.ndarray, inner: np.ndarray) -> np.ndarray:
        return last

    def __getattr__(self, name: str) -> Any:
        def compute(*args: Any, **attrs: Any) -> np.ndarray:
            arrays = [a if isinstance(a, np.ndarray) else _array(a) for a in args]
            values = tuple(Value("", type_of(a), a) for a in arrays)
            node = own.node(name, values, (Value("", values[0].type),), attrs)
            return operators.evaluate(node, arrays)[0]

        return compute


def _array(number: Any) -> np.ndarray:
    """A number in a pattern: a float is f32, an int an i64 list of axes."""
    return np.array([number], np.int64) if isinstance(number, int) else np.asarray(number, np.float32)


class Rule:
    """Subclass with `pattern(op, ...)` and `rewrite(op, out, ...)`: static methods with the same further parameters."""

    pattern: Any
    rewrite: Any

    @classmethod
    def parameters(cls) -> list[str]:
        return list(inspect.signature(cls.pattern).parameters)[1:]

    @classmethod
    def reference(cls, **arrays: np.ndarray) -> np.ndarray:
        """The result of the pattern, by numpy."""
        return cls.pattern(NumpyBuilder(), **arrays)


@dataclass
class Outcome:
    """How often a rule fired, and why it declined elsewhere."""

    fired: int = 0
    declined: list[str] = field(default_factory=list)


# Called after every rule that was applied: the graph, the rule, its pattern, and the outcome.
watched: ContextVar[Callable[[Graph, type[Rule], Pattern, Outcome], None] | None] = ContextVar("watched", default=None)


def apply(graph: Graph, *rules: type[Rule]) -> Outcome:
    """Rewrite every match of the rules, in graph order, until none fires any more."""
    trees = [(rule, rule.pattern(PatternBuilder(), *map(Variable, rule.parameters()))) for rule in rules]
    totals = [Outcome() for _ in rules]
    while True:
        outcomes = [_sweep(graph, rule, tree) for rule, tree in trees]
        for total, outcome in zip(totals, outcomes, strict=True):
            total.fired, total.declined = total.fired + outcome.fired, outcome.declined
        if not any(outcome.fired for outcome in outcomes):
            break
    if watch := watched.get():
        for (rule, tree), total in zip(trees, totals, strict=True):
            watch(graph, rule, tree, total)
    return Outcome(sum(t.fired for t in totals), [why for t in totals for why in t.declined])


def _sweep(graph: Graph, rule: type[Rule], tree: Pattern) -> Outcome:
    outcome, begins = Outcome(), roots(tree)
    for node in graph.nodes:
        if (begins and node.op not in begins) or graph.producer(node.output) is not node:
            continue
        for hit in match(graph, tree, node.output):
            try:
                _check_private(graph, hit, node)
                _rewrite(graph, rule, hit, node)
                outcome.fired += 1
                break
            except Declined as e:
                outcome.declined.append(f"{rule.__name__} at {', '.join(node.sources)}: {e}")
    if outcome.fired:
        graph.prune()  # what is left of a match must not match another rule
    return outcome


def roots(pattern: Pattern | float) -> frozenset[str]:
    """The operators that the root of a match can be; empty where it can be any."""
    if isinstance(pattern, Op):
        return frozenset({pattern.op})
    each = [roots(p) for p in pattern.alternatives] if isinstance(pattern, OneOf) else [frozenset()]
    return frozenset().union(*each) if all(each) else frozenset()


Bound = dict[Pattern, Value]
Missed = Callable[
    [Bound, Pattern | float, Value | None], None
]  # the match so far, the pattern that failed, the value there


@dataclass(frozen=True)
class Match:
    """The values of the variables and the nodes covered, root first."""

    values: dict[str, Value]
    nodes: tuple[Node, ...]


def match(
    graph: Graph, tree: Pattern, value: Value, missed: Missed = lambda bound, pattern, value: None
) -> Iterator[Match]:
    """All ways in which `value` matches. `missed` is called for every place where a match fails."""
    for bound in _match(graph, tree, value, {}, missed):
        values = {p.name: v for p, v in bound.items() if isinstance(p, Variable | Chain)}
        nodes = dict.fromkeys(n for p, v in bound.items() if isinstance(p, Op) and (n := graph.producer(v)))
        nodes |= dict.fromkeys(n for p, v in bound.items() if isinstance(p, Chain) for n in chain_source(graph, v)[1])
        yield Match(values, tuple(nodes))


def _match(
    graph: Graph, pattern: Pattern | float, value: Value | None, bound: Bound, missed: Missed
) -> Iterator[Bound]:
    if isinstance(pattern, OneOf):
        for alternative in pattern.alternatives:
            yield from _match(graph, alternative, value, bound, missed)
    elif value is None or not _stands(graph, pattern, value, bound):
        missed(bound, pattern, value)
    elif not isinstance(pattern, Pattern) or pattern in bound:
        yield bound
    elif isinstance(pattern, Op):
        inputs, bound = graph.expect_producer(value).inputs, bound | {pattern: value}
        yield from _match_all(graph, pattern.args, inputs, bound, missed)
        if pattern.op in COMMUTATIVE:
            yield from _match_all(graph, pattern.args, inputs[::-1], bound, missed)
    elif isinstance(pattern, Chain):
        yield from _match(graph, pattern.inner, chain_source(graph, value)[0], bound | {pattern: value}, missed)
    else:
        yield bound | {pattern: value}


def _stands(graph: Graph, pattern: Pattern | float, value: Value, bound: Bound) -> bool:
    """Whether `value` matches a pattern, apart from its inputs."""
    if not isinstance(pattern, Pattern):
        return value.scalar is not None and _is_number(value.scalar, pattern)
    if pattern in bound or isinstance(pattern, Variable):
        return bound.get(pattern, value) is value
    node = graph.producer(value)
    if isinstance(pattern, Chain):
        return node is not None and operand_of(node) is not None
    return (
        isinstance(pattern, Op)
        and node is not None
        and (node.op, len(node.inputs)) == (pattern.op, len(pattern.args))
        and node.output is value
        and all(node.attrs.get(k) == v for k, v in pattern.attrs.items())
    )


def _is_number(scalar: float, number: float) -> bool:
    """Whether it is the number in f32, up to rounding, or as f16 stores it."""
    if math.isclose(scalar, number, rel_tol=1e-5):
        return True
    return abs(number) <= _LARGEST_F16 and scalar == float(np.float16(number))


def _match_all(
    graph: Graph, patterns: tuple[Any, ...], values: tuple[Value | None, ...], bound: Bound, missed: Missed
) -> Iterator[Bound]:
    if not patterns:
        yield bound
        return
    for first in _match(graph, patterns[0], values[0], bound, missed):
        yield from _match_all(graph, patterns[1:], values[1:], first, missed)


def _check_private(graph: Graph, hit: Match, root: Node) -> None:
    for node in hit.nodes:
        for value in node.outputs if node is not root else ():
            if value in graph.outputs or any(reader not in hit.nodes for reader in graph.consumers(value)):
                raise Declined(f"{value.name} is also read outside of the match")


def _rewrite(graph: Graph, rule: type[Rule], hit: Match, root: Node) -> None:
    out = root.output
    sources = tuple(dict.fromkeys(s for n in reversed(hit.nodes) for s in n.sources))
    builder = GraphBuilder(graph, root, sources)
    try:
        result = rule.rewrite(builder, out, **hit.values)
        if result.type != out.type:
            builder.decline(f"it would change the type of {out} to {result.type}")
    except Declined:
        if builder.made:
            graph.prune()  # what the rewrite began must not be seen as a reader
        raise
    builder.rebind(out, result)
