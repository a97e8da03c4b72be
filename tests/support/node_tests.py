"""ONNX's own node tests, which define what each operator means, on the adapter.

    python tests/support/node_tests.py [PATTERN]    runs those whose name matches, and prints what did not pass
    python tests/support/node_tests.py --list       runs all, and rewrites node_tests/unsupported.txt

node_tests/scope.txt names the tests of what we mean to compile, core.txt those of what exports of Whisper and language
models are made of, and unsupported.txt all that are refused, each with the reason.
"""

from __future__ import annotations

import fnmatch
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner
from parity import graph_of, opened

from intaglio.codegen.bundle import write
from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.models.model import Model
from intaglio.compiler.passes.pipeline import Trace

LISTS = Path(__file__).parent / "node_tests"
VERDICTS = "passed", "unsupported", "wrong", "crashed"

# Inputs that decide shapes, or what is computed at all: they are constants in real models, and are bound.
BOUND = {
    "AffineGrid": "size",
    "BlackmanWindow": "x",
    "CenterCropPad": "shape",
    "Col2Im": "image_shape block_shape",
    "Compress": "condition",
    "ConstantOfShape": "x",
    "CumProd": "axis",
    "CumSum": "axis",
    "DFT": "axis dft_length",
    "Expand": "new_shape",
    "HammingWindow": "x",
    "HannWindow": "x",
    "If": "cond",
    "OneHot": "depth",
    "Pad": "pads axes",
    "Range": "start limit delta",
    "ReduceL1": "axes",
    "ReduceL2": "axes",
    "ReduceLogSum": "axes",
    "ReduceLogSumExp": "axes",
    "ReduceMax": "axes",
    "ReduceMean": "axes",
    "ReduceMin": "axes",
    "ReduceProd": "axes",
    "ReduceSum": "axes",
    "ReduceSumSquare": "axes",
    "Reshape": "shape",
    "Resize": "roi scales sizes",
    "STFT": "frame_step frame_length",
    "Slice": "starts ends axes steps",
    "Split": "split",
    "Squeeze": "axes",
    "Tile": "y",
    "TopK": "k",
    "Unsqueeze": "axes",
    "Upsample": "scales",
}

# Where the expected numbers are what rounding left of zero, or zero where others are left with that.
NOISE = dict.fromkeys(["test_basic_deform_conv_with_padding", "test_dft_inverse", "test_dft_inverse_opset19"], 1e-6)


@dataclass(frozen=True)
class Result:
    """What came of a test, and why where it did not pass."""

    name: str
    verdict: str
    why: str = ""


def names(which: str) -> list[str]:
    """The tests that a list names."""
    return [line.split(": ")[0] for line in (LISTS / f"{which}.txt").read_text().splitlines()]


@cache
def cases() -> dict[str, TestCase]:
    """Every node test of the installed onnx, which makes them in memory."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return {case.name: case for case in load_model_tests(kind="node")}


def run(name: str) -> Result:
    """Compile one test and run it on all of its data."""
    case = cases()[name]
    try:
        model = _model(case)
        for data in case.data_sets or []:
            inputs, outputs = ([_array(tensor) for tensor in tensors] for tensors in data)
            actual = _outputs(model, dict(zip((i.name for i in model.graph.input), inputs, strict=False)))
            actual = [y.astype(wanted.dtype) if _ours(wanted) else y for y, wanted in zip(actual, outputs, strict=True)]
            Runner.assert_similar_outputs(outputs, actual, case.rtol, NOISE.get(name, case.atol))
    except UnsupportedOperator as e:
        return Result(name, "unsupported", str(e))
    except AssertionError as e:
        return Result(name, "wrong", str(e).strip())
    except Exception as e:  # whatever it is, it is a bug
        return Result(name, "crashed", f"{type(e).__name__}: {e}")
    return Result(name, "passed")


def run_all(which: Iterable[str]) -> Iterator[Result]:
    return map(run, which)


def _array(tensor: Any) -> Any:
    """An array; a sequence stays one, for what takes it is refused."""
    if isinstance(tensor, onnx.TensorProto):
        return onnx.numpy_helper.to_array(tensor)
    return tensor if isinstance(tensor, list) else np.asarray(tensor)


def _ours(array: np.ndarray) -> str:
    """The type in which users see one that numpy lacks, else nothing."""
    return {"bfloat16": "float32", "int4": "int8", "uint4": "uint8"}.get(array.dtype.name, "")


def _outputs(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What the compiled model makes of its inputs, of which those that decide shapes are bound."""
    operator = _operator(model)
    bound = {name: feeds.pop(name) for name in BOUND.get(operator, "").split() if name in feeds}
    with tempfile.TemporaryDirectory() as folder:
        write.write(Model("model", {"main": graph_of(model, bound)}), Path(folder, "bundle"), Trace())
        plain = {name: array.astype(_ours(array) or array.dtype) for name, array in feeds.items()}
        made = opened(Path(folder, "bundle")).run("main", plain)
    return list(made.values())


def _operator(model: onnx.ModelProto) -> str:
    """The operator that is tested, also where it is spelled out by others."""
    name = re.sub(r"_expanded.*", "", model.graph.name)
    tested = _model(cases()[name]) if name in cases() else model
    return tested.graph.node[0].op_type


def _model(case: TestCase) -> onnx.ModelProto:
    """The model of a test, which node tests have in memory."""
    assert case.model is not None
    return case.model


def summary(results: Iterable[Result]) -> str:
    """One line: how many of each verdict."""
    counts = Counter(r.verdict for r in results)
    return ", ".join(f"{counts[v]} {v}" for v in VERDICTS)


def main() -> int:
    pattern = sys.argv[1] if len(sys.argv) > 1 else "*"
    chosen = [n for n in cases() if pattern == "--list" or fnmatch.fnmatch(n, f"*{pattern}*")]
    started, results = time.monotonic(), []
    for result in run_all(chosen):
        results.append(result)
        if result.verdict != "passed":
            print(f"{result.verdict}: {result.name}: {' '.join(result.why.split())[:300]}", flush=True)
    if pattern == "--list":
        refused = sorted((r for r in results if r.verdict == "unsupported"), key=lambda r: r.name)
        listed = [f"{r.name}: {' '.join(r.why.split())}\n" for r in refused]
        (LISTS / "unsupported.txt").write_text("".join(listed))
    print(f"{summary(results)}, in {time.monotonic() - started:.0f} s")
    return int(any(r.verdict in ("wrong", "crashed") for r in results))


if __name__ == "__main__":
    sys.exit(main())
