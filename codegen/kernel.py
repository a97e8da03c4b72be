"""Kernels: what an operator becomes, and the registry in which each operator has one place.

An op function says what a kernel reads and writes, how many workgroups it takes and which template computes it.
Bindings, uniforms, limits, names and sharing are decided elsewhere.
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
from intaglio.compiler.ir.graph import FLOATS, Node, Operator, TensorType, Value, type_of
from intaglio.compiler.ir.packed import PackedMatrix
from intaglio.compiler.reader import kernels

_LANES = 64


@dataclass(frozen=True)
class Weight:
    """A constant in the layout that a kernel reads (see weights.py). `rows` picks some of the rows of a matrix."""

    value: Value
    layout: str = "flat"
    rows: tuple[int, int] | None = None

    @property
    def type(self) -> TensorType:
        return self.value.type

    @property
    def format(self) -> str:
        """f32, or what the numbers are packed in."""
        return self.value.const.format if isinstance(self.value.const, PackedMatrix) else "f32"

    @property
    def unpacking(self) -> dict[str, Any]:
        """How kernels unpack it, for the templates: see templates/lib/dequant."""
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
    """ceil(product(of) / per) workgroups."""

    of: tuple[Dim, ...]
    per: int = 1

    def at(self, size: Callable[[Dim], int]) -> int:
        total = 1
        for d in self.of:
            total *= size(d)
        return -(-total // self.per)


@dataclass
class Kernel:
    """One dispatch. `reads` and `writes` name the shader's bindings; `consts` are what its template is filled with.

    The first of `reads` is the one that is read most, unless `most_read` names another. Operands in `vec4` are read or
    written four numbers at a time, the others one by one. `tail` is applied to what the template computes, with
    operands that broadcast to its output; `indices` among the constants may say where their elements are. `flops` and
    `times` are factors of the floating-point operations. `touched`: for operands accessed only in part, the number of
    elements accessed, as a list of factors.

    `title` says what it computes, where the template does not; it may differ where the code is the same.

    `others` are other variants of the kernel for the same operands, of which `intaglio tune` finds the fastest. Each
    has its `variant`, and `needs` features of adapters; `problem` is what all compute, its family and then its sizes.
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
    title: str = ""

    @property
    def operands(self) -> dict[str, Operand]:
        """What it reads and writes, by name."""
        return {**self.reads, **self.writes}

    @property
    def by_fours(self) -> bool:
        """Whether the tail is applied to four neighbouring elements at a time, or else to one."""
        return self.template != "elementwise" and next(iter(self.writes)) in self.vec4

    def with_variants(self, problem: str, variants: dict[str, dict[str, Any]]) -> Kernel:
        """The kernel in the first of these variants, beside the others: fields by name, `consts` in addition to those
        that the kernel has."""
        first, *others = (
            replace(self, problem=problem, variant=name, **fields | {"consts": self.consts | fields["consts"]})
            for name, fields in variants.items()
        )
        return replace(first, others=tuple(others))


Kernels = Kernel | list[Kernel]
OpFunction = Callable[[Node], Kernels]
OwnFunction = Callable[[Node, Any], Kernels]
OPS: dict[str, OpFunction] = {}


def op(*names: str) -> Callable[[OpFunction], OpFunction]:
    """Register the function that makes kernels for operators of ONNX of these names."""

    def register(function: OpFunction) -> OpFunction:
        OPS.update(dict.fromkeys(names, function))
        kernels.register(*names)
        return function

    return register


def own(operator: type[Operator[Any]]) -> Callable[[OwnFunction], OwnFunction]:
    """Register the function that makes kernels for one of our own operators, from its node and itself."""

    def register(function: OwnFunction) -> OwnFunction:
        OPS[operator.__name__] = lambda node: function(node, node.own)
        return function

    return register


def refuse(node: Node, why: str) -> UnsupportedOperator:
    """The error for a use of an operator that is not supported. `why`: empty if the operator has no kernel at all."""
    return UnsupportedOperator(why, node.op, node.name)


def operand(value: Value) -> Operand:
    """A constant as a flat weight, any other value as it is."""
    return Weight(value) if value.const is not None else value


def groups(*of: Dim, per: int = 1) -> Groups:
    """Workgroups for `per` elements each; raises UnsupportedOperator beyond the limit of a dimension."""
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
    """A kernel with one invocation for each of `count` elements. In the template `index` is its element."""
    grid: tuple[Groups, ...] = (Groups((count,), _LANES),)
    index = "id.x"
    if grid[0].at(dims.high) > MAX_WORKGROUPS:
        grid, index = (Groups((GRID_ROW,)), groups(count, per=GRID_ROW * _LANES)), f"id.y * {GRID_ROW * _LANES}u + id.x"
    return Kernel(template, reads, writes, grid, (_LANES,), {**consts, "index": index}, label, flops=flops, title=title)


def most(type: TensorType) -> int:
    """The number of elements at the largest sizes."""
    return math.prod(map(dims.high, type.shape))


def fours(count: Dim) -> bool:
    """Whether a count is a multiple of 4 for all sizes."""
    try:
        return (count // 4) * 4 == count
    except dims.NotLinear:
        return False


def rows_of(shape: tuple[Dim, ...]) -> Dim:
    """How many rows a tensor has, a row being its last axis."""
    return dims.product(shape[:-1])


def wgsl_type(type: TensorType) -> str:
    """The scalar that an element is stored as."""
    return scalar(type.dtype)


def scalar(dtype: str) -> str:
    """The scalar of WGSL that numbers of an element type are computed in."""
    return "f32" if dtype in FLOATS else "i32" if dtype[0] == "i" else "u32"


def stored(array: np.ndarray) -> np.ndarray:
    """A constant as the adapter stores it: f32, i32 or u32. Raises UnsupportedOperator if it does not fit."""
    target = {"f32": np.float32, "i32": np.int32, "u32": np.uint32}[wgsl_type(type_of(array))]
    if type_of(array).dtype in ("i64", "u64") and array.size:
        bounds = np.iinfo(target)
        array = np.clip(array, bounds.min, bounds.max) if _sentinel(array) else array
        if array.min() < bounds.min or array.max() > bounds.max:
            raise UnsupportedOperator("an integer constant does not fit in 32 bits")
    return np.ascontiguousarray(array, target)


def _sentinel(array: np.ndarray) -> bool:
    """Whether the large values are just the ends of i64, which exporters write for "to the end"."""
    large = array[np.abs(array.astype(np.float64)) > 2**31]
    return bool(np.isin(large, [np.iinfo(np.int64).max, np.iinfo(np.int64).min]).all())
