"""Which variant suits which class of adapters, where nobody measured.

A processor has no profile: kernels have by default the variants that are the fastest on software adapters.

A GPU hides the latency of memory with many invocations. It needs workgroups of whole warps, few registers each, and
neighbouring invocations that read neighbouring words. The sizes at which one variant follows another are estimates from
the number of multiprocessors. `intaglio tune` replaces them with measurements.

No profile has a variant that needs a tier, such as subgroups of 8 lanes, because a class does not promise one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.runtime.adapter_class import CLASSES
from intaglio.runtime.plan import Choice

GPUS = tuple(name for name in CLASSES if name != "cpu")
_BIG_TILES = ("nvidia", "amd")  # 120 registers an invocation are little for them; others halve their warps
TEXTURES = ("mobile",)  # classes that read weights as textures; see storage.py
_SMALL = ("intel", "mobile")  # few invocations run at once
_TILE, _SMALL_TILE = 128, 64
FEW_ROWS = 8  # of x
FEW_QUERIES = 32  # of a tile of attention
WORKGROUPS = 64  # that keep a GPU busy, with tiles that are large enough to hide latency themselves

Profiles = dict[str, Choice]


def choice(of: Dim, first: str, *larger: tuple[int, str]) -> Choice:
    """Return the choice of `first`, or of a later variant where the size `of` is larger than its number.

    Sizes outside of the range of `of` are left out.
    """
    variants, above = [first], list[int]()
    for limit, variant in larger:
        if dims.low(of) > limit:
            variants, above = [variant], []
        elif dims.high(of) > limit:
            variants.append(variant)
            above.append(limit)
    return Choice(tuple(variants), dims.written(of), tuple(above)) if above else Choice(tuple(variants))


def products(rows: Dim, columns: int, variants: Collection[str]) -> Profiles:
    """Return the profiles of a matrix product that has these variants.

    A few rows are as one row. Of more, a workgroup has a tile: a small one, of a slice of the columns that are summed
    if there are few tiles, and a large one where there are enough of them.
    """
    sizes = [(FEW_ROWS, "tiles64")]
    if "tiles64_split" in variants:
        sizes = [(FEW_ROWS, "tiles64_split"), (WORKGROUPS * _SMALL_TILE**2 // columns, "tiles64")]
    large = max(_TILE // 2, WORKGROUPS * _TILE**2 // columns)

    def of(name: str) -> Choice:
        return choice(rows, "slices32", *sizes, *([(large, "tiles128")] if name in _BIG_TILES else []))

    return _stored({name: of(name) for name in GPUS}, variants)


def windowed_products(variants: Collection[str]) -> Profiles:
    """Return the profiles of a convolution that is a matrix product and has these variants."""
    return _stored(dict.fromkeys(GPUS, Choice(("tiles64",))), variants)


def lookups() -> Profiles:
    """Return the profiles of a lookup in a table, which may be the weight of a product too."""
    return {name: Choice(("textures" if name in TEXTURES else "buffers",)) for name in GPUS}


def _stored(profiles: Profiles, variants: Collection[str]) -> Profiles:
    """Return the profiles with the variants that read weights as a class does best: textures, or buffers if any."""

    def stored(name: str, of: Choice) -> Choice:
        buffers = tuple(f"{variant}_buffers" for variant in of.variants)
        return of if name in TEXTURES or not set(buffers) <= {*variants} else replace(of, variants=buffers)

    return {name: stored(name, of) for name, of in profiles.items()}


def vector_products(variants: Collection[str]) -> Profiles:
    """Return the profiles of a matrix-vector product with these variants: many invocations share a row's columns."""
    sliced = "slices32" in variants
    split = "slices32_split" if "slices32_split" in variants else "slices32"

    def of(name: str) -> Choice:
        if not sliced:
            return Choice(("reduce8" if name in _SMALL else "reduce32",))
        return Choice(("slices8" if name in _SMALL else split if name in _BIG_TILES else "slices32",))

    return _stored({name: of(name) for name in GPUS}, variants)


def attention(rows: Dim, few: str = "") -> Profiles:
    """Return the profiles of attention with many queries. few: the variant for one tile of them, if there is one."""

    def tiles(name: str) -> Choice:
        variant = "tiles256" if name in _BIG_TILES else "tiles128"
        return choice(rows, few, (FEW_QUERIES, variant)) if few else Choice((variant,))

    return {name: tiles(name) for name in GPUS}


def decode_attention(keys: Dim) -> Profiles:
    """Return the profiles of attention with one query, which sees so many keys: slices where there are many."""
    slices = ((256, "slices64"), (4096, "slices256"))
    return {name: choice(keys, "keys256" if name in _BIG_TILES else "keys128", *slices) for name in GPUS}


def convolutions() -> Profiles:
    """Return the profiles of a convolution: a workgroup shares what it reads."""
    return dict.fromkeys(GPUS, Choice(("tiles64",)))


def norms() -> Profiles:
    """Return the profiles of norms: a workgroup for each row."""
    return {name: Choice(("lanes256" if name in _BIG_TILES else "lanes64",)) for name in GPUS}


def drawing(drawn: Dim) -> Profiles:
    """Return the profiles of the choice of a token: many workgroups draw it, where tokens are drawn."""
    return {name: choice(drawn, "one", (0, "slices")) for name in GPUS}
