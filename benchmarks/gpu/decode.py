"""The pace of decoding after so many keys: `python -m benchmarks.gpu.decode ENGINE MODEL TOKENS KEYS ...` prints JSON.

ENGINE: intaglio, with a bundle, or onnxruntime-webgpu, with an ONNX model. What a cache holds does not matter to the
time, so none is filled. Seconds of a token come from the difference of 2 n tokens and n: what a readback costs is in
both.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

RUNS = 3

Decode = Callable[[int, int], None]  # after so many keys, so many tokens


def pace(decode: Decode, tokens: int, keys: int) -> float:
    """Seconds of a token. Where noise hides the difference, it is the mean of all tokens."""
    decode(keys, tokens)

    def seconds(count: int) -> float:
        begin = time.perf_counter()
        decode(keys, count)
        return time.perf_counter() - begin

    twice, once = (min(seconds(n * tokens) for _ in range(RUNS)) for n in (2, 1))
    return (twice - once) / tokens if twice > once else twice / (2 * tokens)


def intaglio(bundle: Path) -> tuple[str, Decode]:
    """The adapter, and decoding on it: steps whose tokens the GPU hands on, and two submits in flight."""
    import intaglio
    from intaglio.runtime.contract import PAST, STEP, TOKENS
    from intaglio.runtime.instruments import golden, measure
    from intaglio.runtime.limits import SLOTS

    loaded = intaglio.load(bundle)
    session = loaded.replays
    (run,) = [r for r in measure.runs(session.plan, golden.read(bundle, loaded.plan), {}) if r.program == STEP]
    session.feed(run.program, run.inputs, run.symbols)

    def decode(keys: int, count: int) -> None:
        flight = None
        for first in range(0, count, SLOTS):
            steps = [{**run.symbols, PAST: keys + i} for i in range(first, min(first + SLOTS, count))]
            before, flight = flight, session.launch(STEP, steps, (TOKENS, keys + first + len(steps), 1))
            if before is not None:
                before.words()
        if flight is not None:
            flight.words()

    return session.device.adapter_info["device"], decode


def onnxruntime(model: Path) -> tuple[str, Decode]:
    """The same with the cache on the GPU, and logits that come back with every token."""
    import onnxruntime as ort

    from benchmarks.engines.onnxruntime import OnnxRuntimeWebGpu, run
    from benchmarks.models import Models

    engine = OnnxRuntimeWebGpu(Models(model.parents[2], 0))
    engine.load("smollm2-q4")
    session = engine._session(model)
    inputs = {i.name: i for i in session.get_inputs()}
    past = {name: i.shape for name, i in inputs.items() if name.startswith("past")}

    def decode(keys: int, count: int) -> None:
        cache = {
            name: ort.OrtValue.ortvalue_from_numpy(np.zeros([1, shape[1], keys, shape[3]], np.float32), "cpu")
            for name, shape in past.items()
        }
        for i in range(count):
            length = keys + i + 1
            feeds = {
                "input_ids": np.zeros((1, 1), np.int64),
                "attention_mask": np.ones((1, length), np.int64),
                "position_ids": np.array([[length - 1]]),
            }
            _, cache = run(session, {k: v for k, v in feeds.items() if k in inputs}, cache, "gpu")

    return engine.adapter(), decode


def main(engine: str, model: str, tokens: str, *keys: str) -> None:
    adapter, decode = {"intaglio": intaglio, "onnxruntime-webgpu": onnxruntime}[engine](Path(model))
    print(json.dumps({"adapter": adapter, "seconds": {count: pace(decode, int(tokens), int(count)) for count in keys}}))


if __name__ == "__main__":
    main(*sys.argv[1:])
