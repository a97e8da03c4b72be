"""Chat with a language model: `python examples/chat.py FOLDER`, a folder of ONNX such as smollm2_onnx.py writes.

It is compiled at the first run, into a bundle beside it. An empty line ends the conversation.
"""

from __future__ import annotations

import sys
from pathlib import Path

import intaglio


def main(folder: Path) -> None:
    path = folder.with_name(folder.name + ".bundle")
    bundle = intaglio.load(path) if path.exists() else intaglio.compile(folder, path)
    messages: list[dict[str, str]] = []
    while question := ask():
        messages.append({"role": "user", "content": question})
        answer = bundle.chat(messages, stream=True, **bundle.sampling)
        for piece in answer:
            print(piece.text, end="", flush=True)
        print()
        messages.append({"role": "assistant", "content": answer.finish().text})


def ask() -> str:
    try:
        return input("> ").strip()
    except EOFError:
        return ""


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).absolute())
