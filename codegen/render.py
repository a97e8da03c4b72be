"""Render: kernels become WGSL. A kernel's identity is the text of its code, so layers, and programs, share shaders."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import jinja2

from intaglio.codegen import titles, wgsl
from intaglio.codegen.kernel import Kernel, Operand, Weight, wgsl_type
from intaglio.codegen.lower import Dispatch
from intaglio.codegen.storage import Storage
from intaglio.codegen.tidy import tidy
from intaglio.codegen.traffic import moved
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.graph import TensorType
from intaglio.compiler.semantics.shapes import broadcast_strides
from intaglio.runtime.limits import DEFAULT_LIMITS
from intaglio.runtime.plan import ACCESS

_USES = 4  # dispatches whose origin a header tells
_NODES = 4  # ONNX nodes that it names for each
_STEPS = 8  # steps of a tail that a name tells
_TEMPLATE = ".wgsl.jinja"


@dataclass
class Shader:
    """A rendered kernel and where it is used."""

    name: str
    code: str
    access: tuple[str, ...]
    uniform: bool
    needs: tuple[str, ...]
    uses: list[tuple[str, Dispatch]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The file: the header stands after the title, and says what this shader is part of."""
        title, rest = self.code.split("\n", 1)
        title = f"// {self.uses[0][1].kernel.title}." if self.uses[0][1].kernel.title else title
        return "\n".join([title, *(f"// {line}".rstrip() for line in self._header()), "", rest.lstrip("\n")])

    def _header(self) -> list[str]:
        programs: dict[str, list[str]] = {}
        for program, dispatch in self.uses:
            programs.setdefault(program, []).append(_origin(dispatch))
        kernel = self.uses[0][1].kernel
        fused = kernel.tail and kernel.template != "elementwise"
        lines = [f"Fused: {next(iter(kernel.writes))} = {titles.formula(kernel.tail)}."] if fused else []
        lines.append("")
        for program, nodes in programs.items():
            count = f"{len(nodes)} dispatches" if len(nodes) > 1 else "1 dispatch"
            more = [f"and {len(nodes) - _USES} more"] if len(nodes) > _USES else []
            lines += [f"{program}, {count}:", *(f"  {text}" for text in [*nodes[:_USES], *more])]
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


class Renderer:
    """Renders dispatches, and keeps one shader for each distinct code."""

    def __init__(self, symbols: list[str]) -> None:
        self.symbols = symbols
        self.shaders: dict[str, Shader] = {}
        # What was rendered, by all that a text depends on: layers differ in their weights alone.
        self._rendered: dict[Hashable, tuple[str, bool]] = {}

    def shader(self, program: str, dispatch: Dispatch, storage: dict[str, Storage]) -> Shader:
        """The shader of a dispatch, whose operands are stored as `storage` says by name."""
        access = accesses(dispatch.kernel, storage)
        key = _parameters(dispatch, storage, access)
        if key not in self._rendered:
            self._rendered[key] = self._render(dispatch, storage, access)
        code, uniform = self._rendered[key]
        if code not in self.shaders:
            kernel = dispatch.kernel
            self.shaders[code] = Shader(self._name(kernel), code, tuple(access.values()), uniform, kernel.needs)
        shader = self.shaders[code]
        shader.uses.append((program, dispatch))
        return shader

    def _name(self, kernel: Kernel) -> str:
        tail = kernel.tail[:_STEPS] if kernel.template != "elementwise" else ()
        stem = "_".join([kernel.label, *(step[0].lower() for step in tail)])
        taken = {s.name for s in self.shaders.values()}
        return next(n for n in (stem, *(f"{stem}_{i}" for i in range(2, 10_000))) if n not in taken)

    def _render(self, dispatch: Dispatch, storage: dict[str, Storage], access: dict[str, str]) -> tuple[str, bool]:
        kernel = dispatch.kernel
        context: dict[str, Any] = {**kernel.consts, **_tail(kernel)}
        context["workgroup"] = [*kernel.workgroup, 1, 1][:3]
        context |= {"symbols": self.symbols, "needs": kernel.needs}
        template = _environment().get_template(_templates()[kernel.template])
        bindings = [_binding(name, dispatch, storage[name], access[name]) for name in dispatch.places]
        body = template.render(context, bindings=[], uniform=False)
        for b in bindings:
            b["accessors"] = [line for name, lines in b["functions"].items() if f"{name}(" in body for line in lines]
        uniform = "dims." in body or any("dims." in line for b in bindings for line in b["accessors"])
        code = template.render(context, bindings=bindings, uniform=uniform)
        return _with_functions(tidy(code), "vec4f" if kernel.tail and kernel.by_fours else "f32"), uniform


def _parameters(dispatch: Dispatch, storage: dict[str, Storage], access: dict[str, str]) -> Hashable:
    """All that the text of a dispatch's shader depends on."""
    kernel, operands = dispatch.kernel, dispatch.kernel.writes | dispatch.kernel.reads
    bindings = [
        (name, operands[name].type, place.offset, storage[name].texture, storage[name].format, access[name])
        for name, place in dispatch.places.items()
    ]
    fields = kernel.template, kernel.workgroup, kernel.vec4, kernel.tail, kernel.needs
    return (*fields, tuple(kernel.writes), _frozen(kernel.consts), tuple(bindings))


def _frozen(value: Any) -> Hashable:
    """Lists and dictionaries as tuples, which can be compared and hashed."""
    if isinstance(value, dict):
        return tuple((name, _frozen(item)) for name, item in value.items())
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def accesses(kernel: Kernel, storage: dict[str, Storage]) -> dict[str, str]:
    """The words of ACCESS for each operand. Of textures that are read, as many as may be are read as storage textures,
    the first operands first: without a sampler in the way that is three times as fast on software adapters.
    """
    written = {
        name: f"write image {storage[name].format}" if storage[name].texture else "write buffer"
        for name in kernel.writes
    }
    left = DEFAULT_LIMITS["max-storage-textures-per-shader-stage"] - sum(ACCESS[a].image for a in written.values())
    read = dict.fromkeys(kernel.reads, "read buffer")
    for name in sorted(kernel.reads, key=lambda name: name != kernel.most_read):
        if format := storage[name].format:
            sampled = "read texture u32" if format == "rgba32uint" else "read texture f32"
            read[name] = f"read image {format}" if left > 0 else sampled
            left -= 1
    return read | written


def _declared(access: str) -> tuple[str, str]:
    """Address space and type of a binding, the type only of a texture."""
    use = ACCESS[access]
    if not use.formats:
        return "<storage, read_write>" if use.write else "<storage, read>", ""
    if use.image:
        return "", f"texture_storage_2d<{use.formats[0]}, {'write' if use.write else 'read'}>"
    return "", f"texture_2d<{'u32' if 'rgba32uint' in use.formats else 'f32'}>"


def _binding(name: str, dispatch: Dispatch, storage: Storage, access: str) -> dict[str, Any]:
    """How an operand is declared, and the functions through which the kernel reads and writes it."""
    kernel, place = dispatch.kernel, dispatch.places[name]
    vec4 = name in kernel.vec4
    scalar = "u32" if storage.format == "rgba32uint" else wgsl_type((kernel.writes | kernel.reads)[name].type)
    type = f"vec4{scalar[0]}" if vec4 else scalar
    index = wgsl.sum_of(wgsl.size(place.offset // 4 if vec4 else place.offset) if place.offset != 0 else "0u", "i")
    space, declared = _declared(access)
    if storage.texture is None:
        declared = f"array<{type}>"
        load, store = f"{name}[{index}]", f"{name}[{index}] = value;"
    else:
        width = storage.texture[0]
        # textureStore may truncate, so a value is an f16 before it is stored as one
        value = "nearest_f16(value)" if storage.format == "rgba16float" else "value"
        level = "" if ACCESS[access].image else ", 0"
        load, store = (
            _texel(name, index, vec4, width, level),
            f"textureStore({name}, {_coordinates(index, width)}, {value});",
        )
    functions = {
        f"load_{name}": [f"fn load_{name}(i: u32) -> {type} {{", f"  return {load};", "}", ""],
        f"store_{name}": [f"fn store_{name}(i: u32, value: {type}) {{", f"  {store}", "}", ""],
    }
    return {"name": name, "space": space, "type": declared, "functions": functions}


def _coordinates(index: str, width: int) -> str:
    index = index if index == "i" else f"({index})"
    return f"vec2u({index} % {width}u, {index} / {width}u)"


def _texel(name: str, index: str, vec4: bool, width: int, level: str) -> str:
    if vec4:
        return f"textureLoad({name}, {_coordinates(index, width)}{level})"
    index = index if index == "i" else f"({index})"
    return f"textureLoad({name}, {_coordinates(f'{index} / 4u', width)}{level})[{index} % 4u]"


def _tail(kernel: Kernel) -> dict[str, Any]:
    """The lines of the fused expression, the name of its result, and whether they need the flat index i."""
    if not kernel.tail:
        return {"tail": [], "result": "acc", "needs_i": False}
    out = next(iter(kernel.writes.values())).type
    wide = kernel.by_fours

    def kind(type: TensorType) -> str:
        return "vec4f" if wide else type.dtype

    def load(name: str) -> str:
        given = kernel.consts.get("indices", {}).get(name)
        return f"load_{name}({given or _index(kernel.reads[name].type.shape, out.shape, wide)})"

    kinds = {n: kind(v.type) for n, v in kernel.reads.items()} | {"acc": kind(out), "acc1": kind(out), "i": "u32"}
    lines, result = wgsl.body(kernel.tail, kinds, load)
    return {"tail": lines, "result": result, "needs_i": any(re.search(r"\bi\b", line) for line in lines)}


def _index(operand: tuple[Dim, ...], out: tuple[Dim, ...], wide: bool) -> str:
    """Where element i of the output (or vec4 i, whose column is n) lies in an operand that is broadcast to it."""
    if not wide:
        return wgsl.affine("i", out, broadcast_strides(operand, out))
    operand, out = (*operand[:-1], operand[-1] // 4), (*out[:-1], out[-1] // 4)
    text = wgsl.affine("i", out, broadcast_strides(operand, out))
    return "n" if text == f"i % {wgsl.size(out[-1])}" else text


@cache
def _templates() -> dict[str, str]:
    """Where each template lies, by its name: in the folder of its family."""
    families = (f for f in resources.files("intaglio.templates").iterdir() if f.is_dir())
    paths = [f"{family.name}/{file.name}" for family in families for file in family.iterdir()]
    return {path.split("/")[1].removesuffix(_TEMPLATE): path for path in paths if path.endswith(_TEMPLATE)}


@cache
def _environment() -> jinja2.Environment:
    folder = resources.files("intaglio.templates")
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


@cache
def _functions() -> dict[str, str]:
    """The functions of lib/math by name, each with the comment above it."""
    text = resources.files("intaglio.templates").joinpath("lib/math.wgsl").read_text(encoding="utf-8")
    return {re.search(r"fn (\w+)", block)[1]: block.strip() for block in text.split("\n\n") if "fn " in block}


_CALL = re.compile(r"(?<!fn )\b(\w+)\(")


def _with_functions(code: str, number: str) -> str:
    """The code with the library functions that it calls, before its entry point, and tidy blank lines."""
    library, needed, todo = _functions(), set(), [code]
    while todo:
        calls = set(_CALL.findall(todo.pop())) & library.keys() - needed
        needed |= calls
        todo += [library[name] for name in calls]
    functions = "".join(f"{source}\n\n" for name, source in library.items() if name in needed)
    if "Number" in functions:
        functions = f"alias Number = {number};\n\n{functions}"
    code = code.replace("@compute", functions + "@compute", 1)
    code = "\n".join(line.rstrip() for line in code.splitlines())
    return re.sub(r"\n{3,}", "\n\n", code).strip() + "\n"


def flops(dispatches: list[Dispatch]) -> int:
    """Floating-point operations of a program, at its largest sizes."""
    return sum(dims.high(d.kernel.flops) * dims.high(d.kernel.times) for d in dispatches)
