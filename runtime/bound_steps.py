"""The steps of a program with their pipelines and bind groups, and which of them run at which sizes.

A step may have a variant for few tokens and another for many. Both are bound once; a run only looks up a list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from intaglio.runtime.native import Bound
from intaglio.runtime.plan import Dispatch, Program, Step


class BoundSteps:
    """The steps of `program`. bind: makes the bind group of a dispatch."""

    def __init__(self, program: Program, bind: Callable[[Dispatch], Bound]) -> None:
        self._steps = [_BoundStep(step, bind) for step in program.steps]
        self._choices = list(dict.fromkeys(s.choice for s in program.steps if s.choice and s.choice.above))
        self._lists: dict[tuple[str, ...], list[Bound]] = {}

    @property
    def all(self) -> list[Bound]:
        """Every dispatch that may run."""
        return [bound for step in self._steps for of in step.variants.values() for bound in of]

    def at(self, symbols: Mapping[str, int]) -> list[Bound]:
        """The dispatches of a run with these values of symbols. The caller does not change the list."""
        key = tuple(choice.at(symbols) for choice in self._choices)
        if key not in self._lists:
            self._lists[key] = self.part(symbols, slice(None))
        return self._lists[key]

    def part(self, symbols: Mapping[str, int], steps: slice) -> list[Bound]:
        """The dispatches of some of the steps."""
        return [bound for step in self._steps[steps] for bound in step.at(symbols)]


class _BoundStep:
    def __init__(self, step: Step, bind: Callable[[Dispatch], Bound]) -> None:
        self._choice = step.choice
        names = step.choice.variants if step.choice else ("",)
        self.variants = {name: [bind(d) for d in step.dispatches(name)] for name in names}

    def at(self, symbols: Mapping[str, int]) -> list[Bound]:
        return self.variants[self._choice.at(symbols) if self._choice else ""]
