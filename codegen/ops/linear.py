"""Linear layers: many rows as a tiled matrix product, one row as a matrix-vector product, both over the same weight."""

from __future__ import annotations

from typing import Any

from intaglio.codegen import wgsl
from intaglio.codegen.formats import FORMATS
from intaglio.codegen.kernel import Kernel, Operand, Weight, fours, groups, operand, own, refuse, rows_of
from intaglio.codegen.target import MAX_BINDING, MAX_TRIPS
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim, fixed, high
from intaglio.compiler.ir.expression import Expression
from intaglio.compiler.ir.graph import Node, Value
from intaglio.compiler.ir.operators import Linear

# rows and groups of 4 columns that an invocation computes, and invocations of a workgroup along columns and rows
_ROWS = {"rows16": ((16, 2), (8, 4)), "rows8": ((8, 2), (8, 1)), "rows4": ((4, 2), (8, 1))}
_TILES = {"tiles64": (4, 1), "tiles128": (8, 2)}  # the same of workgroups that share what they read
_SUBGROUP = {"needs": ("subgroups",), "most_read": "weight"}
_WIDE = 8192  # outputs from which a matrix-vector product has work for invocations that compute many


@own(Linear)
def linear(node: Node, layer: Linear[Value]) -> list[Kernel]:
    """A kernel for each part of the weight that fits a binding, usually one."""
    x, weight = layer.x, layer.weight
    if weight.dtype != "f32" or x.dtype != "f32":
        raise refuse(node, f"a product of {x.dtype} and {weight.dtype} is not supported")
    if layer.window and not isinstance(x.type.size, int):
        raise refuse(node, f"a convolution over {x.type}, whose size is dynamic, is not supported")
    if not 0 < high(weight.shape[1]) <= MAX_TRIPS:
        raise refuse(node, f"{weight.shape[1]} columns need more than {MAX_TRIPS} loop iterations")
    one_row = _is_one_row(node, layer) and not layer.window
    make = _unaligned if not _by_fours(layer) else _matvec if one_row else _matmul
    if (layer.prologue or layer.rotary) and make is not _matvec:
        raise refuse(node, "a fused norm or rotary embedding needs a single row whose width is a multiple of 4")
    return [make(node, layer, start, end) for start, end in parts(_columns(layer), weight, _head_dim(layer) or 8)]


def _is_one_row(node: Node, layer: Linear[Value]) -> bool:
    """Whether there is one row, of whole vec4s or alone in its memory, which rows of a cache are not."""
    alone = not layer.cached or all(w % 4 == 0 for w in layer.splits)
    return _rows(node, layer) == 1 and alone


def _rows(node: Node, layer: Linear[Value]) -> Dim:
    return rows_of(node.output.shape if layer.window else layer.x.shape)


def _columns(layer: Linear[Value]) -> int:
    """Columns of the result: half as many as the weight has rows, where one half gates the other."""
    return fixed(layer.weight.shape[0]) // (2 if layer.gate else 1)


def _by_fours(layer: Linear[Value]) -> bool:
    """Whether every row that is multiplied begins at a multiple of 4 and is as long."""
    width, window = fixed(layer.weight.shape[1]), layer.window
    if window is None:
        return width % 4 == 0
    channels = width // window.kernel
    whole = width % 4 == 0 and window.stride * channels % 4 == 0 and window.pad * channels % 4 == 0
    return whole and fours(layer.x.type.size)


def _head_dim(layer: Linear[Value]) -> int:
    """Columns of a head, if they are rotated; else 0."""
    return 2 * fixed(layer.rotary.cos.shape[1]) if layer.rotary else 0


def parts(rows: int, weight: Value, whole: int = 8) -> list[tuple[int, int]]:
    """Ranges of a matrix's rows, in blocks of `whole`, a multiple of 8, such that each fits a binding."""
    width = fixed(weight.shape[1])
    each = MAX_BINDING * 8 // (FORMATS[Weight(weight).format].bits * (width + -width % 4)) // whole * whole
    return [(start, min(start + each, rows)) for start in range(0, rows, each)]


def _matvec(node: Node, layer: Linear[Value], start: int, end: int) -> Kernel:
    weight = layer.weight
    width = weight.shape[1]
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
        """`lanes` invocations take `tile` groups of 4 rows each, and `lanes_y` share the columns of each out."""
        sharing = {"lanes": lanes, "lanes_y": lanes_y, "subgroup": product == "matvec_subgroup"}
        return {
            "template": template if norm else f"{product}{consts['packing']}",
            "grid": (groups(rows, per=4 * lanes * tile),),
            "workgroup": (lanes, lanes_y),
            "consts": _tiles(consts["weights"], tile, lanes) | sharing | {"product": product},
        }

    tiles = {"rows16": 4, "rows8": 2, "rows4": 1} if rows > _WIDE else {"rows8": 2, "rows16": 4, "rows4": 1}
    least = 2 if rotated else 1  # groups: two have the pairs
    tiles = {name: tile for name, tile in tiles.items() if tile >= least}
    variants = {name: variant(8, tile, 1) for name, tile in tiles.items()}
    variants |= {"reduce8": variant(8, least, 8), "reduce32": variant(2, least, 32)}
    if consts["shared"]:
        variants |= {
            f"subgroup{4 * tile}": variant(8, tile, 1, "matvec_subgroup") | _SUBGROUP for tile in tiles.values()
        }
    name = label(template, weight) + ("_rotary" if rotated else "")
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
    problem = f"{name}{'_gate' if pair > 1 else ''} {width}x{rows}"
    return kernel.with_variants(problem, variants)


def _matmul(node: Node, layer: Linear[Value], start: int, end: int) -> Kernel:
    x, weight, window = layer.x, layer.weight, layer.window
    width, columns = weight.shape[1], end - start
    rows = _rows(node, layer)
    reads, consts = _shared(node, layer, start, end)
    pair = len(consts["weights"])
    consts |= {"k4": width // 4, "rows": wgsl.size(rows)}
    if window:
        channels = width // window.kernel
        consts |= {
            "stride": window.stride,
            "pad": window.pad,
            "x_size4": x.shape[-2] * channels // 4,
            "row_step4": window.stride * channels // 4,
            "pad4": window.pad * channels // 4,
        }
    name = label(("conv1d" if window else "matmul") + consts["packing"], weight)

    def variant(
        product: str, tile: tuple[int, int], lanes: tuple[int, int], tile_type: str = "vec4f"
    ) -> dict[str, Any]:
        """Invocations each take a tile of rows and groups of 4 columns; a workgroup has `lanes` along columns, rows.
        tile_type: what a weight is in workgroup memory."""
        (tile_rows, tile_groups), (along, lanes_rows) = tile, lanes
        tile_groups = max(1, tile_groups // pair)
        sizes = {"tile_rows": tile_rows, "product": product, "tile_type": tile_type}
        return {
            "template": "conv1d" if window else f"{product}{consts['packing']}",
            "grid": (groups(columns, per=4 * along * tile_groups), groups(rows, per=tile_rows * lanes_rows)),
            "workgroup": lanes,
            "consts": _tiles(consts["weights"], tile_groups, along) | sizes,
        }

    many = dims.low(rows) >= 32
    tiles = _ROWS if many else {name: _ROWS[name] for name in ("rows8", "rows16", "rows4")}
    variants = {name: variant("matmul", *sizes) for name, sizes in tiles.items()}
    variants |= {name: variant("matmul_tiles", tile, (16, 16)) for name, tile in _TILES.items()}
    if Weight(weight).format == "f16":
        halves = {"needs": ("shader-f16",)}
        variants |= {
            f"{name}_f16": variant("matmul_tiles", tile, (16, 16), "vec4h") | halves for name, tile in _TILES.items()
        }
    if consts["shared"]:
        variants["subgroup"] = variant("matmul_subgroup", (16 // pair, 1), (8, 1)) | _SUBGROUP
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
    return kernel.with_variants(problem, variants)


def label(template: str, weight: Value) -> str:
    """The template's name with the format of the weight, if it is not f32, instead of "packed"."""
    of = Weight(weight)
    stem = template.removesuffix(of.unpacking["packing"])
    return stem if of.format == "f32" else f"{stem}_{of.format}"


def _tiles(weights: list[str], groups: int, lanes: int) -> dict[str, Any]:
    """The groups of 4 columns that an invocation computes: `lanes` apart, and in each weight the same ones."""
    tiles = [{"weight": w, "group": g * lanes} for g in range(groups) for w in weights]
    return {"tiles": tiles, "span": groups * lanes}


def _unaligned(node: Node, layer: Linear[Value], start: int, end: int) -> Kernel:
    """Slower, for widths that are no multiple of 4."""
    x, width = layer.x, layer.weight.shape[1]
    rows = rows_of(node.output.shape)
    reads, consts = _shared(node, layer, start, end)
    consts |= {"width": width, "k4": -(-width // 4), "rows": wgsl.size(rows)}
    consts["window"] = None
    if window := layer.window:
        channels = width // window.kernel
        sizes = {"step": window.stride * channels, "pad": window.pad * channels, "size": x.shape[-2] * channels}
        consts["window"] = sizes
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
    """Operands and parameters that all products have; `row`: which row is stored, "0u" where there is one."""
    x, weight, bias, rotary = layer.x, layer.weight, layer.bias, layer.rotary
    total = _columns(layer)
    first = {"weight": 0, "weight1": total} if layer.gate else {"weight": 0}  # rows where each begins
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
    vec4s = fixed(weight.shape[1]) // 4
    # vec4s of x that a subgroup of 8 shares at a time: a span of packed weights, else as many as divide a row
    consts["shared"] = unpacking.get("each") or next((n for n in (8, 4) if vec4s % n == 0), 0)
    consts |= {"half": half, "sums": 2 if half else len(first)}
    consts |= unpacking | {"weights": list(first), "groups": -(-(end - start) // 8) * 2, "row": row}
    consts["parts"] = _parts(layer, row)
    consts["odd"] = not _is_one_row(node, layer) and any(p["width"] % 4 for p in consts["parts"])
    if consts["odd"] and (len(consts["parts"]) > 1 or _tail(node, layer)):
        raise refuse(node, "several outputs need widths that are multiples of 4")
    return reads, consts


def _vec4(node: Node, reads: dict[str, Operand]) -> frozenset[str]:
    return frozenset((*reads, *_writes(node)))


def _factors(reads: dict[str, Operand]) -> frozenset[str]:
    """What is multiplied."""
    return frozenset(name for name in reads if name == "x" or name.startswith("weight"))


def _parts(layer: Linear[Value], row: str) -> list[dict[str, Any]]:
    """Which columns go to which output, and where in it: `first`, `width`, `name`, `row`; and the row's `position`, if
    they are rotated by that."""
    splits = layer.splits or (_columns(layer),)
    cached = {write.output: write.at for write in layer.cached}
    rotated = dict.fromkeys(layer.rotary.outputs, layer.rotary.at) if layer.rotary else {}
    result, first = [], 0
    for i, width in enumerate(splits):
        part = {"name": _name(i, len(splits)), "first": first, "width": width, "row": _row(cached.get(i, 0), row)}
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
    """The inputs that a node's fused tail reads, under the names that it gives them."""
    steps = node.tail.steps if node.tail is not None else ()
    used = {a for _, *args in steps for a in args if isinstance(a, str) and a.startswith("x")}
    values = {f"x{i}": v for i, v in enumerate(node.reads) if v is not None}
    return {name: operand(values[name]) for name in sorted(used, key=lambda n: int(n[1:]))}
