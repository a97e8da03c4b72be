"""The log-mel spectrogram of Whisper as an ONNX model, which is compiled, checked and run like any other.

A short-time Fourier transform is a convolution with windowed sines and cosines. The sum of the squares of both,
weighted by the mel filters, is the power in each band.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

N_FFT, HOP, RATE = 400, 160, 16_000
FLOOR = 1e-10  # the smallest power; smaller ones are replaced by it
SILENCE = -10.0  # log10 of FLOOR: the state `loudest` before the first window
RANGE = 8.0  # the spectrogram reaches this many powers of ten below its loudest value


def filters(bands: int) -> np.ndarray:
    """Return triangular filters [201, bands] of Slaney's Auditory Toolbox (the default of librosa).

    The mel scale is linear below 1 kHz, with 200/3 Hz per mel. Above, it is logarithmic, with 27 mels for a factor of
    6.4.
    """
    top = _mel(np.array(RATE / 2))
    edges = _hertz(np.linspace(0, top, bands + 2))
    frequencies = np.linspace(0, RATE / 2, N_FFT // 2 + 1)
    rising = (frequencies[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - frequencies[:, None]) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))


def _mel(hertz: np.ndarray) -> np.ndarray:
    return np.where(hertz < 1000, hertz * 3 / 200, 15 + 27 * np.log(np.maximum(hertz, 1) / 1000) / np.log(6.4))


def _hertz(mels: np.ndarray) -> np.ndarray:
    return np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(np.log(6.4) * (mels - 15) / 27))


def fourier() -> np.ndarray:
    """Return windowed cosines, then sines, [2 * 204, 1, 400]. Zero rows pad the 201 rows of each to 204."""
    n = np.arange(N_FFT)
    angles = 2 * np.pi * np.outer(np.arange(N_FFT // 2 + 1), n) / N_FFT
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / N_FFT)
    waves = [np.pad(f(angles) * hann, [(0, 3), (0, 0)]) for f in (np.cos, np.sin)]
    return np.concatenate(waves)[:, None]


def model(bands: int, frames: int) -> onnx.ModelProto:
    """Return the model that computes the spectrogram of a window of a recording.

    audio f32[1,1,160*frames+400], loudest f32[1,1,1], opening i64[1], padding i64[1] ->
    input_features f32[1,bands,frames], loudest_now f32[1,1,1].

    `audio` has 200 samples of context at both ends. If `opening` is 1, the window opens the recording, and its first
    200 samples are replaced by the mirror image of those after the recording's first sample. The last `padding` frames
    lie after the recording, and their features are zeros. `loudest` is the largest log10 power of the earlier windows,
    or -10 if there are none. It sets the floor. `loudest_now` also includes this window.
    """
    half = N_FFT // 2
    weights = {
        "fourier": fourier(),
        "filters": np.concatenate([np.pad(filters(bands), [(0, 3), (0, 0)])] * 2),
        "floor": FLOOR,
        "per_decade": 1 / np.log(10),
        "range": RANGE,
        "four": 4.0,
        "quarter": 0.25,
        "in_recording": np.repeat([1.0, 0.0], frames).reshape(1, -1, 1),
    }
    ints = {"zero": [0], "frames": [frames], "last": [-1], "time": [1], "two": [2]}
    ints |= {"half": [half], "whole": [N_FFT], "end": [HOP * frames + N_FFT]}
    nodes = [
        ("Slice", ["audio", "zero", "half", "two"], "before", {}),
        ("Slice", ["audio", "whole", "half", "two", "last"], "mirrored", {}),
        ("Concat", ["before", "mirrored"], "either", {"axis": 2}),
        ("Mul", ["opening", "half"], "first", {}),
        ("Add", ["first", "half"], "behind", {}),
        ("Slice", ["either", "first", "behind", "two"], "context", {}),
        ("Slice", ["audio", "half", "end", "two"], "rest", {}),
        ("Concat", ["context", "rest"], "samples", {"axis": 2}),
        ("Conv", ["samples", "fourier"], "waves", {"strides": [HOP]}),
        ("Transpose", ["waves"], "rows", {"perm": [0, 2, 1]}),
        ("Mul", ["rows", "rows"], "power", {}),
        ("Slice", ["power", "zero", "frames", "time"], "kept", {}),
        ("MatMul", ["kept", "filters"], "mel", {}),
        ("Max", ["mel", "floor"], "clipped", {}),
        ("Log", ["clipped"], "natural", {}),
        ("Mul", ["natural", "per_decade"], "log", {}),
        ("ReduceMax", ["log", "last"], "row_peak", {}),
        ("ReduceMax", ["row_peak", "time"], "peak", {}),
        ("Max", ["peak", "loudest"], "loudest_now", {}),
        ("Sub", ["loudest_now", "range"], "bottom", {}),
        ("Max", ["log", "bottom"], "ranged", {}),
        ("Add", ["ranged", "four"], "shifted", {}),
        ("Mul", ["shifted", "quarter"], "scaled", {}),
        ("Add", ["padding", "frames"], "mask_end", {}),
        ("Slice", ["in_recording", "padding", "mask_end", "time"], "mask", {}),
        ("Mul", ["scaled", "mask"], "masked", {}),
        ("Transpose", ["masked"], "input_features", {"perm": [0, 2, 1]}),
    ]
    graph = helper.make_graph(
        [helper.make_node(op, ins, [out], name=f"mel/{out}", **attrs) for op, ins, out, attrs in nodes],
        "mel",
        [
            helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, 1, HOP * frames + N_FFT]),
            helper.make_tensor_value_info("loudest", TensorProto.FLOAT, [1, 1, 1]),
            helper.make_tensor_value_info("opening", TensorProto.INT64, [1]),
            helper.make_tensor_value_info("padding", TensorProto.INT64, [1]),
        ],
        [
            helper.make_tensor_value_info("input_features", TensorProto.FLOAT, [1, bands, frames]),
            helper.make_tensor_value_info("loudest_now", TensorProto.FLOAT, [1, 1, 1]),
        ],
        [numpy_helper.from_array(np.asarray(w, np.float32), name) for name, w in weights.items()]
        + [numpy_helper.from_array(np.array(w, np.int64), name) for name, w in ints.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
