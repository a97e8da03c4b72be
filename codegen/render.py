"""Renders kernels to WGSL. Kernels with the same code share one shader, across layers and programs."""

from __future__ import annotations

import re
from collections.abc import Hashable
from functools import cache
from importlib import resources
from typing import Any

import jinja2

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import Kernel, wgsl_type
from intaglio.codegen.lower import Dispatch
from intaglio.codegen.shader import Shader
from intaglio.codegen.storage import Storage
from intaglio.codegen.target import MAX_IMAGES
from intaglio.codegen.tidy import tidy
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.values import TensorType
from intaglio.compiler.semantics.shapes import broadcast_strides
from intaglio.runtime.plan import ACCESS

_TEMPLATE = ".wgsl.jinja"


_Rendered = tuple[str, str, bool]  # title, code, whether it reads the uniform block


class Renderer:
    """Renders dispatches and keeps one shader for each distinct code. `symbols`: the fields of the uniform block."""

    def __init__(self, symbols: list[str]) -> None:
        self.symbols = symbols
        self.shaders: dict[str, Shader] = {}
        # Results by everything that the text depends on, because layers often differ only in their weights.
        self._rendered: dict[Hashable, _Rendered] = {}

    def shader(
        self, program: str, dispatch: Dispatch, storage: dict[str, Storage], alternative: bool = False
    ) -> Shader:
        """Return the shader of a dispatch.

        storage: how each operand is stored, by name. alternative: the shader runs only if a tuning chooses it.
        """
        access = accesses(dispatch.kernel, storage)
        key = _parameters(dispatch, storage, access)
        if key not in self._rendered:
            self._rendered[key] = self._render(dispatch, storage, access)
        title, code, uniform = self._rendered[key]
        if code not in self.shaders:
            self.shaders[code] = Shader(title, code, tuple(access.values()), uniform, dispatch.kernel.variant)
        shader = self.shaders[code]
        shader.variant = shader.variant if alternative else ""
        shader.uses.append((program, dispatch))
        return shader

    def _render(self, dispatch: Dispatch, storage: dict[str, Storage], access: dict[str, str]) -> _Rendered:
        kernel = dispatch.kernel
        context: dict[str, Any] = {**kernel.consts, **_tail(kernel)}
        context["workgroup"] = [*kernel.workgroup, 1, 1][:3]
        context |= {"symbols": self.symbols, "needs": kernel.needs, "capacity": _capacities(dispatch)}
        template = _environment().get_template(_templates()[kernel.template])
        bindings = [_binding(name, dispatch, storage[name], access[name]) for name in dispatch.places]
        body = template.render(context, bindings=[], uniform=False)
        for b in bindings:
            b["accessors"] = [line for name, lines in b["functions"].items() if f"{name}(" in body for line in lines]
        uniform = "dims." in body or any("dims." in line for b in bindings for line in b["accessors"])
        title, _, code = template.render(context, bindings=bindings, uniform=uniform).partition("\n\n")
        title = kernel.title + "." if kernel.title else " ".join(title.removeprefix("//").split())
        return (
            title,
            _with_functions(tidy(code.lstrip("\n")), "vec4f" if kernel.tail and kernel.by_fours else "f32"),
            uniform,
        )


def _capacities(dispatch: Dispatch) -> dict[str, int]:
    """Return the rows of each head of the operands that are caches, or the first rows of each head of a cache.

    An operand whose heads lie side by side in rows has no such rows, although it may be a view of heads.
    """
    operands = dispatch.kernel.operands
    shapes = {n: place.root.type.shape for n, place in dispatch.places.items() if len(operands[n].type.shape) == 4}
    return {name: shape[-2] for name, shape in shapes.items() if len(shape) == 4 and isinstance(shape[-2], int)}


def _parameters(dispatch: Dispatch, storage: dict[str, Storage], access: dict[str, str]) -> Hashable:
    """Return everything that the text of a dispatch's shader depends on."""
    kernel, operands = dispatch.kernel, dispatch.kernel.operands
    bindings = [
        (name, operands[name].type, place.offset, storage[name].texture, storage[name].format, access[name])
        for name, place in dispatch.places.items()
    ]
    fields = kernel.template, kernel.workgroup, kernel.vec4, kernel.tail, kernel.needs
    return (*fields, tuple(kernel.writes), _frozen(kernel.consts), tuple(bindings), _frozen(_capacities(dispatch)))


def _frozen(value: Any) -> Hashable:
    """Convert lists and dictionaries to tuples, which are hashable."""
    if isinstance(value, dict):
        return tuple((name, _frozen(item)) for name, item in value.items())
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def accesses(kernel: Kernel, storage: dict[str, Storage]) -> dict[str, str]:
    """Return the access of each operand, a key of ACCESS, by name.

    Textures are read as storage textures up to WebGPU's limit, `most_read` and then the first operands first. Software
    adapters read a storage texture three times as fast as a sampled one.
    """
    written = {
        name: f"write image {storage[name].format}" if storage[name].texture else "write buffer"
        for name in kernel.writes
    }
    left = MAX_IMAGES - sum(ACCESS[a].image for a in written.values())
    read = dict.fromkeys(kernel.reads, "read buffer")
    for name in sorted(kernel.reads, key=lambda name: name != kernel.most_read):
        if storage[name].texture:
            format = storage[name].format
            sampled = "read texture u32" if format == "rgba32uint" else "read texture f32"
            read[name] = f"read image {format}" if left > 0 else sampled
            left -= 1
    return read | written


def _declared(access: str) -> tuple[str, str]:
    """Return the address space of a buffer and "", or "" and the type of a texture."""
    use = ACCESS[access]
    if not use.formats:
        return "<storage, read_write>" if use.write else "<storage, read>", ""
    if use.image:
        return "", f"texture_storage_2d<{use.formats[0]}, {'write' if use.write else 'read'}>"
    return "", f"texture_2d<{'u32' if 'rgba32uint' in use.formats else 'f32'}>"


def _binding(name: str, dispatch: Dispatch, storage: Storage, access: str) -> dict[str, Any]:
    """Return the declaration of an operand and the functions through which the kernel reads and writes it."""
    kernel, place = dispatch.kernel, dispatch.places[name]
    vec4 = name in kernel.vec4
    scalar = "u32" if storage.format == "rgba32uint" else wgsl_type(kernel.operands[name].type)
    type = f"vec4{scalar[0]}" if vec4 else scalar
    index = wgsl.sum_of(wgsl.size(place.offset // 4 if vec4 else place.offset) if place.offset != 0 else "0u", "i")
    space, declared = _declared(access)
    if storage.texture is None and storage.format == "rgba16float" and not vec4:  # a state: kernels write it by vec4s
        declared, at = "array<u32>", index if index == "i" else f"({index})"
        load, store = f"unpack2x16float({name}[{at} / 2u])[{at} % 2u]", ""
    elif storage.texture is None and storage.format == "rgba16float":
        declared, pair = "array<vec2u>", f"{name}[{index}]"
        load = f"vec4f(unpack2x16float({pair}.x), unpack2x16float({pair}.y))"
        store = f"let near = nearest_f16(value); {pair} = vec2u(pack2x16float(near.xy), pack2x16float(near.zw));"
    elif storage.texture is None:
        declared = f"array<{type}>"
        load, store = f"{name}[{index}]", f"{name}[{index}] = value;"
    else:
        width = storage.texture[0]
        # textureStore may truncate, so the shader rounds the value to f16 first
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
    """Return the lines of the fused expression, the name of its result, and whether the lines need the flat index i."""
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
    """Return the index in a broadcast operand of element i of the output, or of vec4 i, whose column is n."""
    if not wide:
        return wgsl.affine("i", out, broadcast_strides(operand, out))
    operand, out = (*operand[:-1], operand[-1] // 4), (*out[:-1], out[-1] // 4)
    text = wgsl.affine("i", out, broadcast_strides(operand, out))
    return "n" if text == f"i % {wgsl.size(out[-1])}" else text


@cache
def _templates() -> dict[str, str]:
    """Return the path of each template by its name; it lies in the folder of its family."""
    families = (f for f in resources.files("intaglio.templates").iterdir() if f.is_dir() and f.name != "lib")
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
    """Return the functions of lib/math by name, each with the comment above it."""
    text = resources.files("intaglio.templates").joinpath("lib/math.wgsl").read_text(encoding="utf-8")
    return {m[1]: block.strip() for block in text.split("\n\n") if (m := re.search(r"fn (\w+)", block))}


_CALL = re.compile(r"(?<!fn )\b(\w+)\(")


def _with_functions(code: str, number: str) -> str:
    """Insert the library functions that the code calls before its entry point, and tidy blank lines."""
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
