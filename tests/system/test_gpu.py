"""The script for a machine with a GPU: its small measurements on this adapter, its arithmetic, its tables."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks import adapter
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import decode, micro, report
from benchmarks.gpu.models import replaced, weights
from benchmarks.models import Models
from intaglio.runtime.device import open_device
from intaglio.runtime.instruments.clock import FEATURE

CARD = adapter.Adapter("a card", "DiscreteGPU", "Vulkan", "a driver")


def test_small_measurements() -> None:
    device = open_device({FEATURE})
    assert 0 <= micro.dispatches(device) < 0.1 and 0 < micro.encoding(device) < 0.1
    rates = micro.reading(device, 1 << 14)
    assert [*rates] == ["buffer", "texture"] and all(1e6 < rate < 1e14 for rate in rates.values())


def test_the_pace_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """A readback of 5 s, and 1 s after each token."""
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def decoding(keys: int, count: int) -> None:
        clock[0] += 5 + count

    assert decode.pace(decoding, 32, 128) == pytest.approx(1)


def test_weights_repeat_and_small_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    arrays = {"large": np.random.default_rng(0).random((64, 64), np.float32), "small": np.arange(4, dtype=np.float32)}
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "large"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    onnx.save(helper.make_model(graph), tmp_path / "source" / "model.onnx")
    (tmp_path / "source" / "config.json").write_text("{}")
    replaced(tmp_path / "source", tmp_path / "target")
    tensors = onnx.load(tmp_path / "target" / "model.onnx").graph.initializer
    result = {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}
    np.testing.assert_array_equal(result["small"], arrays["small"])
    np.testing.assert_array_equal(result["large"], weights((64, 64)))
    assert len(np.unique(result["large"])) == 251 and (tmp_path / "target" / "config.json").exists()


def test_what_is_measured(tmp_path: Path) -> None:
    """The most important first; ours, ours as a processor's, and theirs."""
    names = [each.name for each in gpu.measurements(Models(tmp_path, 512), CARD, smoke=True)]
    assert names[:3] == ["ceilings", "micro", "smollm2-q4: intaglio"] and names[-1] == "profile"
    assert {"matvec: intaglio", "matvec: intaglio, class cpu", "matvec: onnxruntime-webgpu"} < set(names)
    full = [each.name for each in gpu.measurements(Models(tmp_path, 512), CARD, smoke=False)]
    assert {"llama-1b-4: intaglio", "llama-1b-8: intaglio", "llama-8b-2: intaglio", "llama-8b-4: intaglio"} < set(full)
    forced = [each for each in gpu.measurements(Models(tmp_path, 512), CARD, smoke=True) if "class cpu" in each.name]
    assert all(each.variables == {gpu.CLASS: "cpu"} for each in forced)


def test_a_measurement_that_fails_or_takes_too_long_says_so() -> None:
    failing = gpu.Measurement("a", ["-c", "raise ValueError('no such thing')"])
    assert gpu.measured(failing, 60) == {"skipped": "ValueError: no such thing"}
    slow = gpu.Measurement("a", ["-c", "import time; time.sleep(60)"])
    assert gpu.measured(slow, 0.5) == {"skipped": "it took more than 0 s"}
    assert gpu.measured(gpu.Measurement("a", ["-c", "print('{\"b\": 1}')"]), 60) == {"b": 1}
    assert sys.executable


def test_tables() -> None:
    matvec = {"runs": {"matvec": [{"wall": 0.002}]}, "work": {"matvec": [1e8, 1.34e8]}}
    results = {
        "adapter": "a card, a driver",
        "ceilings": {"flops": 60e12, "bandwidth": 100e9},
        "micro": {"dispatch": 2e-6, "encoding": 1e-6, "read buffer": 90e9, "read texture": 45e9},
        "smollm2-q4: intaglio": {"seconds": {"128": 0.001, "1024": 0.002}},
        "smollm2-q4: intaglio, class cpu": {"seconds": {"128": 0.004}},
        "smollm2-q4: onnxruntime-webgpu": {"seconds": {"128": 0.0015}},
        "matvec: intaglio": matvec,
        "llama-8b-2: intaglio": {"seconds": {"128": 0.004}},
        "llama-8b-4: intaglio": {"seconds": {"128": 0.006}},
        "profile": {"skipped": "time is up"},
    }
    text = report.markdown(results)
    assert text.startswith("a card, a driver.\n")
    assert "| a dispatch that waits for the one before | 2 µs |" in text and "| as a texture | 45 GB/s |" in text
    assert "| SmolLM2 4 bits, a token after 128 keys | 1 ms | 4 ms | 1.5 ms | 1.5 |" in text
    assert "| SmolLM2 4 bits, a token after 1024 keys | 2 ms | – | – | – |" in text
    assert "| matvec 16384 x 4096, 67% of the ceiling | 2 ms | – | – | – |" in text
    assert "| llama-8b, 32 layers | 128 | 34 ms | 29 |" in text  # 4 ms and 30 layers of 1 ms
    assert "- profile: time is up" in text
