"""The choice of a kernel table: once per process, forced by ``RNNENGINE_ISA`` or by a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from operator import index

from rnnengine._c import core
from rnnengine.errors import CPUError

__all__ = ["available", "check_threads", "chosen", "default_threads", "features", "use"]

_forced: str | None = None


def features() -> tuple[str, ...]:
    """Names of the CPU features in use."""
    return core.features()


def available() -> list[str]:
    """Kernel tables this CPU can run, best first."""
    return [name for name, usable in core.tables() if usable]


def chosen() -> str:
    """Return the table that programs made now will use.

    Raises
    ------
    CPUError
        If ``RNNENGINE_ISA`` names a table this build or this CPU does not have. An override is
        never dropped silently.
    """
    name = _forced or os.environ.get("RNNENGINE_ISA", "").strip().lower()
    usable = available()
    if not name:
        return usable[0]
    if name not in usable:
        known = [table for table, _ in core.tables()]
        why = "this CPU cannot run it" if name in known else "no such instruction set"
        raise CPUError(
            f"RNNENGINE_ISA={name}: {why}; available here: {', '.join(usable)}; "
            "unset RNNENGINE_ISA to choose the best one"
        )
    return name


@contextmanager
def use(name: str) -> Iterator[None]:
    """Make programs created in this block use the named table."""
    global _forced
    before, _forced = _forced, name
    try:
        chosen()
        yield
    finally:
        _forced = before


def check_threads(given: object) -> int:
    """Return a number of threads as an int.

    Raises
    ------
    TypeError, ValueError
        It is no integer, or below 1.
    """
    try:
        count = index(given)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"threads is {given!r}; expected an integer, 1 or more") from None
    if not 1 <= count < 2**15:
        raise ValueError(f"threads is {count}; expected 1 or more")
    return count


def default_threads() -> int:
    """Return the number that ``RNNENGINE_THREADS`` names, or 1.

    Raises
    ------
    CPUError
        It is no number of threads.
    """
    text = os.environ.get("RNNENGINE_THREADS", "").strip()
    if not text:
        return 1
    try:
        return check_threads(int(text))
    except ValueError:
        raise CPUError(
            f"RNNENGINE_THREADS={text}: expected a number of threads, 1 or more; unset it for 1"
        ) from None
