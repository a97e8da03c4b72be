"""Whisper written out as ONNX: an encoder, and a decoder with or without a key/value cache.

The graphs take and give what Hugging Face Optimum's exports do, under the same names, so whatever reads those reads
these. Shapes in comments: B batch, T new tokens, P cached tokens, S encoder positions, H heads, D = width / H.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto
from onnx_graph import Graph

EPSILON = 1e-5  # of every layer norm, as in torch
PRODUCER = "whisper_onnx.py"


class Whisper(Graph):
    """The parts of a Whisper. Each takes values f32[B,T,width] and the name of the module that holds its weights."""

    def layer_norm(self, module: str, x: str) -> str:
        scale, bias = self.weight(f"{module}.weight"), self.weight(f"{module}.bias")
        return self.op("LayerNormalization", module, x, scale, bias, axis=-1, epsilon=EPSILON)

    def gelu(self, module: str, x: str) -> str:
        """x / 2 · (1 + erf(x / √2)): the exact form, not the tanh approximation."""
        erf = self.op("Erf", module, self.op("Div", module, x, self.constant(float(np.sqrt(2.0)))))
        gated = self.op("Mul", module, x, self.op("Add", module, erf, self.constant(1.0)))
        return self.op("Mul", module, gated, self.constant(0.5))

    def feed_forward(self, layer: str, x: str) -> str:
        hidden = self.gelu(layer, self.linear(f"{layer}.fc1", self.layer_norm(f"{layer}.final_layer_norm", x)))
        return self.op("Add", layer, x, self.linear(f"{layer}.fc2", hidden))

    def query(self, module: str, x: str, heads: int) -> str:
        """Queries f32[B,H,T,D], already scaled by 1/√D."""
        scale = float((self.weights[f"{module}.q_proj.weight"].shape[0] // heads) ** -0.5)
        projected = self.linear(f"{module}.q_proj", x)
        return self.split_heads(f"{module}.q_proj", self.op("Mul", module, projected, self.constant(scale)), heads)

    def key_value(self, module: str, x: str, heads: int) -> list[str]:
        parts = (f"{module}.k_proj", f"{module}.v_proj")
        return [self.split_heads(part, self.linear(part, x), heads) for part in parts]

    def attend(self, module: str, query: str, key_value: list[str], mask: str = "") -> str:
        key, value = key_value
        scores = self.op("MatMul", module, query, self.op("Transpose", module, key, perm=[0, 1, 3, 2]))  # f32[B,H,T,S]
        if mask:
            scores = self.op("Add", module, scores, mask)
        mixed = self.op("MatMul", module, self.op("Softmax", module, scores, axis=-1), value)
        mixed = self.op("Transpose", module, mixed, perm=[0, 2, 1, 3])
        width = self.weights[f"{module}.out_proj.weight"].shape[0]
        return self.linear(f"{module}.out_proj", self.op("Reshape", module, mixed, self.constant([0, 0, width])))

    def causal_mask(self, module: str, start: str, end: str) -> str:
        """f32[1,1,T,P+T] to be added to scores: 0 where a query at start, ..., end-1 may look, else the lowest f32."""
        zero, one = self.constant(0), self.constant(1)
        rows = self.op("Unsqueeze", module, self.op("Range", module, start, end, one), self.constant([1]))
        columns = self.op("Unsqueeze", module, self.op("Range", module, zero, end, one), self.constant([0]))
        visible = self.op("LessOrEqual", module, columns, rows)
        mask = self.op("Where", module, visible, self.constant(0.0), self.constant(float(np.finfo(np.float32).min)))
        return self.op("Unsqueeze", module, mask, self.constant([0, 1]))


def encoder(weights: Mapping[str, np.ndarray], config: Mapping[str, int]) -> onnx.ModelProto:
    """Log-mel spectrogram f32[B,80,3000] to hidden states f32[B,1500,width]."""
    graph, model, heads = Whisper(weights), "model.encoder", config["encoder_attention_heads"]
    positions, width = config["max_source_positions"], config["d_model"]
    x = graph.input("input_features", ["batch_size", config["num_mel_bins"], 2 * positions])
    for conv, stride in ("conv1", 1), ("conv2", 2):
        weight, bias = graph.weight(f"{model}.{conv}.weight"), graph.weight(f"{model}.{conv}.bias")
        shape = {"kernel_shape": [3], "strides": [stride], "pads": [1, 1], "dilations": [1], "group": 1}
        x = graph.gelu(model, graph.op("Conv", f"{model}.{conv}", x, weight, bias, **shape))
    x = graph.op("Transpose", model, x, perm=[0, 2, 1])
    x = graph.op("Add", model, x, graph.weight(f"{model}.embed_positions.weight"))
    for i in range(config["encoder_layers"]):
        layer, module = f"{model}.layers.{i}", f"{model}.layers.{i}.self_attn"
        normed = graph.layer_norm(f"{layer}.self_attn_layer_norm", x)
        attended = graph.attend(module, graph.query(module, normed, heads), graph.key_value(module, normed, heads))
        x = graph.feed_forward(layer, graph.op("Add", layer, x, attended))
    x = graph.layer_norm(f"{model}.layer_norm", x)
    graph.output("last_hidden_state", x, ["batch_size", positions, width])
    return graph.model(PRODUCER)


def decoder(weights: Mapping[str, np.ndarray], config: Mapping[str, int], with_past: bool) -> onnx.ModelProto:
    """Token ids i64[B,T] to logits f32[B,T,vocabulary].

    Without past it takes the encoder's hidden states and gives the keys and values of both attentions. With past it
    takes those of earlier tokens and of the encoder, and gives the self-attention's, now longer by T.
    """
    graph, model, heads = Whisper(weights), "model.decoder", config["decoder_attention_heads"]
    new, past, source = "decoder_sequence_length", "past_decoder_sequence_length", "encoder_sequence_length"
    ids = graph.input("input_ids", ["batch_size", new], TensorProto.INT64)
    states = ["batch_size", source, config["d_model"]]
    hidden = "" if with_past else graph.input("encoder_hidden_states", states)

    def cached(layer: int, side: str, length: str) -> list[str]:
        shape = ["batch_size", heads, length, config["d_model"] // heads]
        return [graph.input(f"past_key_values.{layer}.{side}.{part}", shape) for part in ("key", "value")]

    def give(layer: int, side: str, length: str, values: list[str]) -> None:
        shape = ["batch_size", heads, length, config["d_model"] // heads]
        for part, value in zip(("key", "value"), values, strict=True):
            graph.output(f"present.{layer}.{side}.{part}", value, shape)

    self_past = [cached(i, "decoder", past) if with_past else [] for i in range(config["decoder_layers"])]
    start = graph.size(model, self_past[0][0], axis=2) if with_past else graph.constant(0)
    end = graph.op("Add", model, start, graph.size(model, ids, axis=1))
    mask = graph.causal_mask(model, start, end)
    positions = graph.op("Range", model, start, end, graph.constant(1))
    embedding, table = (graph.weight(f"{model}.{name}.weight") for name in ("embed_tokens", "embed_positions"))
    x = graph.op("Gather", f"{model}.embed_tokens", embedding, ids, axis=0)
    x = graph.op("Add", model, x, graph.op("Gather", f"{model}.embed_positions", table, positions, axis=0))

    for i in range(config["decoder_layers"]):
        layer, module = f"{model}.layers.{i}", f"{model}.layers.{i}.self_attn"
        normed = graph.layer_norm(f"{layer}.self_attn_layer_norm", x)
        query, key_value = graph.query(module, normed, heads), graph.key_value(module, normed, heads)
        if with_past:
            pairs = zip(self_past[i], key_value, strict=True)
            key_value = [graph.op("Concat", module, *pair, axis=2) for pair in pairs]
        give(i, "decoder", f"{past} + {new}" if with_past else new, key_value)
        x = graph.op("Add", layer, x, graph.attend(module, query, key_value, mask))

        module = f"{layer}.encoder_attn"
        query = graph.query(module, graph.layer_norm(f"{layer}.encoder_attn_layer_norm", x), heads)
        key_value = cached(i, "encoder", source) if with_past else graph.key_value(module, hidden, heads)
        if not with_past:
            give(i, "encoder", source, key_value)
        x = graph.feed_forward(layer, graph.op("Add", layer, x, graph.attend(module, query, key_value)))

    x = graph.layer_norm(f"{model}.layer_norm", x)
    logits = graph.op("MatMul", "proj_out", x, graph.op("Transpose", "proj_out", embedding, perm=[1, 0]))
    graph.output("logits", logits, ["batch_size", new, config["vocab_size"]])
    graph.outputs.insert(0, graph.outputs.pop())  # Optimum's order: logits, then the cache
    return graph.model(PRODUCER)
