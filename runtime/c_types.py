"""The names of C types, which wgpu-py has cffi parse when each is first used.

cffi puts a declaration of every type that it knows before such a name, 430 of them, so that each takes 12 ms to parse,
and fifty of them half of a start. Here it is given those alone that the name has in it.
"""

from __future__ import annotations

import re
from typing import Any


def quicken(ffi: Any) -> None:
    """Raises AttributeError where cffi is not as it was when this was written."""
    parser = ffi._parser
    parse, known = parser._parse, parser._declarations

    def parse_quickly(source: str) -> Any:  # cffi holds its lock
        words = set(re.findall(r"\w+", source))
        parser._declarations = {name: made for name, made in known.items() if name.removeprefix("typedef ") in words}
        try:
            return parse(source)
        finally:
            parser._declarations = known

    parser._parse = parse_quickly
