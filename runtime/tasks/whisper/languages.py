"""Languages as people write them: English, EN, en-US and <|en|> are all `en`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

_REGION = r"([a-z]{2,3})([-_]\w{2,4})+"  # en-US, zh_Hant_TW


def code(text: str, names: Mapping[str, Sequence[str]]) -> str | None:
    """Return the code of the language that `text` means, or None. names: of each code, the names of its language."""
    plain = text.strip().strip("<|>").strip().lower()
    by_name = {name.lower(): code for code, of in names.items() for name in of} | {code: code for code in names}
    region = re.fullmatch(_REGION, plain)
    return by_name.get(plain) or (by_name.get(region[1]) if region else None)


def similar(text: str, names: Mapping[str, Sequence[str]]) -> list[str]:
    """Return up to three names that are spelled like `text`, each with its code."""
    usual = {name.lower(): f"{of[0]} ({code})" for code, of in names.items() for name in of}
    close = difflib.get_close_matches(text.strip().lower(), usual, n=3, cutoff=0.7)
    return list(dict.fromkeys(usual[name] for name in close))
