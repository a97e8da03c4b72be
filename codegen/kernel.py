"""Kernels, and the registry of the functions that make them, one for each operator.

An op function says what a kernel reads and writes, how many workgroups it takes and which template computes it. Other
modules decide its bindings, uniforms, limits and name, and which kernels share a shader.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from intaglio.codegen.formats import FORMATS
from intaglio.codegen.target import GRID_ROW, MAX_WORKGROUPS
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.ir.expression import Expression
from intaglio.compiler.ir.nodes import Node, Operator
from intaglio.compiler.ir.packed import PackedMatrix
from intaglio.compiler.ir.values import FLOATS, TensorType, Value, type_of
from intaglio.compiler.reader import kernels
from intaglio.runtime.plan import Choice

_LANES = 64


@dataclass(frozen=True)
class Weight:
    """A constant in the layout that a kernel reads (see weights.py). `rows`: the range of a matrix's rows, or None."""

    value: Value
    layout: str = "flat"
    rows: tuple[int, int] | None = None

    @property
    def type(self) -> TensorType:
        return self.value.type

    @property
    def format(self) -> str:
        """Return the format of the numbers: f32, or that of the packed matrix."""
        return self.value.const.format if isinstance(self.value.const, PackedMatrix) else "f32"

    @property
    def unpacking(self) -> dict[str, Any]:
        """Return the parameters with which templates unpack the weight: see templates/lib/dequant."""
        const = self.value.const
        if not isinstance(const, PackedMatrix) or const.scale is None:
            return {"packing": ""}
        format = FORMATS[const.format]
        group, texel = const.shape[1] // const.groups, format.columns
        span = texel if group % texel == 0 else texel // 2
        spans = {"each": span // 4, "texel": texel // 4, "spans": group // span}
        minima = const.minimum is not None
        codes = {"packing": format.packing, "bits": format.bits, "unsigned": minima and format.unsigned}
        return {"groups_k": const.groups, **spans, **codes, "wide": const.wide, "minima": minima}


Operand = Value | Weight


@dataclass(frozen=True)
class Groups:
    """A number of workgroups: ceil(product(of) / per)."""

    of: tuple[Dim, ...]
    per: int = 1

    def at(self, size: Callable[[Dim], int]) -> int:
        total = 1
        for d in self.of:
            total *= size(d)
        return -(-total // self.per)


@dataclass
class Kernel:
    """One dispatch. `reads` and `writes` name the shader's bindings; `consts` are the parameters of its template.

    The kernel reads the first of `reads` most often, unless `most_read` names another. It accesses the operands in
    `vec4` four numbers at a time, the others one by one. `tail` is an expression that is applied to what the template
    computes. Its operands broadcast to the output; `indices` among the constants may say where their elements are.
    The number of floating-point operations is `flops` times `times`. `touched` has the operands that are accessed only
    in part: the number of elements accessed, as a list of factors.

    `title` replaces the title that the template gives. Kernels with the same code may have different titles.

    `others` are other variants of the kernel for the same operands; `intaglio tune` finds the fastest. Each has a
    `variant` name and the adapter features that it `needs`. `problem` is what all variants compute: a family, then
    sizes. `profiles` has the variants that suit classes of adapters, by class.

    A variant may have operands of its own: values that no other step sees. `then` are dispatches after the first one.
    `buffers` names weights that it reads as buffers where other variants read textures.
    """

    template: str
    reads: Mapping[str, Operand]
    writes: Mapping[str, Value]
    grid: tuple[Groups, ...] = ()
    workgroup: tuple[int, ...] = ()
    consts: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    vec4: frozenset[str] = frozenset()
    tail: Expression = ()
    flops: Dim = 0
    times: Dim = 1
    touched: Mapping[str, tuple[Dim, ...]] = field(default_factory=dict)
    most_read: str = ""
    problem: str = ""
    variant: str = ""
    needs: tuple[str, ...] = ()
    others: tuple[Kernel, ...] = ()
    profiles: Mapping[str, Choice] = field(default_factory=dict)
    then: tuple[Kernel, ...] = ()
    buffers: frozenset[str] = frozenset()
    title: str = ""

    @property
    def operands(self) -> dict[str, Operand]:
        """Return the operands that the kernel reads and writes, by name."""
        return {**self.reads, **self.writes}

    @property
    def by_fours(self) -> bool:
        """Return whether the tail is applied to four neighbouring elements at a time, instead of one."""
        return self.template != "elementwise" and next(iter(self.writes)) in self.vec4

    @property
    def chain(self) -> tuple[Kernel, ...]:
        """Return the dispatches of the variant: this one, then `then`."""
        return (replace(self, then=()), *self.then)

    def with_variants(
        self, problem: str, variants: dict[str, dict[str, Any]], profiles: Mapping[str, Choice] | None = None
    ) -> Kernel:
        """Return the kernel in the first of these variants, with the rest as `others`.

        problem: what all variants compute. variants: for each name, the fields to replace; `consts` are added to those
        of the kernel. profiles: the variants that suit classes of adapters; those that are not among `variants` are
        left out.
        """
        first, *others = (self._variant(problem, name, fields) for name, fields in variants.items())
        possible = {name: of for name, of in (profiles or {}).items() if variants.keys() >= set(of.variants)}
        return replace(first, others=tuple(others), profiles=possible)

    def _variant(self, problem: str, name: str, fields: Mapping[str, Any]) -> Kernel:
        then = tuple(replace(part, problem=problem, variant=name) for part in fields.get("then", ()))
        changed = {**fields, "consts": self.consts | fields["consts"], "then": then}
        return replace(self, problem=problem, variant=name, **changed)


Kernels = Kernel | list[Kernel]
OpFunction = Callable[[Node], Kernels]
OwnFunction = Callable[[Node, Any], Kernels]
OPS: dict[str, OpFunction] = {}


def op(*names: str) -> Callable[[OpFunction], OpFunction]:
    """Register the decorated function as the one that makes the kernels of the ONNX operators with these names."""

    def register(function: OpFunction) -> OpFunction:
        OPS.update(dict.fromkeys(names, function))
        kernels.register(*names)
        return function

    return register


def own(operator: type[Operator[Any]]) -> Callable[[OwnFunction], OwnFunction]:
    """Register the decorated function as the one that makes the kernels of one of Intaglio's own operators.

    The function takes the node and the operator.
    """

    def register(function: OwnFunction) -> OwnFunction:
        OPS[operator.__name__] = lambda node: function(node, node.own)
        return function

    return register


def refuse(node: Node, why: str) -> UnsupportedOperator:
    """Return the error for an operator, or a use of one, that is not supported.

    why: the reason; empty if the operator has no kernel at all.
    """
    return UnsupportedOperator(why, node.op, node.name)


def operand(value: Value) -> Operand:
    """Return a constant as a flat weight, and any other value as it is."""
    return Weight(value) if value.const is not None else value


def groups(*of: Dim, per: int = 1) -> Groups:
    """Return one workgroup for each `per` of product(of) elements.

    Raises UnsupportedOperator if a dimension of the grid would exceed WebGPU's limit.
    """
    result = Groups(of, per)
    if result.at(dims.high) > MAX_WORKGROUPS:
        raise UnsupportedOperator(f"{' x '.join(map(str, of))} elements need too many workgroups")
    return result


def per_element(
    template: str,
    reads: Mapping[str, Operand],
    writes: Mapping[str, Value],
    count: Dim,
    consts: dict[str, Any],
    label: str,
    flops: Dim = 0,
    title: str = "",
) -> Kernel:
    """Return a kernel with one invocation for each of `count` elements. In the template, `index` is the element."""
    grid: tuple[Groups, ...] = (Groups((count,), _LANES),)
    index = "id.x"
    if grid[0].at(dims.high) > MAX_WORKGROUPS:
        grid, index = (Groups((GRID_ROW,)), groups(count, per=GRID_ROW * _LANES)), f"id.y * {GRID_ROW * _LANES}u + id.x"
    return Kernel(template, reads, writes, grid, (_LANES,), {**consts, "index": index}, label, flops=flops, title=title)


def most(type: TensorType) -> int:
    """Return the number of elements at the largest sizes."""
    return math.prod(map(dims.high, type.shape))


def fours(count: Dim) -> bool:
    """Return whether a count is a multiple of 4 for all sizes."""
    try:
        return (count // 4) * 4 == count
    except dims.NotLinear:
        return False


def rows_of(shape: tuple[Dim, ...]) -> Dim:
    """Return the number of rows of a tensor, whose rows lie along the last axis."""
    return dims.product(shape[:-1])


def wgsl_type(type: TensorType) -> str:
    """Return the WGSL scalar type in which an element is stored."""
    return scalar(type.dtype)


def scalar(dtype: str) -> str:
    """Return the WGSL scalar type in which kernels compute numbers of an element type."""
    return "f32" if dtype in FLOATS else "i32" if dtype[0] == "i" else "u32"


def stored(array: np.ndarray) -> np.ndarray:
    """Convert a constant to the type in which the adapter stores it: f32, i32 or u32.

    Raises UnsupportedOperator if an integer does not fit in 32 bits.
    """
    target = {"f32": np.float32, "i32": np.int32, "u32": np.uint32}[wgsl_type(type_of(array))]
    if type_of(array).dtype in ("i64", "u64") and array.size:
        bounds = np.iinfo(target)
        array = np.clip(array, bounds.min, bounds.max) if _sentinel(array) else array
        if array.min() < bounds.min or array.max() > bounds.max:
            raise UnsupportedOperator("an integer constant does not fit in 32 bits")
    return np.ascontiguousarray(array, target)


def _sentinel(array: np.ndarray) -> bool:
    """Return whether all large values are the ends of i64, which exporters write for "to the end"."""
    large = array[np.abs(array.astype(np.float64)) > 2**31]
    return bool(np.isin(large, [np.iinfo(np.int64).max, np.iinfo(np.int64).min]).all())
