"""Names of shaders.

If several shaders would have the same name, their names get the programs that use them, the shape that they write or an
input that they read. Only shaders that differ in nothing but constants are numbered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from intaglio.codegen.shader import Shader
from intaglio.compiler.ir.dims import written
from intaglio.compiler.ir.values import TensorType

_STEPS = 8  # a name lists up to this many steps of a tail
_Detail = Callable[[Shader], str]


def names(shaders: Sequence[Shader]) -> list[str]:
    """Return a name for each shader: matmul_384x1536_gelu_encode, or with a variant matmul_384x1536_gelu_rows8."""
    stems = _told_apart(shaders, [_stem(s) for s in shaders])
    full = [f"{stem}_{s.variant}" if s.variant else stem for stem, s in zip(stems, shaders, strict=True)]
    result: list[str] = []
    for name in full:
        used = {*result, *full}
        free = (f"{name}_{i}" for i in range(2, len(full) + 2) if f"{name}_{i}" not in used)
        result.append(next(free) if name in result else name)
    return result


def _stem(shader: Shader) -> str:
    kernel = shader.kernel
    tail = kernel.tail[:_STEPS] if kernel.template != "elementwise" else ()
    return "_".join([kernel.label, *(step[0].lower() for step in tail)])


def _told_apart(shaders: Sequence[Shader], stems: list[str]) -> list[str]:
    """Append details to the stems of shaders that have the same stem and variant but differ in those details."""
    details: list[_Detail] = [_programs, _written, *map(_read, range(max((len(s.access) for s in shaders), default=0)))]
    for detail in details:
        groups: dict[str, list[Shader]] = {}
        for stem, shader in zip(stems, shaders, strict=True):
            groups.setdefault(stem, []).append(shader)
        ambiguous = {stem for stem, group in groups.items() if len({s.variant for s in group}) < len(group)}
        helpful = {stem for stem in ambiguous if len({detail(s) for s in groups[stem]}) > 1}
        stems = [
            "_".join(filter(None, (stem, detail(s)))) if stem in helpful else stem
            for stem, s in zip(stems, shaders, strict=True)
        ]
    return stems


def _programs(shader: Shader) -> str:
    return "_".join(shader.programs)


def _written(shader: Shader) -> str:
    """Return the shape of the first output."""
    return _shape(next(iter(shader.kernel.writes.values())).type)


def _read(i: int) -> _Detail:
    """Return the detail that is the name and the shape of input `i`."""

    def detail(shader: Shader) -> str:
        return "_".join(f"{name}_{_shape(v.type)}" for name, v in [*shader.kernel.reads.items()][i : i + 1])

    return detail


def _shape(type: TensorType) -> str:
    """Return the sizes after leading ones: 1500x384, 8xpast_new_tokens."""
    text = "x".join(re.sub(r"\W+", "_", str(written(d))) for d in type.shape)
    return re.sub(r"^(1x)+(?=.)", "", text)
