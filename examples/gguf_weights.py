"""Read a Llama out of a GGUF file, under the names that Hugging Face gives its weights.

The file keeps most matrices quantised, in blocks of 32 along a row, and the rows of the query and key projections in
the order that llama.cpp's rotary embedding wants. A weight is made f32, and put in order, only when it is asked for:
all of them at once would be several times the file. Needs numpy alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from binary import BadWeights, Reader

# GGUF's number for each type of metadata, as `struct` writes it; two more are strings and arrays.
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
F32 = np.dtype("<f4")
# Blocks of 32 weights: w = scale · q + minimum, two q in a byte, the first 16 in the low halves; and w = scale · q.
Q4_1 = np.dtype([("scale", "<f2"), ("minimum", "<f2"), ("q", "u1", 16)])
Q8_0 = np.dtype([("scale", "<f2"), ("q", "i1", 32)])
DTYPES = {0: (F32, 1), 3: (Q4_1, 32), 8: (Q8_0, 32)}  # and how many weights one item holds

# Hugging Face's name for each of GGUF's, in `model.layers.N` for those of a block.
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
MODEL = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


@dataclass(frozen=True)
class Tensor:
    """One array as it lies in the file."""

    shape: tuple[int, ...]
    items: np.ndarray

    def array(self) -> np.ndarray:
        """f32, as torch has it: a linear layer's weight is [out, in]."""
        if self.items.dtype == F32:
            return self.items.reshape(self.shape)
        q, scale = self.items["q"], self.items["scale"].astype(np.float32)[:, None]
        if self.items.dtype == Q8_0:
            return (q * scale).reshape(self.shape)
        low_high = np.concatenate([q & 15, q >> 4], axis=1)
        return (low_high * scale + self.items["minimum"].astype(np.float32)[:, None]).reshape(self.shape)


class Values(Reader):
    """A Reader of the file's metadata."""

    def string(self) -> str:
        return bytes(self.take(self.integer("Q"))).decode()

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            kind, count = self.integer("I"), self.integer("Q")
            return [self.value(kind) for _ in range(count)]
        if kind not in NUMBERS:
            raise BadWeights(f"metadata of type {kind} is not supported")
        return self.number(NUMBERS[kind])


def read_gguf(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata and tensors, as views of `data`. Layout: ggml's docs/gguf.md, version 3."""
    reader = Values(data)
    if bytes(reader.take(4)) != b"GGUF" or reader.integer("I") != 3:
        raise BadWeights("not a GGUF file of version 3")
    count, entries = reader.integer("Q"), reader.integer("Q")
    metadata = {reader.string(): reader.value(reader.integer("I")) for _ in range(entries)}
    headers = [(reader.string(), *shape_type_offset(reader)) for _ in range(count)]
    start = math.ceil(reader.at / 32) * 32
    tensors = {}
    for name, shape, kind, offset in headers:
        if kind not in DTYPES:
            raise BadWeights(f"{name} is of type {kind}, which is not supported")
        dtype, per_item = DTYPES[kind]
        reader.at = start + offset
        tensors[name] = Tensor(shape, np.frombuffer(reader.take(math.prod(shape) // per_item * dtype.itemsize), dtype))
    return metadata, tensors


def shape_type_offset(reader: Reader) -> tuple[tuple[int, ...], int, int]:
    """GGUF counts axes from the innermost."""
    shape = [reader.integer("Q") for _ in range(reader.integer("I"))]
    return tuple(reversed(shape)), reader.integer("I"), reader.integer("Q")


class LlamaWeights(Mapping[str, np.ndarray]):
    """The names, shapes and row order of Hugging Face's `LlamaForCausalLM`."""

    def __init__(self, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        layers = range(metadata["llama.block_count"])
        self.names = {new: old for old, new in MODEL.items()}
        self.names |= {
            f"model.layers.{i}.{new}.weight": f"blk.{i}.{old}.weight" for i in layers for old, new in LAYER.items()
        }
        self.tensors = tensors
        self.heads = {
            "q_proj": metadata["llama.attention.head_count"],
            "k_proj": metadata["llama.attention.head_count_kv"],
        }
        if set(self.names.values()) != set(tensors):
            raise BadWeights("expected the tensors of a Llama whose head is its embedding")

    def __getitem__(self, name: str) -> np.ndarray:
        array = self.tensors[self.names[name]].array()
        heads = self.heads.get(name.split(".")[-2])
        return array if heads is None else halves(array, heads)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def halves(array: np.ndarray, heads: int) -> np.ndarray:
    """Undo llama.cpp's order: it rotates neighbouring rows of a head, Hugging Face a row of either half."""
    rows, columns = array.shape
    return array.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
