"""The part of WGSL that shaders of bundles are written in, as a tree. Types are skipped: only indices are followed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Number:
    """An integer; None stands for a number with a fraction, which is not an index."""

    value: int | None


@dataclass(frozen=True)
class Name:
    name: str


@dataclass(frozen=True)
class Call:
    """Of a function, or a constructor of a value."""

    name: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True)
class Member:
    of: Expression
    name: str


@dataclass(frozen=True)
class Index:
    of: Expression
    at: Expression


@dataclass(frozen=True)
class Unary:
    operator: str
    of: Expression


@dataclass(frozen=True)
class Binary:
    operator: str
    left: Expression
    right: Expression


Expression = Number | Name | Call | Member | Index | Unary | Binary


@dataclass(frozen=True)
class Declare:
    """`let`, `var` or `const`. type: its text, or "". value: None for a variable of zeros."""

    name: str
    type: str
    value: Expression | None


@dataclass(frozen=True)
class Assign:
    """operator: "" for `=`, "+" for `+=`."""

    target: Expression
    operator: str
    value: Expression


@dataclass(frozen=True)
class If:
    condition: Expression
    then: Block
    otherwise: Block


@dataclass(frozen=True)
class Loop:
    """`for`, `while` or `loop`."""

    begin: Statement | None
    condition: Expression | None
    step: Statement | None
    body: Block


@dataclass(frozen=True)
class Switch:
    """cases: the values of each case, none for the default, and its block."""

    on: Expression
    cases: tuple[tuple[tuple[Expression, ...], Block], ...]


@dataclass(frozen=True)
class Return:
    value: Expression | None


@dataclass(frozen=True)
class Leave:
    """`break` or `continue`."""

    word: str


@dataclass(frozen=True)
class Do:
    """A call for its effect."""

    call: Expression


Statement = Declare | Assign | If | Loop | Switch | Return | Leave | Do
Block = tuple[Statement, ...]


@dataclass(frozen=True)
class Function:
    """parameters: each name, with the builtin that it gets, or ""."""

    parameters: tuple[tuple[str, str], ...]
    body: Block


@dataclass(frozen=True)
class Binding:
    """type: its text, without spaces."""

    name: str
    type: str


@dataclass(frozen=True)
class Shader:
    """constants: of the module. bindings: by number. shared: the type of each array in workgroup memory, by name.
    functions: by name; `main` is the entry.
    """

    constants: dict[str, Expression]
    bindings: dict[int, Binding]
    shared: dict[str, str]
    functions: dict[str, Function]
    workgroup: tuple[Expression, ...]
