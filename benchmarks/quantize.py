"""4-bit weights for onnxruntime, by its own quantizer: `python -m benchmarks.quantize MODEL.onnx OUT_FOLDER`.

Blocks of 32 with a zero point, as in the other engines' 4-bit models. The output layer of the export is the embedding,
transposed when it runs; its quantizer only takes constants, so that is done first.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

BLOCK = 32
FAST = 4  # accuracy level: products in 8 bits, onnxruntime's fastest kernels


def main(source: Path, out: Path) -> None:
    model = onnx.load(source)
    transpose_constants(model.graph)
    quantizer = MatMulNBitsQuantizer(model, block_size=BLOCK, is_symmetric=False, accuracy_level=FAST)
    quantizer.process()
    out.mkdir()
    quantized: Any = quantizer.model  # an ONNXModel, which onnxruntime declares as a ModelProto
    quantized.save_model_to_file(str(out / "model.onnx"), use_external_data_format=True)


def transpose_constants(graph: onnx.GraphProto) -> None:
    weights = {weight.name: weight for weight in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Transpose" and node.input[0] in weights]:
        (axes,) = (list(a.ints) for a in node.attribute if a.name == "perm")
        array = numpy_helper.to_array(weights[node.input[0]]).transpose(axes)
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), node.output[0]))
        graph.node.remove(node)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
