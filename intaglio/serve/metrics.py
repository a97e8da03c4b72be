"""Counters in the text format of Prometheus."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any


class Metrics:
    """Counts requests by endpoint, model and status, and seconds of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()

    def add(self, name: str, amount: float = 1, **labels: Any) -> None:
        with self._lock:
            self._values[name, tuple((k, str(v)) for k, v in labels.items())] += amount  # type: ignore[assignment]

    def text(self, gauges: dict[str, float]) -> str:
        """Return all counters, and gauges as they are now."""
        with self._lock:
            values = sorted(self._values.items())
        lines, before = [], ""
        for (name, labels), value in values:
            if name != before:
                lines.append(f"# TYPE intaglio_{name} counter")
                before = name
            marks = ",".join(f'{key}="{text}"' for key, text in labels)
            lines.append(f"intaglio_{name}{'{' + marks + '}' if marks else ''} {value:g}")
        for name, value in gauges.items():
            lines += [f"# TYPE intaglio_{name} gauge", f"intaglio_{name} {value:g}"]
        return "\n".join(lines) + "\n"
