"""Contents of constant buffers, packed once and shared by all programs of one model."""

from __future__ import annotations

import weakref
from typing import Any, TypeAlias

import numpy as np

from rnnengine._c import core
from rnnengine.program.builder import Constant

__all__ = ["Pool"]

Array = np.ndarray[Any, Any]

_Key: TypeAlias = tuple[bool, str, tuple[int, ...]]
_Entry: TypeAlias = tuple[Array | None, "weakref.ref[Array]"]
"""Matrices before packing (None for what is not packed), and the content."""


class Pool:
    """Finds the content that another program already made of equal numbers.

    Contents live as long as a program that uses them.
    """

    def __init__(self) -> None:
        self._entries: dict[_Key, list[_Entry]] = {}

    def content(self, constant: Constant) -> Array:
        """Array behind a constant buffer, bit for bit what the constant says."""
        array = constant.array
        if constant.ready:
            return array
        entries = self._entries.setdefault((constant.packed, array.dtype.str, array.shape), [])
        for known, content in entries:
            found = content()
            if found is not None and _same_bits(found if known is None else known, array):
                return found
        made = _packed(array) if constant.packed else array
        entries.append((array if constant.packed else None, weakref.ref(made)))
        return made

    def sweep(self) -> None:
        """Forget contents that no program uses any more."""
        kept = {k: [e for e in v if e[1]() is not None] for k, v in list(self._entries.items())}
        self._entries = {key: entries for key, entries in kept.items() if entries}


def _same_bits(a: Array, b: Array) -> bool:
    return a is b or np.array_equal(a.view(np.int32), b.view(np.int32))


def _packed(matrices: Array) -> Array:
    """[D, G, U, K] matrices packed one direction after the other."""
    pieces = [core.pack(np.ascontiguousarray(m)) for m in matrices]
    if len(pieces) == 1:
        return pieces[0]
    whole = core.aligned(sum(p.size for p in pieces))
    np.concatenate(pieces, out=whole)
    return whole
