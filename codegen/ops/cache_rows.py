"""Where the rows that a layer writes into a state go: a cache has its rows head by head, other states one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from intaglio.compiler.ir.dims import Dim, fixed
from intaglio.compiler.ir.nodes import CacheWrite
from intaglio.compiler.ir.values import Value


def places(writes: Sequence[CacheWrite[Value]], rows: tuple[Dim, ...], by: int) -> dict[int, dict[str, Any]]:
    """Return for each output that is written into a cache the columns of a head (`width`) and its rows (`capacity`).

    rows: the shape of what is written. by: the numbers that are counted as one column. The rows of a single head lie as
    those of any other state.
    """
    heads = {write.output: write.state.shape for write in writes if len(write.state.shape) > len(rows)}
    return {
        output: {"width": fixed(shape[-1]) // by, "capacity": fixed(shape[-2])}
        for output, shape in heads.items()
        if shape[-3] != 1
    }
