"""Explain where a rule came closest to a match, what its pattern expected there, and what the graph has instead.

A match follows the pattern from its root to its inputs and stops at the first difference. The explanation shows the
match that matched the most operators.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node, argument
from intaglio.compiler.ir.values import Value
from intaglio.compiler.rewrite.pattern import Bound, Chain, OneOf, Op, Outcome, Pattern, Rule, Variable, match, watched

_LISTED = 3  # refusals to list


@dataclass
class Explanation:
    """For each graph that a rule was applied to: how often it fired, and why it did not fire elsewhere."""

    rule: type[Rule]
    fired: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [] if self.fired else [f"{self.rule.__name__} was not applied: the compiler stopped before it"]
        for graph, count in self.fired.items():
            lines.append(f"{graph}: {self.rule.__name__} fired {count} time{'s' * (count != 1)}")
            lines += [f"  {reason}" for reason in self.reasons[graph]]
        return "\n".join(lines)


@dataclass(frozen=True)
class Miss:
    """The place where a match failed: `reader` reads `stood`, but the pattern expects one of `wanted`.

    near: how many operators matched, and whether the operator that makes `stood` has the expected name.
    """

    root: Node
    near: tuple[int, bool]
    reader: Node
    stood: Value | None
    wanted: tuple[str, ...]


def rules() -> dict[str, type[Rule]]:
    """Return the rules of the imported passes and fusions, by name."""
    return {
        rule.__name__: rule
        for rule in sorted(_subclasses(Rule), key=lambda rule: rule.__name__)
        if rule.__module__.startswith("intaglio.")
    }


def _subclasses(rule: type[Rule]) -> Iterator[type[Rule]]:
    for subclass in rule.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


@contextmanager
def watching(name: str) -> Iterator[Explanation]:
    """Explain the rule `name` in everything compiled in this context. Raises ValueError if there is no such rule."""
    if name not in rules():
        raise ValueError(f"unknown rule {name!r}; the rules are {', '.join(rules())}")
    explanation = Explanation(rules()[name])

    def watch(graph: Graph, rule: type[Rule], tree: Pattern, outcome: Outcome) -> None:
        if rule is explanation.rule:
            explanation.fired[graph.name] = explanation.fired.get(graph.name, 0) + outcome.fired
            explanation.reasons[graph.name] = list(_reasons(graph, tree, outcome))

    token = watched.set(watch)
    try:
        yield explanation
    finally:
        watched.reset(token)


def _reasons(graph: Graph, tree: Pattern, outcome: Outcome) -> Iterator[str]:
    """Yield why the rule declined its matches or, if nothing matched, the closest match."""
    declined = [why.split(" ", 1)[1] for why in dict.fromkeys(outcome.declined)]
    if declined:
        yield from (f"it matched, and declined {why}" for why in declined[:_LISTED])
        yield from [f"and {len(declined) - _LISTED} more"] * (len(declined) > _LISTED)
        return
    miss = nearest(graph, tree)
    if miss is None:
        if not outcome.fired:
            roots = " or ".join(dict.fromkeys(p.op for p in _alternatives(tree) if isinstance(p, Op)))
            yield f"the graph has no {roots}, with which a match begins"
        return
    count = f"{miss.near[0]} operators match" if miss.near[0] > 1 else "1 operator matches"
    yield f"closest match at {_node(miss.root)}: {count}"
    yield f"  expected as an input of {_node(miss.reader)}: {' or '.join(miss.wanted)}"
    yield f"  got: {_found(graph, miss.stood)}"


def nearest(graph: Graph, tree: Pattern) -> Miss | None:
    """Return the miss with the most matched operators (the first of equal ones), or None if no root matches."""
    best: Miss | None = None

    def missed(bound: Bound, pattern: Pattern | float, value: Value | None) -> None:
        nonlocal best
        operators = [graph.expect_producer(v) for p, v in bound.items() if isinstance(p, Op)]
        if not operators:
            return
        maker = graph.producer(value) if value is not None else None
        near = len(operators), isinstance(pattern, Op) and maker is not None and maker.op == pattern.op
        if best is None or near > best.near:
            reader = next(n for n in reversed(operators) if value in n.inputs)
            best = Miss(operators[0], near, reader, value, (_wanted(pattern, bound),))
        elif (near, operators[0], value) == (best.near, best.root, best.stood) and pattern not in bound:
            best = replace(best, wanted=tuple(dict.fromkeys((*best.wanted, _wanted(pattern, bound)))))

    for node in graph.nodes:
        for _ in match(graph, tree, node.output, missed):
            pass
    return best


def _alternatives(pattern: Pattern | float) -> list[Pattern | float]:
    if isinstance(pattern, OneOf):
        return [p for alternative in pattern.alternatives for p in _alternatives(alternative)]
    return [pattern]


def _wanted(pattern: Pattern | float, bound: Bound) -> str:
    if pattern in bound:
        return f"{bound[pattern].name} again"
    if isinstance(pattern, Variable):
        return f"any value, for {pattern.name}"
    if isinstance(pattern, Op):
        attrs = "".join(f", {k}={v}" for k, v in pattern.attrs.items())
        return f"{pattern.op} of {len(pattern.args)} input{'s' * (len(pattern.args) != 1)}{attrs}"
    if isinstance(pattern, Chain):
        return "an elementwise operator with a number"
    return f"the number {pattern:.7g}"


def _found(graph: Graph, value: Value | None) -> str:
    if value is None:
        return "no input"
    maker = graph.producer(value)
    if maker is None:
        return f"the {'constant' if value.const is not None else 'input'} {argument(value)}: {value.type}"
    return f"{value}, the output of {_node(maker)}"


def _node(node: Node) -> str:
    return f"{node.op} ({', '.join(node.sources) or node.output.name})"
