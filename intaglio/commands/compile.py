"""compile: a model becomes a bundle; with --explain, the reason why a rewrite rule did not match a model."""

from __future__ import annotations

import argparse
import sys

import intaglio
from intaglio.commands import arguments, inspect
from intaglio.commands.progress import ProgressLine
from intaglio.text import printable

SUMMARY = "compile a model into a bundle"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a .onnx file, a folder that an exporter wrote or a hub lays out, or a model of the Hugging Face hub "
        "(hf:OWNER/NAME or hf:OWNER/NAME@REVISION)",
    )
    purpose = parser.add_mutually_exclusive_group(required=True)
    purpose.add_argument(
        "-o", "--output", metavar="BUNDLE", help="the folder to write; an existing bundle there is replaced"
    )
    purpose.add_argument(
        "--explain", metavar="RULE", help="show where this rewrite rule came closest to matching; write nothing"
    )
    purpose.add_argument(
        "--dry-run", action="store_true", help="print which files would be taken for what; write nothing"
    )
    parser.add_argument(
        "--bind",
        metavar="NAME=VALUE",
        type=arguments.binding,
        action="append",
        default=[],
        help="fix a size that the model leaves free (N=8, or x.1=8 for axis 1 of input x), limit it to a range "
        "(N=1..64), give an input's shape (x=1x?x64; a ? stays free), or fix an input (x=1 or x=file.npy)",
    )
    parser.add_argument(
        "--quantize", choices=["q8", "q4"], help="store the weights in 8 or 4 bits, in groups of 32 with one scale each"
    )
    parser.add_argument("--keep-head", action="store_true", help="leave the output layer unquantized")
    parser.add_argument(
        "--precision",
        choices=["f32", "f16"],
        help="storage type of the KV cache and of unquantized weights (default: f32, and for the cache f16 on GPUs if "
        "that costs nothing)",
    )
    parser.add_argument(
        "--max-length",
        metavar="N",
        type=int,
        help="context length of a language model, prompt plus answer, or the tokens of the longest text of an encoder "
        "(default: the model's own, up to 2,048 of a language model and 8,192 of an encoder)",
    )
    parser.add_argument(
        "--dtype",
        metavar="TYPE",
        help="which files of a folder with several: q4 for model_q4.onnx, fp32 for names without a suffix, "
        "or by part (encoder=fp32,decoder=q4)",
    )
    parser.add_argument(
        "--tuning",
        metavar="FILE",
        action="append",
        default=[],
        help="a file that `intaglio tune` wrote on an adapter (may be repeated)",
    )
    parser.add_argument("--dump", metavar="DIR", help="write the graph after each pass to this folder")
    parser.add_argument("-v", "--verbose", action="store_true", help="print how much each pass changed")


def run(options: argparse.Namespace, progress: ProgressLine) -> int:
    if options.dry_run:
        print(printable(intaglio.preview(options.model, max_length=options.max_length, dtype=options.dtype)))
        return 0
    return _explain(options, progress) if options.explain is not None else _compile(options, progress)


def _explain(options: argparse.Namespace, progress: ProgressLine) -> int:
    text = intaglio.explain(
        options.model,
        options.explain,
        bind=dict(options.bind),
        max_length=options.max_length,
        dtype=options.dtype,
        say=progress,
    )
    progress.clear()
    print(printable(text))
    return 0


def _compile(options: argparse.Namespace, progress: ProgressLine) -> int:
    bundle = intaglio.compile(
        options.model,
        options.output,
        bind=dict(options.bind),
        quantize=options.quantize,
        precision=options.precision,
        keep_head=options.keep_head,
        max_length=options.max_length,
        dtype=options.dtype,
        dump=options.dump,
        verbose=options.verbose,
        tuning=options.tuning,
        say=progress,
    )
    progress.clear()
    for note in bundle.report["notes"]:
        print(f"note: {note}", file=sys.stderr)
    print(f"{options.output}: {inspect.summary(bundle)}", file=sys.stderr)
    return 0
