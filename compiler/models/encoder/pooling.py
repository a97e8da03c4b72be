"""How rows of tokens become one row of a text: the modules that sentence-transformers writes beside a model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.models.layout import Layout
from intaglio.runtime.contract import POOLINGS

MODULES, POOLING, PROMPTS = "modules.json", "1_Pooling/config.json", "config_sentence_transformers.json"
FILES = (MODULES, POOLING)

# Keys of older configurations, in the order in which sentence-transformers joins the results.
_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_EXPORT = "export it whole: optimum-cli export onnx --library sentence_transformers"


@dataclass(frozen=True)
class Pooling:
    """The ways in which rows become one, whose results are joined, and whether the result has the length 1.

    prompt: the text that stands before each text. stated: whether the model's own files say so.
    """

    modes: tuple[str, ...] = ("mean",)
    normalize: bool = False
    prompt: str = ""
    stated: bool = False


def read(layout: Layout) -> Pooling:
    """Return the pooling of a model; without modules it is the mean. Raises BadModel for modules that do more."""
    if (path := layout.find(MODULES)) is None:
        config = layout.json(POOLING)
        return Pooling(_modes(layout, config), prompt=_prompt(layout, config), stated=True) if config else Pooling()
    try:
        modules = [(str(m["type"]).rpartition(".")[2], str(m["path"])) for m in json.loads(path.read_text("utf-8"))]
    except (ValueError, KeyError, TypeError) as e:
        raise BadModel(f"{path} is broken: {e}; copy the file again") from e
    kinds = [kind for kind, _ in modules]
    if unknown := [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize", "Dropout")]:
        raise BadModel(f"{path} has the module {unknown[0]}, which the .onnx file leaves out; {_EXPORT}")
    paths = [folder for kind, folder in modules if kind == "Pooling"]
    if len(paths) != 1:
        raise BadModel(f"{path} has {len(paths)} modules of the type Pooling, expected one; {_EXPORT}")
    config = layout.json(f"{paths[0]}/config.json")
    return Pooling(_modes(layout, config), "Normalize" in kinds, _prompt(layout, config), stated=True)


def _prompt(layout: Layout, config: dict[str, Any]) -> str:
    """Return the model's default prompt. Raises BadModel if its tokens do not count in the pooling."""
    settings = layout.json(PROMPTS)
    prompts, name = settings.get("prompts"), settings.get("default_prompt_name")
    prompt = str(prompts.get(name) or "") if isinstance(prompts, dict) and name else ""
    if prompt and config.get("include_prompt") is False:
        raise BadModel(
            f"{layout} pools without its default prompt, which is not supported; "
            f"remove default_prompt_name from {PROMPTS}"
        )
    return prompt


def _modes(layout: Layout, config: dict[str, Any]) -> tuple[str, ...]:
    named = config.get("pooling_mode") or [mode for key, mode in _KEYS.items() if config.get(key)] or ["mean"]
    modes = (named,) if isinstance(named, str) else tuple(map(str, named))
    if unknown := [mode for mode in modes if mode not in POOLINGS]:
        raise BadModel(f"{layout} pools by {unknown[0]}, which is not one of {', '.join(POOLINGS)}; {_EXPORT}")
    return modes
