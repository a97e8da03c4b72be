"""Caches as buffers, for desktop GPUs, whose textures are tiles of several rows: a run of keys would be only a part of
each cache line. See storage.py.

Every step that accesses a cache has variants of its own for them. Their problems have other names, so that nobody takes
what was measured with textures for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from intaglio.codegen import profiles
from intaglio.codegen.kernel import Kernel
from intaglio.codegen.lower import Dispatch
from intaglio.compiler.ir.values import Value

CLASSES = tuple(name for name in profiles.GPUS if name not in profiles.TEXTURES)
_ONLY = "only"  # the name of the variant of a kernel that has no others


def caches(states: Iterable[Value], textures: set[object]) -> set[str]:
    """Return the names of the states that become buffers: caches that are textures in the plan."""
    return {v.name for v in states if len(v.shape) == 4 and v.name in textures}


def format(texels: str, half: bool) -> str:
    """Return the format of the buffer in place of a texture: "" if its numbers are words. half: they are to be f16."""
    return "rgba16float" if half or texels == "rgba16float" else ""


def in_buffers(dispatch: Dispatch, caches: set[str]) -> Dispatch | None:
    """Return a dispatch that accesses caches, with those variants that the profiles of CLASSES have. The default one is
    a single dispatch. Return None for a dispatch that accesses none.
    """
    places, kernel = dispatch.places, dispatch.kernel
    bound = frozenset(name for name, p in places.items() if isinstance(p.root, Value) and p.root.name in caches)
    if not bound:
        return None
    suited = {v for name in CLASSES if name in kernel.profiles for v in kernel.profiles[name].variants}
    variants = [k for k in (kernel, *kernel.others) if k.variant in suited] or [kernel]
    first = next((k for k in variants if not k.then), kernel)
    family, _, sizes = (kernel.problem or f"{kernel.label} 1").rpartition(" ")

    def changed(variant: Kernel) -> Kernel:
        of = {"problem": f"{family}_in_buffers {sizes}", "variant": variant.variant or _ONLY}

        def part(kernel: Kernel) -> Kernel:
            label, buffers = f"{kernel.label}_in_buffers", kernel.buffers | bound & kernel.operands.keys()
            return replace(kernel, **of, label=label if buffers & bound else kernel.label, buffers=buffers)

        return replace(part(variant), then=tuple(map(part, variant.then)), others=(), profiles={})

    others = tuple(changed(k) for k in variants if k is not first)
    choices = {name: kernel.profiles[name] for name in CLASSES if name in kernel.profiles}
    return replace(dispatch, kernel=replace(changed(first), others=others, profiles=choices))
