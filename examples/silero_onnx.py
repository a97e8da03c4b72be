"""Write a real detector of speech, Silero VAD 6 for 16 kHz, as ONNX: `python examples/silero_onnx.py OUT_FOLDER`.

The Python package of faster-whisper ships the model (1.2 MB), so `pip download` is all the network it needs. This form
takes any number of windows of a recording at once. Silero VAD is under the MIT licence.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from pathlib import Path

from binary import BadWeights
from packages import Wheel, fetch, say, write_whole

MODEL = Wheel("faster-whisper", "1.2.1", "79a66ad50688c0b794dd501dc340a736992a6342f7f95e5811be60b5224a26a7")
FILE = "faster_whisper/assets/silero_vad_v6.onnx"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write Silero VAD, a detector of speech, as ONNX.")
    parser.add_argument("out", type=Path, metavar="OUT_FOLDER", help="the folder to write")
    parser.add_argument("--cache", type=Path, help="where downloads are kept (default: 'downloads' beside OUT_FOLDER)")
    options = parser.parse_args(arguments)
    try:
        write_folder(options.out, options.cache or options.out.absolute().parent / "downloads")
    except (BadWeights, OSError) as error:
        sys.exit(f"silero_onnx.py: {error}")


def write_folder(out: Path, cache: Path) -> None:
    """Write OUT_FOLDER whole or not at all. Raises FileExistsError if it exists."""
    if out.exists():
        raise FileExistsError(f"{out} exists: remove it or name another folder")
    wheel = fetch(MODEL, cache)

    def write(folder: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            (folder / "model.onnx").write_bytes(archive.read(FILE))

    write_whole(out, write)
    say(f"{out} holds Silero VAD")


if __name__ == "__main__":
    main()
