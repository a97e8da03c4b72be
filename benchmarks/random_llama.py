"""A Llama with random weights, as an exporter leaves it: `python -m benchmarks.random_llama LAYERS FOLDER`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

Weights = Callable[[tuple[int, ...]], np.ndarray]
NARROW = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def write(config: Mapping[str, Any], folder: Path, seed: int = 0, weight: Weights | None = None) -> None:
    """Write model.onnx, its weights and config.json into a folder, which must exist. `config`: fields of NARROW.

    weight: the f32 array of a shape, in the place of random numbers.
    """
    # The examples are programs, not a package: they find each other beside themselves.
    examples = str(Path(__file__).parent.parent / "examples")
    if examples not in sys.path:
        sys.path.insert(0, examples)
    from llama_graph import decoder

    random = np.random.default_rng(seed)
    weight = weight or (lambda shape: (random.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32))
    weights = {name: weight(shape) for name, shape in _shapes(config).items()}
    with (folder / "model.onnx_data").open("wb") as data:
        onnx.save(decoder(weights, config, data), folder / "model.onnx")
    (folder / "config.json").write_text(json.dumps(config))


def _shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    width, inner = config["hidden_size"], config["intermediate_size"]
    cached = width // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], width), "model.norm.weight": (width,)}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        shapes |= {f"{layer}.{norm}.weight": (width,) for norm in ("input_layernorm", "post_attention_layernorm")}
        shapes |= {f"{layer}.self_attn.{x}_proj.weight": (width, width) for x in "qo"}
        shapes |= {f"{layer}.self_attn.{x}_proj.weight": (cached, width) for x in "kv"}
        shapes |= {f"{layer}.mlp.{x}_proj.weight": (inner, width) for x in ("gate", "up")}
        shapes |= {f"{layer}.mlp.down_proj.weight": (width, inner)}
    return shapes


if __name__ == "__main__":
    write(NARROW | {"num_hidden_layers": int(sys.argv[1])}, Path(sys.argv[2]))
