"""Runs a shader's index arithmetic for all invocations of one workgroup at once, and records what memory they access:
what they load from bindings, and what they load from and store to arrays in workgroup memory.

Numbers that come out of memory, and those with a fraction, are unknown; so is what is computed from them. Both sides of
a branch on something unknown run. Of each loop the first iterations run: the others load in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.lines.syntax import (
    Assign,
    Binary,
    Block,
    Call,
    Declare,
    Do,
    Expression,
    Function,
    If,
    Index,
    Leave,
    Loop,
    Member,
    Name,
    Number,
    Return,
    Shader,
    Statement,
    Switch,
    Unary,
)
from benchmarks.lines.values import (
    BUILTINS,
    UNKNOWN,
    Mask,
    Unknown,
    Value,
    any_of,
    component,
    compute,
    members,
    merged,
    number,
    pair,
    vector,
)

ITERATIONS = 4  # of each loop that run


@dataclass
class Running:
    """A loop that runs, or ran. short: it ended within ITERATIONS, for all invocations."""

    iteration: int = 0
    short: bool = False
    left: Mask | None = None  # the invocations that broke out of it
    skipping: Mask | None = None  # those that are done with this iteration


@dataclass(frozen=True)
class Access:
    """What a load reads, or a store to workgroup memory writes.

    name: of a binding or of an array in workgroup memory. index: int64[invocations], of its elements or texels. active:
    who does it. loops: those around it, from the outside, and their iterations.
    """

    name: str
    index: np.ndarray
    active: Mask
    loops: tuple[tuple[Running, int], ...]


@dataclass
class _Frame:
    """A call of a function. returned: the invocations that are done; value: what they return."""

    names: dict[str, Value]
    returned: Mask
    value: Value = UNKNOWN
    loops: list[Running] = field(default_factory=list)


def trace(
    shader: Shader, symbols: Mapping[str, int], widths: Mapping[str, int], group: tuple[int, ...], grid: tuple[int, ...]
) -> list[Access]:
    """The accesses of the workgroup `group` of `grid`.

    symbols: the fields of the uniform block. widths: texels in a row of each binding that is a texture, of which texel
    (x, y) has the index y * width + x.
    """
    return _Tracer(shader, symbols, widths).run(group, grid)


class _Tracer:
    def __init__(self, shader: Shader, symbols: Mapping[str, int], widths: Mapping[str, int]) -> None:
        self.shader, self.symbols, self.widths = shader, symbols, widths
        self.arrays = {binding.name for binding in shader.bindings.values()} | shader.shared.keys()
        self.constants: dict[str, Value] = {}
        self.accesses: list[Access] = []
        self.frames: list[_Frame] = []
        self.guesses = 0  # branches around that are taken by no condition
        self.active: Mask = np.ones(1, bool)

    def run(self, group: tuple[int, ...], grid: tuple[int, ...]) -> list[Access]:
        size = [number(self.constant(each)) for each in self.shader.workgroup]
        x, y, z = (*size, 1, 1)[:3]
        index = np.arange(x * y * z)
        local = (index % x, index // x % y, index // (x * y))
        self.active = np.ones(index.size, bool)
        builtins: dict[str, Value] = {
            "local_invocation_id": local,
            "local_invocation_index": index,
            "workgroup_id": group,
            "num_workgroups": grid,
            "global_invocation_id": tuple(g * n + i for g, n, i in zip(group, (x, y, z), local, strict=True)),
        }
        main = self.shader.functions["main"]
        self.call(main, [builtins.get(builtin, UNKNOWN) for _, builtin in main.parameters])
        return self.accesses

    # ---- Statements

    def call(self, function: Function, arguments: list[Value]) -> Value:
        names = {name: value for (name, _), value in zip(function.parameters, arguments, strict=True)}
        frame = _Frame(names, np.zeros(self.active.size, bool))
        before = self.active
        self.frames.append(frame)
        self.block(function.body)
        self.frames.pop()
        self.active = before
        return frame.value

    def block(self, statements: Block) -> None:
        """Names that it declares end with it; names of its own hide those around it."""
        frame = self.frames[-1]
        hidden = {s.name: frame.names.get(s.name) for s in statements if isinstance(s, Declare)}
        for statement in statements:
            if not self.active.any():
                break
            self.statement(statement)
            if isinstance(statement, Return | Leave):
                break
        for name, value in hidden.items():
            if value is None:
                frame.names.pop(name, None)
            else:
                frame.names[name] = value

    def statement(self, statement: Statement) -> None:
        match statement:
            case Declare(name, _, value):
                self.frames[-1].names[name] = 0 if value is None else self.value(value)
            case Assign(target, operator, value):
                self.assign(target, self.value(Binary(operator, target, value) if operator else value))
            case Do(call):
                self.value(call)
            case If(condition, then, otherwise):
                self.branch(self.value(condition), then, otherwise)
            case Loop():
                self.loop(statement)
            case Switch(on, cases):
                self.switch(self.value(on), cases)
            case Return(value):
                self.leave_function(UNKNOWN if value is None else self.value(value))
            case Leave(word):
                self.leave_loop(word)

    def assign(self, target: Expression, value: Value) -> None:
        names = self.frames[-1].names
        if isinstance(target, Name) and target.name in names:
            names[target.name] = merged(self.active, value, names[target.name])
        elif isinstance(target, Member) and isinstance(target.of, Name) and target.of.name in names:
            before = names[target.of.name]
            if isinstance(before, tuple) and len(target.name) == 1:
                at = component(target.name)
                new = merged(self.active, value, before[at])
                names[target.of.name] = (*before[:at], new, *before[at + 1 :])
        elif isinstance(target, Index):
            at = self.value(target.at)  # which may load
            if isinstance(target.of, Name) and target.of.name in self.shader.shared:
                self.access(target.of.name, at)

    def branch(self, condition: Value, then: Block, otherwise: Block) -> None:
        before = self.active
        guess = isinstance(condition, Unknown | tuple)
        self.guesses += guess
        chosen = before if guess else before & np.asarray(condition, bool)
        for active, block in ((chosen, then), (before if guess else before & ~chosen, otherwise)):
            self.active = active & self.alive()
            if block and self.active.any():
                self.block(block)
        self.guesses -= guess
        self.active = before & self.alive()

    def switch(self, on: Value, cases: tuple[tuple[tuple[Expression, ...], Block], ...]) -> None:
        rest: Value = 1
        for values, block in cases:
            matches = any_of([compute("==", on, self.value(value)) for value in values]) if values else rest
            self.branch(matches, block, ())
            rest = compute("&", rest, compute("==", matches, 0)) if values else rest

    def loop(self, loop: Loop) -> None:
        if loop.begin:
            self.block((loop.begin, replace(loop, begin=None)))
            return
        frame, before, none = self.frames[-1], self.active, np.zeros(self.active.size, bool)
        running = Running(left=none)
        frame.loops.append(running)
        for running.iteration in range(ITERATIONS + 1):
            running.skipping = none
            condition = 1 if loop.condition is None else self.value(loop.condition)
            if not isinstance(condition, Unknown | tuple):
                self.active = self.active & np.asarray(condition, bool)
            if not self.active.any():
                running.short = True
            if running.short or running.iteration == ITERATIONS:
                break
            entered = self.active
            self.block(loop.body)
            running.skipping = none
            self.active = entered & self.alive()
            if loop.step and self.active.any():
                self.statement(loop.step)
        frame.loops.pop()
        self.active = before & self.alive()

    def leave_function(self, value: Value) -> None:
        frame = self.frames[-1]
        frame.value = merged(self.active, value, frame.value) if frame.returned.any() else value
        if not self.guesses:
            frame.returned = frame.returned | self.active

    def leave_loop(self, word: str) -> None:
        if self.guesses or not self.frames[-1].loops:
            return
        running = self.frames[-1].loops[-1]
        assert running.left is not None and running.skipping is not None
        if word == "break":
            running.left = running.left | self.active
        else:
            running.skipping = running.skipping | self.active

    def alive(self) -> Mask:
        """The invocations that neither returned nor left a loop that runs."""
        frame = self.frames[-1]
        gone = frame.returned
        for running in frame.loops:
            assert running.left is not None and running.skipping is not None
            gone = gone | running.left | running.skipping
        return ~gone

    # ---- Expressions

    def value(self, expression: Expression) -> Value:
        match expression:
            case Number(value):
                return UNKNOWN if value is None else value
            case Name(name):
                return self.name(name)
            case Binary(operator, left, right):
                return compute(operator, self.value(left), self.value(right))
            case Unary(operator, of):
                return compute({"!": "==", "~": "^"}.get(operator, operator), *self.negated(operator, of))
            case Member(Name("dims"), name):
                return self.symbols.get(name, UNKNOWN)
            case Member(of, name):
                return members(self.value(of), name)
            case Index(of, at):
                return self.element(of, self.value(at))
            case Call(name, arguments):
                return self.called(name, arguments)

    def negated(self, operator: str, of: Expression) -> tuple[Value, Value]:
        """The operands with which -, ! and ~ are an operation of two; & and * give a pointer, which is unknown."""
        if operator in ("&", "*"):
            return UNKNOWN, UNKNOWN
        value = self.value(of)
        return {"-": (0, value), "!": (value, 0), "~": (value, 0xFFFFFFFF)}[operator]

    def name(self, name: str) -> Value:
        for names in (self.frames[-1].names if self.frames else {}, self.constants):
            if name in names:
                return names[name]
        if name in self.shader.constants:
            return self.constant(Name(name))
        return {"true": 1, "false": 0}.get(name, UNKNOWN)

    def constant(self, expression: Expression) -> Value:
        """The value of an expression of the module, where no function's names are seen."""
        frames, self.frames = self.frames, []
        if isinstance(expression, Name) and expression.name in self.shader.constants:
            value = self.constants[expression.name] = self.value(self.shader.constants[expression.name])
        else:
            value = self.value(expression)
        self.frames = frames
        return value

    def element(self, of: Expression, at: Value) -> Value:
        if isinstance(of, Name) and of.name in self.arrays:
            self.access(of.name, at)
            return UNKNOWN
        whole = self.value(of)
        if isinstance(whole, tuple) and isinstance(at, int) and at < len(whole):
            return whole[at]
        return UNKNOWN

    def access(self, name: str, index: Value) -> None:
        if isinstance(index, int | np.ndarray):
            at = np.broadcast_to(np.asarray(index, np.int64), self.active.shape)
            loops = tuple((loop, loop.iteration) for frame in self.frames for loop in frame.loops)
            self.accesses.append(Access(name, at, self.active, loops))

    def called(self, name: str, arguments: tuple[Expression, ...]) -> Value:
        if name == "textureLoad":
            (texture, coordinates, *_) = arguments
            assert isinstance(texture, Name)
            x, y = pair(self.value(coordinates))
            self.access(texture.name, compute("+", compute("*", y, self.widths.get(texture.name, UNKNOWN)), x))
            return UNKNOWN
        values = [self.value(argument) for argument in arguments]
        if name in self.shader.functions:
            return self.call(self.shader.functions[name], values)
        if name.startswith("vec"):
            return vector(name, values)
        return BUILTINS[name](*values) if name in BUILTINS else UNKNOWN
