"""Layout: where the nodes of a graph stand on the page, in layers from top to bottom (after Sugiyama et al. 1981).

Layers are longest paths; an edge that passes layers takes a place in each, so that it runs between nodes and not behind
them; sweeps by barycentres untangle. Edges over very many layers are not routed: the page shows them when asked.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

LAYER, GAP = 70.0, 40.0  # from one layer to the next; between neighbours
FAR = 40  # layers, from which on an edge is not routed
SWEEPS = 8
BEND = 12.0  # the width of an edge that passes


@dataclass(frozen=True)
class Layout:
    """The middle of each node, and for each edge the points that it runs through between its ends; None: not routed."""

    nodes: list[tuple[float, float]]
    edges: list[list[tuple[float, float]] | None]


@dataclass
class _Net:
    """Nodes and bends: layer and width of each, and what it is connected with one layer up and one down."""

    layer: list[int]
    width: list[float]
    above: list[list[int]] = field(default_factory=list)
    below: list[list[int]] = field(default_factory=list)

    def connect(self, a: int, b: int) -> None:
        self.below[a].append(b)
        self.above[b].append(a)


def layout(widths: Sequence[float], edges: Sequence[tuple[int, int]]) -> Layout:
    """Nodes in an order in which edges lead onward: every (a, b) has a < b."""
    net = _Net(_layers(len(widths), edges), list(widths))
    net.above, net.below = ([[] for _ in widths] for _ in range(2))
    bends = [_route(net, a, b) for a, b in edges]
    rows = _ordered(net)
    x = _placed(net, rows)
    places = [(x[v], net.layer[v] * LAYER) for v in range(len(net.layer))]
    return Layout(places[: len(widths)], [None if path is None else [places[v] for v in path] for path in bends])


def _layers(count: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """Longest paths from the top; then what waits for others moves down to just above the first that reads it."""
    readers: list[list[int]] = [[] for _ in range(count)]
    layer = [0] * count
    for a, b in sorted(edges):
        readers[a].append(b)
    for a in range(count):
        for b in readers[a]:
            layer[b] = max(layer[b], layer[a] + 1)
    for a in reversed(range(count)):
        if readers[a]:
            layer[a] = min(layer[b] for b in readers[a]) - 1
    return layer


def _route(net: _Net, a: int, b: int) -> list[int] | None:
    """A bend in every layer that an edge passes."""
    if net.layer[b] - net.layer[a] > FAR:
        return None
    path, last = [], a
    for layer in range(net.layer[a] + 1, net.layer[b]):
        bend = len(net.layer)
        net.layer.append(layer)
        net.width.append(BEND)
        net.above.append([])
        net.below.append([])
        net.connect(last, bend)
        path.append(bend)
        last = bend
    net.connect(last, b)
    return path


def _ordered(net: _Net) -> list[list[int]]:
    """The layers, each from left to right."""
    rows: list[list[int]] = [[] for _ in range(max(net.layer, default=-1) + 1)]
    for v, layer in enumerate(net.layer):
        rows[layer].append(v)
    place = {v: float(i) for row in rows for i, v in enumerate(row)}
    for sweep in range(SWEEPS):
        neighbours = net.above if sweep % 2 == 0 else net.below
        for row in rows if sweep % 2 == 0 else reversed(rows):
            row.sort(key=lambda v, near=neighbours: _mean([place[n] for n in near[v]], place[v]))
            place.update({v: float(i) for i, v in enumerate(row)})
    return rows


def _placed(net: _Net, rows: Sequence[Sequence[int]]) -> list[float]:
    """Abscissas: as near as there is room to the middle of what a node is connected with."""
    x = [0.0] * len(net.layer)
    for sweep in range(SWEEPS):
        neighbours = net.above if sweep % 2 == 0 else net.below
        for row in rows if sweep % 2 == 0 else reversed(rows):
            targets = [_mean([x[n] for n in neighbours[v]], x[v]) for v in row]
            for v, place in zip(row, _spread(targets, [net.width[v] for v in row]), strict=True):
                x[v] = place
    return x


def _spread(targets: Sequence[float], widths: Sequence[float]) -> list[float]:
    """The places nearest to `targets`, in their order, at which nothing overlaps: blocks that touch move as one."""
    offsets = [0.0]
    for a, b in itertools.pairwise(widths):
        offsets.append(offsets[-1] + (a + b) / 2 + GAP)
    blocks: list[list[float]] = []  # [sum of targets less offsets, how many]
    for place, offset in zip(targets, offsets, strict=True):
        blocks.append([place - offset, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    starts = [total / count for total, count in blocks for _ in range(int(count))]
    return [start + offset for start, offset in zip(starts, offsets, strict=True)]


def _mean(numbers: Sequence[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise
