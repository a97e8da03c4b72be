"""A Llama written out as ONNX: one decoder, which takes a key/value cache and gives it back longer.

The graph takes and gives what Hugging Face Optimum's exports do, and spells its parts as they do. Shapes in comments:
B batch, T new tokens, P cached tokens, S = P + T, H heads, G heads of keys and values, D their width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import onnx
from onnx import TensorProto
from onnx_graph import Graph

BATCH, NEW, PAST, ALL = (
    "batch_size",
    "sequence_length",
    "past_sequence_length",
    "past_sequence_length + sequence_length",
)


class Llama(Graph):
    """The parts of a Llama. Each takes values f32[B,T,width] and the name of the module that holds its weights."""

    def __init__(self, weights: Mapping[str, np.ndarray], config: Mapping[str, Any], data: BinaryIO) -> None:
        super().__init__(weights, data)
        self.epsilon = config["rms_norm_eps"]
        self.heads, self.groups = config["num_attention_heads"], config["num_key_value_heads"]
        self.width = config["hidden_size"]
        self.head_dim = self.width // self.heads
        exponents = np.arange(0, self.head_dim, 2, dtype=np.float32) / self.head_dim
        self.frequencies = (config["rope_theta"] ** -exponents).astype(np.float32)

    def rms_norm(self, module: str, x: str) -> str:
        """x / √(mean(x²) + ε) · weight."""
        mean = self.op("ReduceMean", module, self.op("Pow", module, x, self.constant(2.0)), self.constant([-1]))
        deviation = self.op("Sqrt", module, self.op("Add", module, mean, self.constant(self.epsilon)))
        scaled = self.op("Mul", module, x, self.op("Div", module, self.constant(1.0), deviation))
        return self.op("Mul", module, self.weight(f"{module}.weight"), scaled)

    def feed_forward(self, module: str, x: str) -> str:
        """down(silu(gate(x)) · up(x))."""
        gate, up = self.linear(f"{module}.gate_proj", x), self.linear(f"{module}.up_proj", x)
        gate = self.op("Mul", f"{module}.act_fn", gate, self.op("Sigmoid", f"{module}.act_fn", gate))
        return self.linear(f"{module}.down_proj", self.op("Mul", module, gate, up))

    def rotary_tables(self, module: str, positions: str) -> list[str]:
        """Cosines and sines, each f32[B,1,T,D], of the angles by which the position turns each pair in a head."""
        frequencies = self.initializer(f"{module}.inv_freq", self.frequencies[None, :, None])
        batch = self.op("Unsqueeze", module, self.size(module, positions, axis=0), self.constant([0]))
        shape = self.op("Concat", module, batch, self.constant([1, 1]), axis=0)  # 1 keeps an axis as it is
        places = self.op("Unsqueeze", module, positions, self.constant([1]))
        places = self.op("Cast", module, places, to=TensorProto.FLOAT)
        angles = self.op("MatMul", module, self.op("Expand", module, frequencies, shape), places)  # f32[B,D/2,T]
        angles = self.op("Transpose", module, angles, perm=[0, 2, 1])
        angles = self.op("Concat", module, angles, angles, axis=-1)
        return [self.op("Unsqueeze", module, self.op(f, module, angles), self.constant([1])) for f in ("Cos", "Sin")]

    def rotate(self, module: str, x: str, tables: list[str]) -> str:
        """x · cos + (-x₂, x₁) · sin, where x₁ and x₂ are the halves of a head."""
        cosines, sines = tables
        half, end = self.constant([self.head_dim // 2]), self.constant([np.iinfo(np.int64).max])
        first = self.op("Slice", module, x, self.constant([0]), half, self.constant([3]), self.constant([1]))
        second = self.op("Slice", module, x, half, end, self.constant([3]), self.constant([1]))
        turned = self.op("Concat", module, self.op("Neg", module, second), first, axis=-1)
        return self.op("Add", module, self.op("Mul", module, x, cosines), self.op("Mul", module, turned, sines))

    def repeat(self, module: str, x: str) -> str:
        """Keys or values f32[B,G,S,D] to f32[B,H,S,D]: each is read by H/G heads."""
        batch, length = (
            self.op("Unsqueeze", module, self.size(module, x, axis), self.constant([0])) for axis in (0, 2)
        )
        sizes = [self.constant([size]) for size in (self.groups, self.heads // self.groups, self.head_dim, self.heads)]
        groups, readers, head_dim, heads = sizes
        wide = self.op("Concat", module, batch, groups, readers, length, head_dim, axis=0)
        x = self.op("Expand", module, self.op("Unsqueeze", module, x, self.constant([2])), wide)
        return self.op("Reshape", module, x, self.op("Concat", module, batch, heads, length, head_dim, axis=0))

    def attend(self, module: str, query: str, key: str, value: str, visible: str) -> str:
        """`visible` is bool[B,1,T,S]. A row that sees nothing, all padding, gives zeros."""
        key, value = self.repeat(module, key), self.repeat(module, value)
        scale = self.constant(float(self.head_dim**-0.25))  # on either side, so that neither grows large
        query = self.op("Mul", module, query, scale)
        key = self.op("Mul", module, self.op("Transpose", module, key, perm=[0, 1, 3, 2]), scale)
        mask = self.op("Where", module, visible, self.constant(0.0), self.constant(float("-inf")))
        scores = self.op("Add", module, self.op("MatMul", module, query, key), mask)  # f32[B,H,T,S]
        weights = self.op("Softmax", module, scores, axis=-1)
        weights = self.op("Where", module, self.op("IsNaN", module, weights), self.constant(0.0), weights)
        mixed = self.op("Transpose", module, self.op("MatMul", module, weights, value), perm=[0, 2, 1, 3])
        mixed = self.op("Reshape", module, mixed, self.constant([0, 0, self.width]))
        return self.linear(f"{module}.o_proj", mixed)

    def visible(self, module: str, x: str, past: str, attention_mask: str) -> str:
        """bool[B,1,T,S]: the keys that are not padding and not later than the query. `past` is the scalar P."""
        zero, one = self.constant(0), self.constant(1)
        end = self.op("Add", module, past, self.size(module, x, axis=1))
        rows = self.op("Range", module, past, end, one)
        rows = self.op("Unsqueeze", module, rows, self.constant([0, 1, 3]))  # i64[1,1,T,1]
        columns = self.op("Unsqueeze", module, self.op("Range", module, zero, end, one), self.constant([0, 1, 2]))
        causal = self.op("LessOrEqual", module, columns, rows)
        batch = self.op("Range", module, zero, self.size(module, x, axis=0), one)
        batch = self.op("Unsqueeze", module, batch, self.constant([1, 2, 3]))
        counts = self.op("Cast", module, attention_mask, to=TensorProto.BOOL)  # bool[B,S], looked up as [B·S]
        place = self.op("Add", module, columns, self.op("Mul", module, batch, self.size(module, counts, axis=1)))
        counts = self.op("Gather", module, self.op("Reshape", module, counts, self.constant([-1])), place, axis=0)
        return self.op("And", module, causal, counts)


def decoder(weights: Mapping[str, np.ndarray], config: Mapping[str, Any], data: BinaryIO) -> onnx.ModelProto:
    """Token ids i64[B,T], mask i64[B,S], positions i64[B,T] and cache to logits f32[B,T,vocabulary] and the cache.

    Weights go into `data`, which is to lie beside the model.
    """
    graph, model = Llama(weights, config, data), "model"
    cache = [BATCH, graph.groups, PAST, graph.head_dim]
    ids, mask, positions = (
        graph.input(name, [BATCH, length], TensorProto.INT64)
        for name, length in (("input_ids", NEW), ("attention_mask", ALL), ("position_ids", NEW))
    )
    layers = range(config["num_hidden_layers"])
    past = [[graph.input(f"past_key_values.{i}.{part}", cache) for part in ("key", "value")] for i in layers]

    embedding = graph.weight(f"{model}.embed_tokens.weight")
    x = graph.op("Gather", f"{model}.embed_tokens", embedding, ids, axis=0)
    visible = graph.visible(model, x, graph.size(model, past[0][0], axis=2), mask)
    tables = graph.rotary_tables(f"{model}.rotary_emb", positions)
    for i in layers:
        layer, module = f"{model}.layers.{i}", f"{model}.layers.{i}.self_attn"
        normed = graph.rms_norm(f"{layer}.input_layernorm", x)
        query, key, value = (
            graph.split_heads(f"{module}.{part}", graph.linear(f"{module}.{part}", normed), heads)
            for part, heads in (("q_proj", graph.heads), ("k_proj", graph.groups), ("v_proj", graph.groups))
        )
        query, key = graph.rotate(module, query, tables), graph.rotate(module, key, tables)
        key, value = (graph.op("Concat", module, *pair, axis=2) for pair in zip(past[i], (key, value), strict=True))
        for part, present in (("key", key), ("value", value)):
            graph.output(f"present.{i}.{part}", present, [BATCH, graph.groups, ALL, graph.head_dim])
        x = graph.op("Add", layer, x, graph.attend(module, query, key, value, visible))
        normed = graph.rms_norm(f"{layer}.post_attention_layernorm", x)
        x = graph.op("Add", layer, x, graph.feed_forward(f"{layer}.mlp", normed))

    x = graph.rms_norm(f"{model}.norm", x)
    logits = graph.op("MatMul", "lm_head", x, graph.op("Transpose", "lm_head", embedding, perm=[1, 0]))
    graph.output("logits", logits, [BATCH, NEW, config["vocab_size"]])
    graph.outputs.insert(0, graph.outputs.pop())  # Optimum's order: logits, then the cache
    return graph.model("smollm2_onnx.py")
