"""The same weights for ggml's engines: `python -m benchmarks.weights gguf|ggml DOWNLOADS OUT`.

llama.cpp reads the GGUF file as the package carries it; whisper.cpp reads a format of its own, which is written here
after models/convert-h5-to-ggml.py of its sources.
"""

from __future__ import annotations

import json
import struct
import sys
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

sys.path.append(str(Path(__file__).parent.parent / "examples"))

from packages import fetch
from smollm2_onnx import WHEEL
from whisper_onnx import read_whisper

from intaglio.compiler.mel import filters

MAGIC = 0x67676D6C
F32, F16 = 0, 1
# OpenAI's name for each of Hugging Face's, which whisper.cpp keeps.
NAMES = {
    "layers": "blocks",
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "self_attn": "attn",
    "encoder_attn": "cross_attn",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "out_proj": "out",
    "final_layer_norm": "mlp_ln",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "embed_tokens": "token_embedding",
}
ENDS = {"encoder.layer_norm": "encoder.ln_post", "decoder.layer_norm": "decoder.ln"}
PLACES = {"encoder.embed_positions.weight": "encoder.positional_embedding"}
PLACES |= {"decoder.embed_positions.weight": "decoder.positional_embedding"}


def gguf(downloads: Path, out: Path) -> None:
    with zipfile.ZipFile(fetch(WHEEL, downloads)) as archive:
        out.write_bytes(archive.read(next(name for name in archive.namelist() if name.endswith(".gguf"))))


def ggml(downloads: Path, out: Path) -> None:
    whisper = read_whisper("tiny.en", downloads)
    with out.open("wb") as file:
        header(file, whisper.config)
        mel = filters(whisper.config["num_mel_bins"]).T.astype(np.float32)
        file.write(struct.pack("<2i", *mel.shape) + mel.tobytes())
        vocabulary(file, json.loads(whisper.files["tokenizer.json"])["model"]["vocab"])
        for name, array in whisper.weights.items():
            tensor(file, openai_name(name.removeprefix("model.")), array)


def header(file: BinaryIO, config: dict) -> None:
    sizes = ["vocab_size", "max_source_positions", "d_model", "encoder_attention_heads", "encoder_layers"]
    sizes += ["max_target_positions", "d_model", "decoder_attention_heads", "decoder_layers", "num_mel_bins"]
    file.write(struct.pack("<12i", MAGIC, *(config[size] for size in sizes), F16))


def vocabulary(file: BinaryIO, tokens: dict[str, int]) -> None:
    """The bytes of each text token: byte-level BPE writes each byte as a printable character."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
    file.write(struct.pack("<i", len(tokens)))
    for token in sorted(tokens, key=tokens.get):
        text = bytes(byte_of[character] for character in token)
        file.write(struct.pack("<i", len(text)) + text)


def openai_name(name: str) -> str:
    if name in PLACES:
        return PLACES[name]
    stem, kind = name.rsplit(".", 1)
    return f"{ENDS.get(stem) or '.'.join(NAMES.get(part, part) for part in stem.split('.'))}.{kind}"


def tensor(file: BinaryIO, name: str, array: np.ndarray) -> None:
    """Matrices in f16, vectors and positions in f32; a convolution's bias as a column."""
    if name.startswith("encoder.conv") and name.endswith("bias"):
        array = array.reshape(-1, 1)
    half = array.ndim >= 2 and not name.endswith(("bias", "positional_embedding"))
    array = array.astype(np.float16 if half else np.float32)
    file.write(struct.pack("<3i", array.ndim, len(name), F16 if half else F32))
    file.write(struct.pack(f"<{array.ndim}i", *reversed(array.shape)) + name.encode() + array.tobytes())


if __name__ == "__main__":
    {"gguf": gguf, "ggml": ggml}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
