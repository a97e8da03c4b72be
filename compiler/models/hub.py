"""Download models of the Hugging Face hub, named hf:OWNER/NAME[/PATH][@REVISION]: only the files that compiling needs.

The `huggingface_hub` library downloads them, so its cache, tokens, progress bars and environment variables apply.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.models import genai, preview, tokenizer_files
from intaglio.compiler.models.encoder import folder as encoders
from intaglio.compiler.models.encoder import pooling
from intaglio.compiler.models.layout import BELOW, Layout
from intaglio.compiler.reader import external_data, load

PREFIX = "hf:"
_NAME = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:/([^@]+?)/?)?(?:@(.+))?")

# The small files that compiling reads, and those that replace a missing tokenizer.json.
_BESIDE = ("config.json", "generation_config.json", genai.NAME, "chat_template.jinja", "chat_template.json")
_TOKENIZER = (tokenizer_files.FILE, tokenizer_files.SETTINGS, tokenizer_files.SPECIAL)
_INSTEAD = (tokenizer_files.VOCABULARY, tokenizer_files.MERGES, tokenizer_files.PIECES, tokenizer_files.ADDED)
_SENTENCES = (*pooling.FILES, pooling.PROMPTS, *encoders.LENGTHS)


class NoNetwork(BadModel):
    """The hub cannot be reached."""


def local(model: str | Path, dtype: str | None = None) -> str | Path:
    """Download a model of the hub if needed; return its folder or file in the cache. Return any other model as it is.

    Without a network, return the folder in the cache. Raises BadModel.
    """
    if not isinstance(model, str) or not model.startswith(PREFIX):
        return model
    try:
        return Repository(model, dtype).download()
    except NoNetwork:
        if (folder := _cached(model)) is None:
            raise
        return folder


def layout(model: str | Path, dtype: str | None = None) -> Layout:
    """Return the files of a model. A hub model's .onnx files are downloaded only if its small files do not suffice.

    Raises BadModel.
    """
    if not isinstance(model, str) or not model.startswith(PREFIX):
        return Layout.of(model, dtype)
    try:
        repository = Repository(model, dtype)
    except NoNetwork:
        if (folder := _cached(model)) is None:
            raise
        return Layout.of(folder, dtype)
    if repository.layout.json("config.json") and not genai.files(repository.layout):
        return repository.layout
    return Layout.of(repository.download(), dtype)


class Repository:
    """A model of the hub. The constructor downloads its small files. `layout` also lists the other files.

    Raises BadModel for a name, a revision or a path that the hub does not have, or if huggingface_hub is missing.
    """

    def __init__(self, source: str, dtype: str | None = None) -> None:
        match = _NAME.fullmatch(source)
        if match is None:
            raise BadModel(
                f"{source} does not name a model of the hub; expected hf:OWNER/NAME or hf:OWNER/NAME@REVISION"
            )
        self._source, self._name, path, self._revision = source, match[1], match[2] or "", match[3]
        self._library, self._commit = _library(), ""
        self._sizes = self._listed()
        name = PurePosixPath(path).name if path in self._sizes else ""
        self._base = str(PurePosixPath(path).parent) if name else path
        self._base = "" if self._base == "." else self._base
        self._path = path
        if path and not name and not any(file.startswith(f"{path}/") for file in self._sizes):
            folders = sorted({file.rpartition("/")[0] for file in self._sizes if file.endswith(".onnx")})
            raise BadModel(
                f"{self._name} has no {path}; its .onnx files are in {', '.join(folders)[:100] or 'no folder'}"
            )
        self._root = Path(source)  # until a file is there
        for file in self._small_files():
            self._fetch(file)
        listing = {self._inner(file): size for file, size in self._sizes.items() if self._inner(file)}
        self.layout = Layout.listed(source, self._root / self._base, listing, dtype, name)

    def download(self) -> Path:
        """Download the .onnx files to compile, with their external data; return the folder or the file.

        Raises BadModel if no file or several files match.
        """
        folder = self._root / self._base
        for model in preview.models(self.layout).values():
            name = str(PurePosixPath(self._base) / model.path.relative_to(folder).as_posix())
            path = self._fetch(name)
            for location in sorted(external_data.locations(load.read(path))):
                data = str(PurePosixPath(name).parent / location)
                if data in self._sizes:
                    self._fetch(data)
        return self._root / self._path

    def _listed(self) -> dict[str, int]:
        """Return the files of the repository: their size in bytes by name."""
        with self._refusals():
            info = self._library.HfApi().model_info(self._name, revision=self._revision, files_metadata=True)
        return {file.rfilename: file.size or 0 for file in info.siblings or ()}

    def _inner(self, file: str) -> str:
        """Return the name of a file within the folder that the user named, or "" if it is elsewhere."""
        start = f"{self._base}/" if self._base else ""
        return file.removeprefix(start) if file.startswith(start) else ""

    def _small_files(self) -> Iterator[str]:
        """Yield the small files: for each name the file that `layout.find` takes."""
        base = PurePosixPath(self._base)
        folders = [base / BELOW, base, *([base.parent] if base.name == BELOW else [])]
        has_tokenizer = any(str(folder / tokenizer_files.FILE) in self._sizes for folder in folders)
        for name in (*_BESIDE, *_SENTENCES, *_TOKENIZER, *(() if has_tokenizer else _INSTEAD)):
            yield from [str(folder / name) for folder in folders if str(folder / name) in self._sizes][:1]

    def _fetch(self, file: str) -> Path:
        """Return the file in the hub's cache, downloaded if it is missing."""
        # The first file goes by the revision, which the cache remembers, the others by commit, which needs no request.
        revision = self._commit or self._revision
        with self._refusals():
            path = Path(self._library.hf_hub_download(self._name, file, revision=revision))
        self._root = path.parents[len(PurePosixPath(file).parts) - 1]
        self._commit = self._root.name
        return path

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Convert errors of the library to BadModel, with one line that says what to do."""
        errors = self._library.errors
        try:
            yield
        except errors.GatedRepoError as e:
            page = f"{self._library.constants.ENDPOINT}/{self._name}"
            raise BadModel(f"{self._source} is gated: accept its terms on {page}, then log in: hf auth login") from e
        except errors.RepositoryNotFoundError as e:
            raise BadModel(
                f"the hub has no model {self._name}, or it is private: correct the name, or hf auth login"
            ) from e
        except errors.RevisionNotFoundError as e:
            raise BadModel(f"{self._name} has no revision {self._revision}; leave out @{self._revision}") from e
        except errors.HFValidationError as e:
            raise BadModel(f"{self._source} does not name a model of the hub; expected hf:OWNER/NAME") from e
        except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as e:
            raise self._no_network() from e
        except errors.HfHubHTTPError as e:
            status = e.response.status_code if e.response is not None else "nothing"
            raise BadModel(f"the hub answers {status} to {self._source}; try again later") from e
        except errors.HTTPError as e:  # of the library below, which is not the same one in all versions
            raise self._no_network() from e

    def _no_network(self) -> NoNetwork:
        advice = "connect to the network, or name a folder that has the model"
        return NoNetwork(f"the hub cannot be reached for {self._source}; {advice}")


def _cached(source: str) -> Path | None:
    """Return the folder of a model in the hub's cache, or None if it is not there."""
    match = _NAME.fullmatch(source)
    if match is None:
        return None
    for name in (*_BESIDE, *_TOKENIZER):
        path = _library().try_to_load_from_cache(match[1], name, revision=match[3])
        if isinstance(path, str):
            return Path(path).parent / (match[2] or "")
    return None


def _library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ModuleNotFoundError:
        raise BadModel("models of the hub need huggingface_hub: pip install 'intaglio[hub]'") from None
    return huggingface_hub
