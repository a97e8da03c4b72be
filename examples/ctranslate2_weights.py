"""Read Whisper's weights out of a CTranslate2 `model.bin`, under the names that Hugging Face gives them.

The file is a list of named arrays; CTranslate2 fuses the projections that read the same input (query, key and value
of self-attention; key and value of cross-attention), so they are split again here. Needs numpy alone.
"""

from __future__ import annotations

import numpy as np
from binary import BadWeights, Reader

# The number that stands for each type in the file; bfloat16, number 5, is unknown to numpy.
DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


class Variables(Reader):
    """A Reader of the file's strings and arrays."""

    def string(self) -> str:
        return bytes(self.take(self.integer("H"))).rstrip(b"\0").decode()

    def array(self) -> np.ndarray:
        shape = [self.integer("I") for _ in range(self.integer("B"))]
        dtype = self.integer("B")
        raw = self.take(self.integer("I"))
        if dtype not in DTYPES or len(raw) != np.dtype(DTYPES[dtype]).itemsize * int(np.prod(shape)):
            raise BadWeights(
                f"an array of type {dtype}, shape {shape} and {len(raw)} bytes, which matches no supported type"
            )
        return np.frombuffer(raw, DTYPES[dtype]).reshape(shape)


def read_variables(data: bytes) -> dict[str, np.ndarray]:
    """Every array in the file, as views of `data`. Layout: docs of CTranslate2's `ModelSpec`, binary version 6."""
    reader = Variables(data)
    version, spec = reader.integer("I"), reader.string()
    if version != 6 or spec != "WhisperSpec":
        raise BadWeights(f"not a Whisper of CTranslate2's binary version 6: it says version {version}, {spec!r}")
    reader.integer("I")  # the revision of WhisperSpec
    return {reader.string(): reader.array() for _ in range(reader.integer("I"))}


def whisper_weights(variables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The names and shapes of Hugging Face's `WhisperForConditionalGeneration`; a linear layer's weight is [out, in].

    The key projections have no bias: CTranslate2 stores zeros for them in its fused bias, and these are dropped.
    """
    weights: dict[str, np.ndarray] = {}

    def both(old: str, new: str, rows: slice = slice(None), kinds: tuple[str, ...] = ("weight", "bias")) -> None:
        old_kinds = {"weight": "gamma", "bias": "beta"} if old.endswith("layer_norm") else {}
        for kind in kinds:
            weights[f"{new}.{kind}"] = variables[f"{old}/{old_kinds.get(kind, kind)}"][rows]

    try:
        for side in ("encoder", "decoder"):
            model = f"model.{side}"
            weights[f"{model}.embed_positions.weight"] = variables[f"{side}/position_encodings/encodings"]
            both(f"{side}/layer_norm", f"{model}.layer_norm")
            for layer in range(count_layers(variables, side)):
                old, new = f"{side}/layer_{layer}", f"{model}.layers.{layer}"
                width = variables[f"{old}/self_attention/linear_0/weight"].shape[1]
                first, second, third = (slice(i * width, (i + 1) * width) for i in range(3))
                both(f"{old}/self_attention/layer_norm", f"{new}.self_attn_layer_norm")
                both(f"{old}/self_attention/linear_0", f"{new}.self_attn.q_proj", first)
                both(f"{old}/self_attention/linear_0", f"{new}.self_attn.k_proj", second, ("weight",))
                both(f"{old}/self_attention/linear_0", f"{new}.self_attn.v_proj", third)
                both(f"{old}/self_attention/linear_1", f"{new}.self_attn.out_proj")
                if side == "decoder":
                    both(f"{old}/attention/layer_norm", f"{new}.encoder_attn_layer_norm")
                    both(f"{old}/attention/linear_0", f"{new}.encoder_attn.q_proj")
                    both(f"{old}/attention/linear_1", f"{new}.encoder_attn.k_proj", first, ("weight",))
                    both(f"{old}/attention/linear_1", f"{new}.encoder_attn.v_proj", second)
                    both(f"{old}/attention/linear_2", f"{new}.encoder_attn.out_proj")
                both(f"{old}/ffn/layer_norm", f"{new}.final_layer_norm")
                both(f"{old}/ffn/linear_0", f"{new}.fc1")
                both(f"{old}/ffn/linear_1", f"{new}.fc2")
        both("encoder/conv1", "model.encoder.conv1")
        both("encoder/conv2", "model.encoder.conv2")
        weights["model.decoder.embed_tokens.weight"] = variables["decoder/embeddings/weight"]
    except KeyError as missing:
        raise BadWeights(f"it lacks the array {missing}") from None
    return weights


def count_layers(variables: dict[str, np.ndarray], side: str) -> int:
    return len({name.split("/")[1] for name in variables if name.startswith(f"{side}/layer_") and name.count("/") > 2})
