"""Calls that can be cancelled: a callable is looked at before each submit of a session.

It may also wait, to let others use the adapter first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from intaglio.runtime.session import Session

Cancel = Callable[[], bool]


class Watch:
    """A context in which a thread has the session for itself, and each submit raises Cancelled if `cancel` says so.

    It may be entered again, inside of itself and later.
    """

    def __init__(self, session: Session, cancel: Cancel | None) -> None:
        self._session, self._cancel = session, cancel
        self._before: list[Cancel | None] = []

    def __enter__(self) -> None:
        self._session.lock.acquire()
        self._before.append(self._session.cancel)
        self._session.cancel = self._cancel

    def __exit__(self, *_: object) -> None:
        self._session.cancel = self._before.pop()
        self._session.lock.release()
