"""Shaders: a kernel's code under a header that lists its programs, ONNX nodes, shapes, bytes and FLOP."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

from intaglio.codegen import titles
from intaglio.codegen.kernel import Kernel, Operand, Weight
from intaglio.codegen.lower import Dispatch
from intaglio.codegen.traffic import moved
from intaglio.compiler.ir import dims

_USES = 4  # a header lists the origins of up to this many dispatches
_NODES = 4  # and for each names up to this many ONNX nodes
_WIDTH = 117  # columns after the slashes


@dataclass
class Shader:
    """A rendered kernel and its uses: pairs of a program and a dispatch of the kernel's variant.

    `variant` is empty if the shader runs by default, without a tuning that chooses it.
    """

    title: str
    code: str
    access: tuple[str, ...]
    uniform: bool
    variant: str
    uses: list[tuple[str, Dispatch]] = field(default_factory=list)

    @property
    def kernel(self) -> Kernel:
        """Return the kernel of the first use. Kernels of other uses have the same code."""
        return self.uses[0][1].kernel

    @property
    def programs(self) -> tuple[str, ...]:
        """Return the programs that use the shader, each once."""
        return tuple(dict.fromkeys(program for program, _ in self.uses))

    @property
    def text(self) -> str:
        """Return the content of the shader's file: title, header and code."""
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
    """Break a long line of the header into several, but not inside the names of nodes."""
    margin = " " * (len(text) - len(text.lstrip()) + 2)
    return textwrap.wrap(text, _WIDTH, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False) or [""]


def _stored(operand: Operand) -> str:
    """Return an operand's type and, if it is packed, its format."""
    if not isinstance(operand, Weight) or operand.format == "f32":
        return str(operand.type)
    return f"{operand.type} as {operand.format}" + (" (scales)" if operand.layout == "scales" else "")


def _origin(dispatch: Dispatch) -> str:
    """Return the names of the ONNX nodes that a dispatch computes."""
    names = list(dict.fromkeys(map(_printable, dispatch.node.sources))) or [dispatch.node.op]
    return ", ".join(names[:_NODES]) + (f", +{len(names) - _NODES}" if len(names) > _NODES else "")


def _printable(name: str) -> str:
    """Replace characters of a model's name that could end the comment around it."""
    return "".join(c if c.isprintable() else "?" for c in name)


def quantity(number: int) -> str:
    """Format a number with a decimal prefix: 1.5 M."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g} {prefix}"
    return f"{number} "


def flops(dispatches: list[Dispatch]) -> int:
    """Return the number of floating-point operations of these dispatches at the largest sizes."""
    return sum(dims.high(d.kernel.flops) * dims.high(d.kernel.times) for d in dispatches)
