"""The files of a model: .onnx files by role and dtype, and the folders of its configuration files.

Hubs keep several dtypes of a model in `onnx/`, in names with a suffix. The other files are in the folder above.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Self

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.models.json_file import read_json
from intaglio.compiler.reader.pointers import refuse_pointer

BELOW = "onnx"  # the folder of a hub's .onnx files
FULL = "fp32"  # the dtype of a name without a suffix
_LONG = 60  # characters of a path in a message that lists more
ALIASES = {"q8": "quantized", "f32": "fp32", "f16": "fp16"}
ENCODER, DECODER, MODEL, EMBED = PARTS = ("encoder", "decoder", "model", "embed_tokens")

# Part of a model -> the roles of the files that can be it, the preferred one first.
_ROLES = {
    ENCODER: ("encoder_model",),
    DECODER: ("decoder_model_merged", "decoder_model"),
    MODEL: ("model", "decoder_model_merged", "decoder_model"),
    EMBED: ("embed_tokens", "prepare_inputs_embeds"),
}
_TOGETHER = {ENCODER: (ENCODER, DECODER), DECODER: (ENCODER, DECODER), MODEL: (MODEL, EMBED), EMBED: (MODEL, EMBED)}
_OPTIONS = {MODEL: DECODER}  # a part that --dtype names differently if it is not alone
_NAME = re.compile(
    r"(decoder_with_past_model|decoder_model_merged|decoder_model|encoder_model|embed_tokens|prepare_inputs_embeds|model)"
    r"(?:_(\w+))?\.onnx"
)
_DATA = re.compile(r"(.*\.onnx)[._]data.*")  # of external data, as exporters name it


@dataclass(frozen=True)
class File:
    """A .onnx file. size: its bytes, including those of its external data."""

    path: Path
    dtype: str
    size: int


@dataclass(frozen=True)
class Layout:
    """A folder or a .onnx file that a user named as `source`.

    folders: the folders of configuration and tokenizer files, nearest first. files: .onnx files by role and dtype.
    others: .onnx files whose names give no role. dtypes: the user's choice by part, or under "" for all parts. named:
    the role and the file, if the user named a file. elsewhere: other inner folders with .onnx files.
    """

    source: str
    folders: tuple[Path, ...]
    files: Mapping[str, Mapping[str, File]]
    others: tuple[File, ...] = ()
    dtypes: Mapping[str, str] = field(default_factory=dict)
    named: tuple[str, File] | None = None
    elsewhere: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: str | Path, dtype: str | None = None) -> Self:
        """Return the layout of a folder or a .onnx file. Raises BadModel for a missing path or a wrong `dtype`."""
        path, source = Path(path), str(path)
        if path.is_dir():
            inner = {f"{BELOW}/{name}": size for name, size in _listing(path / BELOW).items()}
            deeper = [file for depth in ("*/*.onnx", "*/*/*.onnx") for file in path.glob(depth) if file.is_file()]
            sizes = {file.relative_to(path).as_posix(): file.stat().st_size for file in deeper}
            return cls.listed(source, path, _listing(path) | inner | sizes, dtype)
        if not path.is_file():
            raise BadModel(f"{path} does not exist; name a .onnx file or a folder that holds one")
        return cls.listed(source, path.parent, _listing(path.parent), dtype, path.name)

    @classmethod
    def listed(
        cls, source: str, folder: Path, listing: Mapping[str, int], dtype: str | None = None, name: str = ""
    ) -> Self:
        """Return the layout of listed files, some of which may not exist yet. listing: sizes by name within `folder`.

        name: the file that the user named, if any. Raises BadModel if `dtype` is wrong.
        """
        sizes = _sizes(listing)
        here = [onnx for onnx in sizes if "/" not in onnx]
        below = [onnx for onnx in sizes if PurePosixPath(onnx).parent == PurePosixPath(BELOW)]
        files: dict[str, dict[str, File]] = {}
        others = []
        for onnx in here or below:
            role, suffix = _role(PurePosixPath(onnx).name)
            file = File(folder / onnx, suffix, sizes[onnx])
            if role:
                files.setdefault(role, {})[suffix] = file
            else:
                others.append(file)
        folders = (folder / BELOW, folder) if not here and below else (folder,)
        if folder.name == BELOW:
            folders = (folder, folder.parent)
        named = None
        if name:
            role, suffix = _role(name)
            named = role, File(folder / name, suffix, sizes.get(name, listing.get(name, 0)))
        elsewhere = tuple(sorted({str(PurePosixPath(onnx).parent) for onnx in {*sizes}.difference(here, below)}))
        return cls(source, folders, files, tuple(others), _dtypes(dtype), named, elsewhere)

    def __str__(self) -> str:
        return self.source

    def find(self, name: str) -> Path | None:
        """Return the nearest file of this name, or None. Raises BadModel if Git LFS has not fetched it."""
        path = next((folder / name for folder in self.folders if (folder / name).is_file()), None)
        if path is not None:
            refuse_pointer(path)
        return path

    def json(self, name: str, required: bool = False) -> dict[str, Any]:
        """Return the settings in the nearest file of this name, or {}. Raises BadModel if it is required but absent."""
        return read_json(self.find(name) or self.folders[-1] / name, required)

    def has(self, part: str) -> bool:
        """Return whether there is a file for this part."""
        return bool(self._choices(part))

    def file(self, part: str) -> File:
        """Return the file of a part in the chosen dtype. Raises BadModel if no file or several files match."""
        if self.named and self.is_named(part):
            return self._checked(part, self.named[1])
        choices = self._choices(part)
        if not choices:
            raise BadModel(self._lack(part))
        dtype = self._chosen(part)
        if dtype is None and self.named and self.named[1].dtype in choices:
            dtype = self.named[1].dtype
        if dtype is None and len(choices) == 1:
            return next(iter(choices.values()))
        if dtype is None:
            name = self.source if len(self.source) < _LONG else f"...{self.source[-_LONG:]}"
            raise BadModel(f"{name} holds several dtypes: {self._sizes_of(part)}; choose with {self._example(part)}")
        if dtype not in choices:
            raise BadModel(f"{self} has no {part} in {dtype}; choose from {', '.join(choices)}: {self._example(part)}")
        return choices[dtype]

    def sources(self) -> dict[str, File]:
        """Return the .onnx files to compile, by part. Raises BadModel if no file or several files match."""
        whole = self.has(ENCODER) and (not self.named or self.has(DECODER))
        if whole and (not self.named or self.named[0].startswith(("encoder", "decoder"))):
            return {part: self.file(part) for part in (ENCODER, DECODER)}
        model = {MODEL: self.named[1] if self.named else self.file(MODEL)}
        embedding = self.has(EMBED) and (not self.named or self.is_named(MODEL))
        return model | ({EMBED: self.file(EMBED)} if embedding else {})

    def is_named(self, part: str) -> bool:
        """Return whether the user named the file of this part."""
        role = self.named[0] if self.named else ""
        return role in _ROLES[part] or (part == MODEL and not role)

    def _checked(self, part: str, file: File) -> File:
        if self._chosen(part) not in (None, file.dtype):
            raise BadModel(f"{file.path.name} is {file.dtype}; name its folder with --dtype, or leave out --dtype")
        return file

    def _chosen(self, part: str) -> str | None:
        keys = (part, DECODER, "") if part == MODEL else (part, "")
        return next((self.dtypes[key] for key in keys if key in self.dtypes), None)

    def _choices(self, part: str) -> dict[str, File]:
        """Return the files for a part by dtype. The preferred role wins within a dtype."""
        choices: dict[str, File] = {}
        for role in _ROLES[part]:
            choices = {**self.files.get(role, {}), **choices}
        if not choices and part == MODEL and len(self._unnamed) == 1:
            choices = {self._unnamed[0].dtype: self._unnamed[0]}
        return choices

    @property
    def _unnamed(self) -> tuple[File, ...]:
        """The files that could be the model although their names do not say so."""
        return (*self.others, *(file for role in _ROLES[EMBED] for file in self.files.get(role, {}).values()))

    def _lack(self, part: str) -> str:
        if part == MODEL and self._unnamed:
            names = [str(file.path) for file in self._unnamed]
            return f"{self} holds {len(names)} .onnx files; name one of them, such as {names[0]}"
        names = " or ".join(f"{role}.onnx" for role in _ROLES[part])
        if part == MODEL and self.elsewhere:
            folders = ", ".join(f"{self}/{folder}" for folder in self.elsewhere)
            return f"{self} has no .onnx file, but inner folders have; name one of {folders[:150]}"
        if part == MODEL:
            return f"{self} has no .onnx file, in itself or in {BELOW}/; name the .onnx file"
        return f"{self} has no {names}; export the {part} too"

    def _sizes_of(self, part: str) -> str:
        """Return as text the dtypes that all parts have, with sizes, or those of `part` if no choice is common."""
        choices = [self._choices(p) for p in self._together(part) if self._chosen(p) is None]
        common = [dtype for dtype in choices[0] if all(dtype in c for c in choices)]
        sizes = {dtype: sum(c[dtype].size for c in choices) for dtype in common}
        if len(sizes) < 2:
            sizes = {dtype: file.size for dtype, file in self._choices(part).items()}
        return ", ".join(f"{dtype} ({size_text(size)})" for dtype, size in sizes.items())

    def _example(self, part: str) -> str:
        choices = {p: self._choices(p) for p in self._together(part)}
        common = [dtype for dtype in choices[part] if all(dtype in c for c in choices.values())]
        smallest = min(common, key=lambda dtype: sum(c[dtype].size for c in choices.values()), default="")
        if len(choices) == 1:
            return f"--dtype {smallest}"
        each = {_OPTIONS.get(p, p): min(c, key=lambda dtype: c[dtype].size) for p, c in choices.items()}
        separate = f"--dtype {','.join(f'{p}={dtype}' for p, dtype in each.items())}"
        return f"--dtype {smallest} or {separate}" if smallest else separate

    def _together(self, part: str) -> list[str]:
        """Return the parts that are compiled together with `part`."""
        return [p for p in _TOGETHER[part] if self.has(p)]


def _listing(folder: Path) -> dict[str, int]:
    """Return the files in a folder, with their size in bytes by name, or {} if there is no such folder."""
    files = folder.iterdir() if folder.is_dir() else ()
    return {path.name: path.stat().st_size for path in sorted(files) if path.is_file()}


def _sizes(listing: Mapping[str, int]) -> dict[str, int]:
    """Return the sizes of the .onnx files of a listing, including their external data."""
    sizes = {name: size for name, size in listing.items() if name.endswith(".onnx")}
    for name, size in listing.items():
        if (match := _DATA.fullmatch(name)) and match[1] in sizes:
            sizes[match[1]] += size
    return sizes


def _role(name: str) -> tuple[str, str]:
    """Return role and dtype from the name of a file, or two empty strings for other names."""
    match = _NAME.fullmatch(name)
    return (match[1], match[2] or FULL) if match else ("", "")


def _dtypes(text: str | None) -> dict[str, str]:
    """Return dtypes by part from `q4` or `encoder=fp32,decoder=q4`. Raises BadModel."""
    return dict(_by_part(text)) if text else {}


def _by_part(text: str) -> Iterator[tuple[str, str]]:
    for choice in text.split(","):
        part, _, dtype = choice.rpartition("=")
        names = [p for p in PARTS if p.partition("_")[0] == part.partition("_")[0]] if part else [""]
        if not dtype or not names:
            raise BadModel(f"--dtype {text}: expected a dtype such as q4, or encoder=fp32,decoder=q4")
        yield names[0], ALIASES.get(dtype, dtype)


def size_text(count: int) -> str:
    """Return bytes in decimal units with three digits, such as "1.63 GB"."""
    unit, factor = next(((u, f) for u, f in (("GB", 10**9), ("MB", 10**6)) if count >= f), ("kB", 10**3))
    return f"{count / factor:.3g} {unit}"
