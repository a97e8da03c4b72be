"""Linear layers: a tiled matrix product for many rows, a matrix-vector product for one. Both read the same weight.

Products compute in f32. One that computes in f16 or in integers would be a variant of _matmul_variants that `needs` its
tier, with a template that brings and multiplies other tiles than matmul_tiles; the splits and the stores stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intaglio.codegen import profiles, wgsl
from intaglio.codegen.formats import FORMATS
from intaglio.codegen.kernel import Kernel, Operand, Weight, fours, groups, operand, own, refuse, rows_of
from intaglio.codegen.ops.cache_rows import places
from intaglio.codegen.ops.linear_split import in_slices, tile_slices, vector_slices
from intaglio.codegen.target import MAX_BINDING, MAX_BINDINGS, MAX_TRIPS, TEXTURE_BYTES
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim, fixed, high
from intaglio.compiler.ir.expression import Expression
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Linear, Window
from intaglio.compiler.ir.values import Value

# rows and groups of 4 columns that an invocation computes, and invocations of a workgroup along columns and rows
_ROWS = {"rows16": ((16, 2), (8, 4)), "rows8": ((8, 2), (8, 1)), "rows4": ((4, 2), (8, 1))}
_TILES = {"tiles64": (4, 1), "tiles128": (8, 2)}  # rows and groups, if a workgroup shares what it reads
_SLICES = {"slices8": 8, "slices32": 32}  # of columns, which the lanes of a row share
_SUBGROUP = {"needs": ("subgroups",), "most_read": "weight"}
_WIDE = 8192  # with more outputs, invocations of a matrix-vector product can compute many each


@own(Linear)
def linear(node: Node, layer: Linear[Value]) -> list[Kernel]:
    """Return a kernel for each part of the weight that fits a binding; usually there is one part."""
    x, weight = layer.x, layer.weight
    if weight.dtype != "f32" or x.dtype != "f32":
        raise refuse(node, f"a product of {x.dtype} and {weight.dtype} is not supported")
    if not 0 < high(weight.shape[1]) <= MAX_TRIPS:
        raise refuse(node, f"{weight.shape[1]} columns need more than {MAX_TRIPS} loop iterations")
    one_row = _is_one_row(node, layer) and not layer.window
    make = _unaligned if not _by_fours(layer) else _matvec if one_row else _matmul
    if (layer.prologue or layer.rotary) and make is not _matvec:
        raise refuse(node, "a fused norm or rotary embedding needs a single row whose width is a multiple of 4")
    return [make(node, layer, start, end) for start, end in parts(_columns(layer), weight, _head_dim(layer) or 8)]


def _is_one_row(node: Node, layer: Linear[Value]) -> bool:
    """Return whether there is one row and, if parts of it are written into a cache, every part is whole vec4s."""
    alone = not layer.cached or all(w % 4 == 0 for w in layer.splits)
    return _rows(node, layer) == 1 and alone


def _rows(node: Node, layer: Linear[Value]) -> Dim:
    return rows_of(node.output.shape if layer.window else layer.x.shape)


def _columns(layer: Linear[Value]) -> int:
    """Return the number of the result's columns: the weight's rows, or half of them if one half gates the other."""
    return fixed(layer.weight.shape[0]) // (2 if layer.gate else 1)


def _by_fours(layer: Linear[Value]) -> bool:
    """Return whether the layer's input rows are whole vec4s."""
    width, window = fixed(layer.weight.shape[1]), layer.window
    if window is None:
        return width % 4 == 0
    channels = width // window.kernel
    whole = width % 4 == 0 and window.stride * channels % 4 == 0 and window.pad * channels % 4 == 0
    return whole and fours(layer.x.type.size)


def _head_dim(layer: Linear[Value]) -> int:
    """Return the number of columns of a head if the layer rotates its halves, else 0."""
    return layer.rotary.head_dim if layer.rotary and not layer.rotary.interleaved else 0


def _turn(layer: Linear[Value]) -> dict[str, int] | None:
    """Return the vec4s of a head, and those of them that are rotated, if pairs are neighbours in a vec4; else None."""
    if layer.rotary is None or not layer.rotary.interleaved:
        return None
    return {"d4": layer.rotary.head_dim // 4, "rotated4": fixed(layer.rotary.cos.shape[1]) // 2}


def parts(rows: int, weight: Value, whole: int = 8) -> list[tuple[int, int]]:
    """Return ranges of a matrix's rows that each fit a binding, in whole rows of a texture.

    They begin at multiples of `whole`, a multiple of 8.
    """
    width = fixed(weight.shape[1])
    row = FORMATS[Weight(weight).format].bits * (width + -width % 4)  # bits
    each = (MAX_BINDING - TEXTURE_BYTES) * 8 // row // whole * whole
    return [(start, min(start + each, rows)) for start in range(0, rows, each)]


def _matvec(node: Node, layer: Linear[Value], start: int, end: int) -> Kernel:
    weight = layer.weight
    width = fixed(weight.shape[1])
    reads, consts = _shared(node, layer, start, end, "0u")
    reads = {name: value for name, value in reads.items() if name.startswith("weight")} | reads
    norm = layer.prologue
    template = f"matvec_{norm.kind}" if norm else f"matvec{consts['packing']}"
    if norm:
        reads["gamma"] = operand(norm.scale)
        if norm.shift is not None:
            reads["beta"] = operand(norm.shift)
        consts |= {"width": width, "epsilon": wgsl.number(norm.epsilon, "f32"), "beta": norm.shift is not None}
    rows, pair = end - start, len(consts["weights"])
    rotated = bool(consts["half"])

    def variant(lanes: int, tile: int, lanes_y: int, product: str = "matvec") -> dict[str, Any]:
        """Return a variant: `lanes` invocations compute `tile` groups of 4 rows each; `lanes_y` share the columns."""
        sharing = {"lanes": lanes, "lanes_y": lanes_y, "subgroup": product == "matvec_subgroup"}
        # vec4s of x that a subgroup shares at a time: few, because a driver compiles what is unrolled for long
        sharing["shared"] = next((n for n in (8, 4, 2) if fixed(width) // 4 % n == 0 and n * tile <= 8), 1)
        return {
            "template": template if norm else f"{product}{consts['packing']}",
            "grid": (groups(rows, per=4 * lanes * tile),),
            "workgroup": (lanes, lanes_y),
            "consts": _tiles(consts["weights"], tile, lanes) | sharing | {"product": product},
        }

    tiles = {"rows16": 4, "rows8": 2, "rows4": 1} if rows > _WIDE else {"rows8": 2, "rows16": 4, "rows4": 1}
    least = 2 if rotated else 1  # groups: two hold both columns of each pair
    tiles = {name: tile for name, tile in tiles.items() if tile >= least}
    variants = {name: variant(8, tile, 1) for name, tile in tiles.items()}
    variants |= {"reduce8": variant(8, least, 8), "reduce32": variant(2, least, 32)}
    name = label(template, weight) + ("_rotary" if layer.rotary else "")
    kernel = Kernel(
        template,
        reads,
        _writes(node),
        consts=consts | {"k4": width // 4},
        label=f"{name}_{width}x{rows}",
        vec4=_vec4(node, reads),
        tail=_tail(node, layer),
        flops=2 * width * rows * pair,
    )
    if not rotated or consts["half"] % 2 == 0:
        sliced = _vector_slices(kernel, rows, template if norm else "")
        variants |= sliced | _in_buffers(sliced, reads, len(node.outputs))
    if fixed(width) // 4 % 2 == 0:
        variants |= {
            f"subgroup{4 * tile}": variant(8, tile, 1, "matvec_subgroup") | _SUBGROUP for tile in tiles.values()
        }
    problem = f"{name}{'_gate' if pair > 1 else ''} {width}x{rows}"
    return kernel.with_variants(problem, variants, profiles.vector_products(variants))


def _vector_slices(kernel: Kernel, rows: int, template: str) -> dict[str, dict[str, Any]]:
    """Return the variants of a matrix-vector product for GPUs; the last is split over workgroups, if that is faster."""
    consts = kernel.consts
    variants = {name: _sliced(consts, rows, slices, template) for name, slices in _SLICES.items()}
    (blocks,), loads = variants["slices32"]["grid"], -(-consts["k4"] // (consts.get("each", 1) * _SLICES["slices32"]))
    if (slices := vector_slices(blocks.at(fixed), loads)) > 1:
        variants["slices32_split"] = in_slices(kernel, variants["slices32"], 1, slices, _SLICES["slices32"])
    return variants


def _sliced(consts: dict[str, Any], rows: int, slices: int, template: str = "") -> dict[str, Any]:
    """Return a variant for GPUs: a workgroup is 8 rows of the weight by `slices` slices of their columns.

    template: of a product with a norm; "" if it has none. Where heads are rotated, a workgroup has the 8 rows half a
    head further too.
    """
    blocks = [{"weight": w} for w in consts["weights"]] * (2 if consts["half"] else 1)
    sizes = {"tiles": blocks, "lanes": 8, "lanes_y": slices, "subgroup": False, "product": "slices"}
    return {
        "template": template or f"slices{consts['packing']}",
        "grid": (groups(rows, per=16 if consts["half"] else 8),),
        "workgroup": (8, slices),
        "consts": sizes,
    }


def _in_buffers(
    variants: dict[str, dict[str, Any]], reads: Mapping[str, Operand], outputs: int
) -> dict[str, dict[str, Any]]:
    """Return the same variants, which read weights as buffers; none if these could be too many buffers for a kernel."""
    if len(reads) + outputs > MAX_BINDINGS:
        return {}
    weights = frozenset(name for name in reads if name.startswith("weight"))
    return {f"{name}_buffers": variant | {"buffers": weights} for name, variant in variants.items()}


def _matmul(node: Node, layer: Linear[Value], start: int, end: int) -> Kernel:
    x, weight, window = layer.x, layer.weight, layer.window
    width, columns = weight.shape[1], end - start
    rows = _rows(node, layer)
    reads, consts = _shared(node, layer, start, end)
    pair = len(consts["weights"])
    consts |= {"k4": width // 4, "rows": wgsl.size(rows)}
    if window:
        consts |= _of_window(window, x.shape[-2], width // window.kernel)
    name = label(("conv1d" if window else "matmul") + consts["packing"], weight)
    many = dims.low(rows) >= 32
    kernel = Kernel(
        "matmul",
        reads,
        _writes(node),
        consts=consts,
        label=f"{name}_{width}x{columns}",
        vec4=_factors(reads) if consts["odd"] else _vec4(node, reads),
        tail=_tail(node, layer),
        flops=rows * (2 * width * columns * pair),
    )
    problem = f"{name}{'_gate' if pair > 1 else ''}{'' if many else '_few'} {rows}x{width}x{columns}"
    variants = _matmul_variants(kernel, rows, window is not None)
    tiled = window is not None or consts["odd"]
    suited = profiles.windowed_products(variants) if tiled else profiles.products(rows, columns, variants)
    return kernel.with_variants(problem, variants, suited)


def _of_window(window: Window, length: Dim, channels: Dim) -> dict[str, Any]:
    """Return the parameters of a convolution of `length` rows of `channels`, in vec4s where names end in 4."""
    return {
        "stride": window.stride,
        "pad": window.pad,
        "x_size4": wgsl.size(length * channels // 4),
        "row_step4": window.stride * channels // 4,
        "pad4": window.pad * channels // 4,
    }


def _matmul_variants(kernel: Kernel, rows: Dim, windowed: bool) -> dict[str, dict[str, Any]]:
    """Return the variants of a product of many rows, the one for software adapters first."""
    consts, reads = kernel.consts, kernel.reads
    columns, pair = consts["columns"], len(consts["weights"])
    many = dims.low(rows) >= 32

    def variant(
        product: str, tile: tuple[int, int], lanes: tuple[int, int], tile_type: str = "vec4f"
    ) -> dict[str, Any]:
        """Return a variant. An invocation computes a `tile` of rows and of groups of 4 columns.

        lanes: invocations of a workgroup along columns and rows. tile_type: the type of weights in workgroup memory.
        """
        (tile_rows, tile_groups), (along, lanes_rows) = tile, lanes
        tile_groups = max(1, tile_groups // pair)
        sizes = {"tile_rows": tile_rows, "product": product, "tile_type": tile_type}
        sizes["step"] = _step(4 * tile_rows + 16 * tile_groups * pair)
        return {
            "template": "conv1d" if windowed else f"{product}{consts['packing']}",
            "grid": (groups(columns, per=4 * along * tile_groups), groups(rows, per=tile_rows * lanes_rows)),
            "workgroup": lanes,
            "consts": _tiles(consts["weights"], tile_groups, along) | sizes,
        }

    tiles = _ROWS if many else {name: _ROWS[name] for name in ("rows8", "rows16", "rows4")}
    variants = {name: variant("matmul", *sizes) for name, sizes in tiles.items()}
    shared = {name: variant("matmul_tiles", tile, (16, 16)) for name, tile in _TILES.items()}
    if isinstance(weight := reads["weight"], Weight) and weight.format == "f16":
        halves = {"needs": ("shader-f16",)}
        variants |= {
            f"{name}_f16": variant("matmul_tiles", tile, (16, 16), "vec4h") | halves for name, tile in _TILES.items()
        }
    if not windowed and not consts["odd"] and dims.low(rows) <= profiles.FEW_ROWS:
        shared["slices32"] = _sliced(consts, columns, 32) | {"grid": (groups(columns, per=8), groups(rows, per=4))}
    if not windowed and not consts["odd"]:
        shared |= _tile_slices(kernel, shared["tiles64"], rows)
    variants |= shared | _in_buffers(shared, reads, len(kernel.writes))
    if consts["k4"] % 2 == 0:
        variants["subgroup"] = variant("matmul_subgroup", (16 // pair, 1), (8, 1)) | _SUBGROUP
    return variants


def _tile_slices(kernel: Kernel, tiles: dict[str, Any], rows: Dim) -> dict[str, dict[str, Any]]:
    """Return the variant of these tiles that is split over workgroups; none if tiles are always enough."""
    consts, step = kernel.consts, tiles["consts"]["step"]
    (along, across), width = tiles["grid"], 4 * consts["groups"] * len(consts["weights"])
    least = along.at(fixed) * across.at(dims.low)  # of tiles
    if least >= profiles.WORKGROUPS:
        return {}
    slices = tile_slices(rows, width, least, -(-consts["k4"] // step))
    return {"tiles64_split": in_slices(kernel, tiles, rows, slices, step)} if slices > 1 else {}


def _step(fours: int) -> int:
    """Return the vec4s of a row that are in workgroup memory at a time: of each an invocation brings four rows."""
    return 8 if 8 * fours <= 256 else 4


def label(template: str, weight: Value) -> str:
    """Return the template's name with the weight's format instead of "packed"; f32 is left out."""
    of = Weight(weight)
    stem = template.removesuffix(of.unpacking["packing"])
    return stem if of.format == "f32" else f"{stem}_{of.format}"


def _tiles(weights: list[str], groups: int, lanes: int) -> dict[str, Any]:
    """Return the groups of 4 columns that an invocation computes: `lanes` apart, and the same in each weight."""
    tiles = [{"weight": w, "group": g * lanes} for g in range(groups) for w in weights]
    return {"tiles": tiles, "span": groups * lanes}


def _unaligned(node: Node, layer: Linear[Value], start: int, end: int) -> Kernel:
    """Return a slower kernel, for widths that are not a multiple of 4."""
    x, width = layer.x, layer.weight.shape[1]
    rows = _rows(node, layer)
    reads, consts = _shared(node, layer, start, end)
    consts |= {"width": width, "k4": -(-width // 4), "rows": wgsl.size(rows)}
    consts["window"] = None
    if window := layer.window:
        channels = width // window.kernel
        sizes = {"step": window.stride * channels, "pad": window.pad * channels}
        consts["window"] = sizes | {"size": wgsl.size(x.shape[-2] * channels)}
    vec4 = frozenset({"weight"}) if consts["odd"] else _vec4(node, reads) - {"x"}
    grid = (groups(end - start, per=32), groups(rows, per=8))
    label = f"matmul_{width}x{end - start}"
    flops = rows * (2 * width * (end - start))
    return Kernel(
        "matmul_unaligned", reads, _writes(node), grid, (8, 8), consts, label, vec4, _tail(node, layer), flops
    )


def _shared(
    node: Node, layer: Linear[Value], start: int, end: int, row: str = "row"
) -> tuple[dict[str, Operand], dict[str, Any]]:
    """Return the operands and parameters that all products have. `row`: the row to store, "0u" if there is one."""
    x, weight, bias, rotary = layer.x, layer.weight, layer.bias, layer.rotary
    total = _columns(layer)
    first = {"weight": 0, "weight1": total} if layer.gate else {"weight": 0}  # the row at which each begins
    reads: dict[str, Operand] = {"x": x}
    unpacking = Weight(weight).unpacking
    for name, at in first.items():
        rows = (at + start, at + end)
        rows = None if rows == (0, weight.shape[0]) else rows
        reads[name] = Weight(weight, "rows8", rows)
        if unpacking["packing"]:
            reads[f"{name}_scales"] = Weight(weight, "scales", rows)
    if bias is not None:
        reads["bias"] = operand(bias)
    reads |= tail_operands(node)
    half = _head_dim(layer) // 8
    if rotary:
        reads |= {"cos": operand(rotary.cos), "sin": operand(rotary.sin)}
    consts = {"columns": end - start, "first_column": start, "total_columns": total, "bias": bias is not None}
    consts |= {"half": half, "turn": _turn(layer), "sums": 2 if half else len(first)}
    consts |= unpacking | {"weights": list(first), "groups": -(-(end - start) // 8) * 2, "row": row}
    consts["parts"] = _parts(layer, row)
    consts["slice"] = 0
    consts["odd"] = not _is_one_row(node, layer) and any(p["width"] % 4 for p in consts["parts"])
    if consts["odd"] and (len(consts["parts"]) > 1 or _tail(node, layer)):
        raise refuse(node, "several outputs need widths that are multiples of 4")
    return reads, consts


def _vec4(node: Node, reads: dict[str, Operand]) -> frozenset[str]:
    layer = Linear.of(node)
    by_pairs = {"cos", "sin"} if layer and _turn(layer) else set()
    return frozenset((*reads, *_writes(node))) - by_pairs


def _factors(reads: dict[str, Operand]) -> frozenset[str]:
    """Return the names of the factors: x and the weights."""
    return frozenset(name for name in reads if name == "x" or name.startswith("weight"))


def _parts(layer: Linear[Value], row: str) -> list[dict[str, Any]]:
    """Return for each output its `name`, its columns (`first`, `width`), and the `row` and `cache` where they go.

    `position` is the row's position if the columns are rotated, else None.
    """
    splits = layer.splits or (_columns(layer),)
    cached = {write.output: write.at for write in layer.cached}
    caches = places(layer.cached, layer.x.shape, 4)
    rotated = dict.fromkeys(layer.rotary.outputs, layer.rotary.at) if layer.rotary else {}
    result, first = [], 0
    for i, width in enumerate(splits):
        part = {"name": _name(i, len(splits)), "first": first, "width": width, "cache": caches.get(i)}
        part["row"] = _row(cached.get(i, 0), row)
        result.append(part | {"position": _row(rotated[i], row) if i in rotated else None})
        first += width
    return result


def _row(at: Dim, row: str) -> str:
    return f"({wgsl.size(at)} + {row})" if at != 0 else row


def _name(i: int, count: int) -> str:
    return "y" if count == 1 else f"y{i}"


def _writes(node: Node) -> dict[str, Value]:
    return {_name(i, len(node.outputs)): v for i, v in enumerate(node.outputs)}


def _tail(node: Node, layer: Linear[Value]) -> Expression:
    return node.tail.steps if node.tail is not None else layer.gate


def tail_operands(node: Node) -> dict[str, Operand]:
    """Return the inputs that a node's fused tail reads, by their names in the tail."""
    steps = node.tail.steps if node.tail is not None else ()
    used = {a for _, *args in steps for a in args if isinstance(a, str) and a.startswith("x")}
    values = {f"x{i}": v for i, v in enumerate(node.reads) if v is not None}
    return {name: operand(values[name]) for name in sorted(used, key=lambda n: int(n[1:]))}
