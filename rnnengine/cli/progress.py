"""Progress of long work: a bar of rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

__all__ = ["Progress"]


class Progress:
    """Told what is being done; writes to standard error. Use it in a ``with`` block.

    Parameters
    ----------
    title : str
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            try:
                from rich.console import Console
                from rich.progress import Progress as Bar
            except ImportError:
                return self
            self._bar = Bar(console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self._title, total=None)
            self._bar.start()
        return self

    def __call__(self, what: str, done: int = 0, total: int = 0) -> None:
        """Say what comes next, and how much of how much is done."""
        if self._bar is not None:
            text = f"{self._title}: {what}"
            self._bar.update(self._task, description=text, completed=done, total=total or None)
        else:
            count = f" {done + 1}/{total}" if total else ""
            print(f"{self._title}{count}: {what}", file=sys.stderr)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
