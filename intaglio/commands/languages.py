"""languages: what a Whisper bundle understands."""

from __future__ import annotations

import argparse
import json

import intaglio
from intaglio.commands.progress import ProgressLine
from intaglio.runtime.tasks.whisper.settings import Settings

SUMMARY = "list the languages of a Whisper bundle"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder of a bundle")
    parser.add_argument("--json", action="store_true", help="print JSON: the names of each language, by its code")


def run(options: argparse.Namespace, progress: ProgressLine) -> int:
    contents = intaglio.load(options.bundle, progress).contents
    contents.expect("whisper", "Whisper", "transcribe")
    names = Settings.parse(contents.generation).names
    if options.json:
        print(json.dumps(names, ensure_ascii=False))
    else:
        print("\n".join(f"{code:4} {', '.join(of)}" for code, of in sorted(names.items(), key=lambda entry: entry[1])))
    return 0
