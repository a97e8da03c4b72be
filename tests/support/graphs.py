"""Small graphs for the compiler's tests: ONNX's text form in, and numpy evaluation before and after a pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Symbol, dim
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.values import DTYPES, Value
from intaglio.compiler.reader import load
from intaglio.compiler.semantics import evaluate

T = dim(Symbol("T", 1, 64))


def model(text: str, weights: Mapping[str, np.ndarray] | None = None, opset: int = 18) -> onnx.ModelProto:
    """`text` is a graph: `main (float[2,T] x) => (float[2,T] y) { y = Relu(x) }`."""
    made = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}')
    tensors = [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in (weights or {}).items()]
    made.graph.initializer.extend(tensors)
    return made


def graph(text: str, weights: Mapping[str, np.ndarray] | None = None, opset: int = 18, **bind: Any) -> Graph:
    """The graph of a text, with the size T as a symbol from 1 to 64."""
    return load.load(model(text, weights, opset), bind={"T": T, **bind})


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def feeds(g: Graph, sizes: Mapping[str, int], seed: int = 1) -> dict[str, np.ndarray]:
    """Random arrays for the inputs and states of a graph; integers are 0 to 3."""
    rng = np.random.default_rng(seed)

    def sample(v: Value) -> np.ndarray:
        shape = tuple(dims.fixed(dims.substitute(d, sizes)) for d in v.shape)
        kind = np.dtype(DTYPES[v.dtype])
        return (rng.standard_normal(shape) if kind.kind == "f" else rng.integers(0, 4, shape)).astype(kind)

    return {v.name: sample(v) for v in (*g.inputs, *g.states)}


def unchanged(g: Graph, step: Callable[[Graph], int], sizes: Sequence[int | Mapping[str, int]] = (5, 1)) -> int:
    """Apply a pass, and hold its results against those without it, for several T. Returns the pass's count."""
    settings = [{"T": size} if isinstance(size, int) else size for size in sizes]
    inputs = [feeds(g, s) for s in settings]
    before = [evaluate.run(g, i, s) for i, s in zip(inputs, settings, strict=True)]
    types = [v.type for v in g.outputs]
    count = step(g)
    g.verify()
    assert [v.type for v in g.outputs] == types
    for i, s, expected in zip(inputs, settings, before, strict=True):
        actual = evaluate.run(g, i, s)
        assert actual.keys() == expected.keys()
        for name, array in expected.items():
            assert actual[name].dtype == array.dtype
            np.testing.assert_allclose(actual[name], array, rtol=1e-5, atol=1e-5, err_msg=name)
    return count


def ops(g: Graph) -> Counter[str]:
    return Counter(node.op for node in g.nodes)
