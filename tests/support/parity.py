"""Runs small models and graphs through passes, writer and a session, beside onnxruntime or numpy as the oracle."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import wgpu
from bundles import whole_plan

from intaglio.codegen.bundle import write
from intaglio.codegen.fuse.pipeline import FUSE
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import DTYPES, TensorType, Value
from intaglio.compiler.models.model import Model
from intaglio.compiler.passes import pipeline
from intaglio.compiler.passes.merge_linear import merge_linear
from intaglio.compiler.passes.pipeline import UNDERSTAND, Trace
from intaglio.compiler.reader import load
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.semantics import evaluate
from intaglio.runtime import tuning
from intaglio.runtime.device import open_device, tiers
from intaglio.runtime.engine import Engine
from intaglio.runtime.limits import TIERS
from intaglio.runtime.plan import Choice, Plan
from intaglio.runtime.session import Session

OPSET = 20
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Tensor:
    """What a case feeds: a random array of a type and a shape (a str is a size that varies), or `array` itself.

    low, high: the range of the numbers. const: it is a weight of the model. 0-dimensional: f32().
    """

    dtype: str
    shape: tuple[int | str, ...]
    low: float = -2
    high: float = 2
    const: bool = False
    array: Any = None

    def __str__(self) -> str:
        shown = f"{self.dtype}[{','.join(map(str, self.shape))}]"
        return f"{'const ' * self.const}{shown if self.array is None else self.array}"

    def sample(self, random: np.random.Generator, sizes: Mapping[str, int]) -> np.ndarray:
        if self.array is not None:
            return np.array(self.array, DTYPES[self.dtype])
        shape = [sizes[d] if isinstance(d, str) else d for d in self.shape]
        if self.dtype == "bool":
            return random.integers(0, 2, shape).astype(bool)
        if self.dtype[0] == "f":
            return random.uniform(self.low, self.high, shape).astype(DTYPES[self.dtype])
        return random.integers(int(self.low), int(self.high) + 1, shape).astype(DTYPES[self.dtype])


def f32(*shape: int | str, low: float = -2, high: float = 2) -> Tensor:
    return Tensor("f32", shape, low, high)


def weight(*shape: int, low: float = -1, high: float = 1) -> Tensor:
    return Tensor("f32", shape, low, high, const=True)


def i64(*shape: int | str, low: int = -5, high: int = 5) -> Tensor:
    return Tensor("i64", shape, low, high)


def i32(*shape: int | str, low: int = -5, high: int = 5) -> Tensor:
    return Tensor("i32", shape, low, high)


def flags(*shape: int | str) -> Tensor:
    return Tensor("bool", shape)


def typed(dtype: str, *shape: int | str, low: float = -5, high: float = 5) -> Tensor:
    return Tensor(dtype, shape, low, high)


def given(content: Any, dtype: str = "") -> Tensor:
    """An input with this content; f32 and i64 unless `dtype` says otherwise."""
    array = np.array(content)
    kind = dtype or {"f": "f32", "i": "i64", "b": "bool"}[array.dtype.kind]
    return Tensor(kind, array.shape, array=array.tolist())


def const(content: Any, dtype: str = "") -> Tensor:
    """A weight with this content."""
    return replace(given(content, dtype), const=True)


@dataclass(frozen=True)
class Case:
    """A model of a few nodes, in ONNX's text form, and what it is fed. The outputs are what no node reads, or
    `outputs`.

    sizes: the values that a symbolic size takes, in turn.
    """

    text: str
    inputs: dict[str, Tensor]
    sizes: tuple[int, ...] = (5, 1, 8)
    rtol: float = 1e-5
    atol: float = 1e-5
    opset: int = OPSET
    outputs: str = ""

    def __str__(self) -> str:
        return f"{self.text}; {', '.join(f'{k}={v}' for k, v in self.inputs.items())}"

    @property
    def symbols(self) -> list[str]:
        return sorted({d for t in self.inputs.values() for d in t.shape if isinstance(d, str)})

    def feeds(self, size: int) -> Arrays:
        """An array for every input; the weights are the same for every size."""
        random = np.random.default_rng(1)
        consts = {k: t.sample(random, {}) for k, t in self.inputs.items() if t.const}
        sizes = dict.fromkeys(self.symbols, size)
        return consts | {k: t.sample(random, sizes) for k, t in self.inputs.items() if not t.const}

    def model(self) -> onnx.ModelProto:
        head = ", ".join(_declaration(k, t) for k, t in self.inputs.items())
        text = (
            f'<ir_version: 10, opset_import: ["" : {self.opset}]> main ({head}) => ({self.results()}) {{ {self.text} }}'
        )
        model = onnx.parser.parse_model(text)
        arrays = self.feeds(1)
        for name in [k for k, t in self.inputs.items() if t.const]:
            model.graph.input.remove(next(i for i in model.graph.input if i.name == name))
            model.graph.initializer.append(onnx.numpy_helper.from_array(arrays[name], name))
        return model

    def results(self) -> str:
        if self.outputs:
            return self.outputs
        nodes = onnx.parser.parse_graph(f"g () => () {{ {self.text} }}").node
        read = {name for n in nodes for name in n.input}
        return ", ".join(name for n in nodes for name in n.output if name and name not in read)

    def fed(self, size: int) -> Arrays:
        return {k: v for k, v in self.feeds(size).items() if not self.inputs[k].const}


def case(text: str, **inputs: Any) -> Case:
    """A case whose options and inputs are given together."""
    options = {f.name: inputs.pop(f.name) for f in fields(Case) if f.name in inputs}
    return Case(text, inputs, **options)


def _declaration(name: str, tensor: Tensor) -> str:
    element = onnx.TensorProto.DataType.Name(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(DTYPES[tensor.dtype])))
    shape = ", ".join(map(str, tensor.shape))
    return f"{element.lower()}[{shape}] {name}" if tensor.shape else f"{element.lower()} {name}"


def onnxruntime_outputs(model: onnx.ModelProto, feeds: Arrays) -> Arrays:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    outputs: Sequence[Any] = session.run(names, feeds)
    return dict(zip(names, outputs, strict=True))


def graph_of(model: onnx.ModelProto, bind: Mapping[str, Any] | None = None) -> Graph:
    """The graph of a model after all passes and fusions."""
    return fused(pipeline.run(load.load(model, bind=bind), UNDERSTAND, Trace()))


def fused(graph: Graph) -> Graph:
    """The graph, which is fused in place."""
    return pipeline.run(graph, (merge_linear, *FUSE), Trace())


def compiled(graphs: Graph | Mapping[str, Graph], folder: Path, half_caches: bool = False) -> Path:
    """The graphs, which are fused in place, as a bundle in `folder`. half_caches: GPUs store f32 caches in f16."""
    named = {"main": graphs} if isinstance(graphs, Graph) else dict(graphs)
    for graph in named.values():
        fused(graph)
    write.write(Model("model", named, half_caches=half_caches), folder, Trace())
    return folder


@cache
def device(*needs: str) -> wgpu.GPUDevice:
    """One for all tests; and one for those whose kernels need more."""
    return open_device(needs=needs)


def opened(folder: Path) -> Session:
    """The bundle on the device, after a check that it takes the memory that its plan says."""
    engine = Engine(folder, whole_plan(folder), device=device())
    session = engine.session()
    assert (engine.allocated, session.allocated) == (session.plan.engine_bytes, session.plan.session_bytes)
    return session


def every_variant(folder: Path) -> list[Session]:
    """The bundle as it is here, as it was compiled, and again until every step has had each other variant."""
    plan = replace(whole_plan(folder), tunings=())
    able = device(*TIERS)
    changed = list(_changed(replace(plan, storages=()), tiers(able)))
    stored = [plan.stored(storage) for storage in plan.storages]
    tried = [*([plan] if changed else []), *changed, *stored, *(p for of in stored for p in _changed(of, tiers(able)))]
    missing = plan.kernels.keys() - {name for p in (plan, *tried) for name in p.used}
    assert not missing, f"this adapter runs no {missing}"
    return [opened(folder), *(Engine(folder, p, device=able).session() for p in tried)]


def _changed(plan: Plan, granted: set[str]) -> Iterator[Plan]:
    """The plan with other variants, until every step has had each."""
    alternatives = plan.alternatives
    for turn in itertools.zip_longest(*(each.others for each in alternatives.values()), fillvalue=""):
        choices = {p: Choice((v,)) for p, v in zip(alternatives, turn, strict=True)}
        yield tuning.with_choices(plan, choices, granted)


class Program:
    """A graph that is fused, compiled once and can be run, here and by numpy as it was, on the same feeds."""

    def __init__(self, graph: Graph) -> None:
        self.original, self.graph = graph.copy("original"), graph
        with tempfile.TemporaryDirectory() as folder:
            self.sessions = every_variant(compiled(graph, Path(folder, "bundle")))

    def run(self, feeds: Arrays, symbols: Mapping[str, int] | None = None) -> Arrays:
        return self.sessions[0].run("main", feeds, symbols)

    def reference(self, feeds: Arrays, symbols: Mapping[str, int] | None = None) -> Arrays:
        return evaluate.run(self.original, feeds, symbols)

    def check(self, symbols: Mapping[str, int] | None = None, rtol: float = 1e-5, atol: float = 1e-5) -> None:
        """Run both on random numbers, which the states hold beforehand too."""
        random = np.random.default_rng(2)
        feeds = {}
        for value in (*self.original.inputs, *self.original.states):
            shape = tuple(dims.fixed(dims.substitute(d, symbols or {})) for d in value.shape)
            array = random.standard_normal(shape) if value.dtype == "f32" else random.integers(0, 4, shape)
            feeds[value.name] = array.astype(DTYPES[value.dtype])
        wanted = self.reference(feeds, symbols)
        for session in self.sessions:
            assert_equal(session.run("main", feeds, symbols), wanted, rtol, atol)


def against_onnxruntime(case: Case, folder: Path) -> None:
    """The bundle of a case gives what onnxruntime does, in every variant of its kernels."""
    sessions = every_variant(folder)
    for size in case.sizes if case.symbols else (1,):
        feeds = case.fed(size)
        expected = onnxruntime_outputs(case.model(), feeds)
        for session in sessions:
            assert_equal(session.run("main", feeds), expected, case.rtol, case.atol)


class Build:
    """Writes a graph by hand: `b = Build(); x = b.input("x", 1, T, 8); b.output(b.Relu(x))`."""

    def __init__(self) -> None:
        self.graph = Graph("main")
        root = Node("", (), (Value("v", TensorType("f32", ())),), {}, ("test",))
        self._builder = GraphBuilder(self.graph, root)
        self._random, self._count = np.random.default_rng(3), itertools.count()

    def input(self, name: str, *shape: Dim, dtype: str = "f32") -> Value:
        self.graph.inputs.append(self.graph.value(name, TensorType(dtype, shape)))
        return self.graph.inputs[-1]

    def state(self, name: str, *shape: Dim, dtype: str = "f32") -> Value:
        self.graph.states.append(self.graph.value(name, TensorType(dtype, shape)))
        return self.graph.states[-1]

    def weight(self, *shape: int) -> Value:
        return self.constant(self._random.uniform(-1, 1, shape).astype(np.float32))

    def constant(self, array: Any) -> Value:
        return self.graph.constant(np.asarray(array), f"w{next(self._count)}")

    def output(self, *values: Value) -> Graph:
        """The graph, whose outputs are these."""
        for i, value in enumerate(values):
            value.name = f"y{i}"
            self.graph.outputs.append(value)
        return self.graph

    def __getattr__(self, op: str) -> Any:
        return getattr(self._builder, op)


def assert_equal(actual: Arrays, expected: Arrays, rtol: float = 1e-5, atol: float = 1e-5) -> None:
    """Names, types, shapes and numbers. `atol` is meant for numbers around 1, and grows with larger ones."""
    assert list(actual) == list(expected)
    for name, wanted in expected.items():
        assert actual[name].dtype == wanted.dtype, name
        assert actual[name].shape == wanted.shape, name
        finite = np.abs(wanted[np.isfinite(wanted)], dtype=float) if wanted.dtype != bool else np.zeros(0)
        np.testing.assert_allclose(actual[name], wanted, rtol, atol * max(1, finite.max(initial=0)), err_msg=name)
