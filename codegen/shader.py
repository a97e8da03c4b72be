"""Shaders: a kernel's code with the header that says what it is part of: programs, ONNX nodes, shapes, bytes, FLOP."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

from intaglio.codegen import titles
from intaglio.codegen.kernel import Kernel, Operand, Weight
from intaglio.codegen.lower import Dispatch
from intaglio.codegen.traffic import moved
from intaglio.compiler.ir import dims

_USES = 4  # dispatches whose origin a header lists
_NODES = 4  # ONNX nodes that it names for each
_WIDTH = 117  # columns, beside the slashes


@dataclass
class Shader:
    """A rendered kernel and where it is used: programs, and dispatches with the variant in place.

    `variant` is empty where it runs unless a tuning chooses otherwise.
    """

    title: str
    code: str
    access: tuple[str, ...]
    uniform: bool
    variant: str
    uses: list[tuple[str, Dispatch]] = field(default_factory=list)

    @property
    def kernel(self) -> Kernel:
        """The kernel of its first use; those of others differ in nothing that the code depends on."""
        return self.uses[0][1].kernel

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs that use it, each once."""
        return tuple(dict.fromkeys(program for program, _ in self.uses))

    @property
    def text(self) -> str:
        """The file: title, header, which says what this shader is part of, and code."""
        comments = [line for text in (self.title, *self._header()) for line in _lines(text)]
        return "\n".join([*(f"// {line}".rstrip() for line in comments), "", self.code])

    def _header(self) -> list[str]:
        programs: dict[str, list[Dispatch]] = {}
        for program, dispatch in self.uses:
            programs.setdefault(program, []).append(dispatch)
        kernel = self.kernel
        fused = kernel.tail and kernel.template != "elementwise"
        lines = [f"Fused: {next(iter(kernel.writes))} = {titles.formula(kernel.tail)}."] if fused else []
        lines.append("")
        for program, of in programs.items():
            count = f"{len(of)} dispatches" if len(of) > 1 else "1 dispatch"
            more = [f"and {len(of) - _USES} more"] if len(of) > _USES else []
            lines += [f"{program}, {count}:", *(f"  {text}" for text in [*map(_origin, of[:_USES]), *more])]
        if kernel.problem:
            lines.append(
                f"variant {kernel.variant!r} for {kernel.problem}" + "".join(f", needs {n}" for n in kernel.needs)
            )
        lines.append("reads " + ", ".join(f"{name} {_stored(v)}" for name, v in kernel.reads.items()))
        lines.append("writes " + ", ".join(f"{name} {v.type}" for name, v in kernel.writes.items()))
        bytes = max(moved(dispatch) for _, dispatch in self.uses)
        operations = max(flops([dispatch]) for _, dispatch in self.uses)
        lines.append(f"at most {quantity(bytes)}B moved, {quantity(operations)}FLOP a dispatch")
        return lines


def _lines(text: str) -> list[str]:
    """A line of the header as several, where it is too long; names of nodes are not broken."""
    margin = " " * (len(text) - len(text.lstrip()) + 2)
    return textwrap.wrap(text, _WIDTH, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False) or [""]


def _stored(operand: Operand) -> str:
    """An operand's type, and what it is packed in."""
    if not isinstance(operand, Weight) or operand.format == "f32":
        return str(operand.type)
    return f"{operand.type} as {operand.format}" + (" (scales)" if operand.layout == "scales" else "")


def _origin(dispatch: Dispatch) -> str:
    """The ONNX nodes that a dispatch computes."""
    names = list(dict.fromkeys(map(_printable, dispatch.node.sources))) or [dispatch.node.op]
    return ", ".join(names[:_NODES]) + (f", +{len(names) - _NODES}" if len(names) > _NODES else "")


def _printable(name: str) -> str:
    """A name from a model, which must not end the comment that it stands in."""
    return "".join(c if c.isprintable() else "?" for c in name)


def quantity(number: int) -> str:
    """A number with a decimal prefix: 1.5 M."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g} {prefix}"
    return f"{number} "


def flops(dispatches: list[Dispatch]) -> int:
    """Floating-point operations of a program, at its largest sizes."""
    return sum(dims.high(d.kernel.flops) * dims.high(d.kernel.times) for d in dispatches)
