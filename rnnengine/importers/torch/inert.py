"""What a pickle becomes here: names and records without behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Elements", "Name", "NumpyType", "Record", "Values", "brief"]


def brief(value: object) -> str:
    """A few words for a value of a file, whatever its size and depth."""
    if isinstance(value, (str, int, float, Name)):
        return str(value)[:80]
    return f"a {type(value).__name__}"


@dataclass(frozen=True)
class Name:
    """A class or function the file names. It is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Record:
    """What would be an instance of a class: its name and what the file gives it.

    Attributes
    ----------
    kind : Name
    args : tuple
        Arguments of its making.
    state : dict
        Its attributes; a state that is no dictionary stands under ``''``.
    elements : list
        Elements, if it is a list or a set.
    entries : dict
        Items, if it is a mapping.
    """

    kind: Name
    args: tuple[Any, ...] = ()
    state: dict[Any, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)
    entries: dict[Any, Any] = field(default_factory=dict)


class Elements(list[Any]):
    """A set, in the order of the file; its elements need not be hashable."""


@dataclass(eq=False)
class NumpyType:
    """An element type of NumPy, by its code."""

    code: str
    order: str = "<"


@dataclass(eq=False)
class Values:
    """An array of NumPy: its type, shape and bytes, as far as the file has said them."""

    dtype: NumpyType | None = None
    shape: tuple[int, ...] = ()
    fortran: bool = False
    data: bytes | bytearray | None = None
    scalar: bool = False

    def array(self) -> np.ndarray[Any, Any] | None:
        """The array in native byte order, or None if it is no plain array of numbers."""
        if self.dtype is None or self.data is None or self.dtype.code not in _NUMBERS:
            return None
        kind = np.dtype(self.dtype.code).newbyteorder(">" if self.dtype.order == ">" else "<")
        if any(type(n) is not int or not 0 <= n < 2**48 for n in self.shape):
            return None
        count = 1
        for n in self.shape:
            count *= n
        if len(self.shape) > 32 or count * kind.itemsize != len(self.data):
            return None
        flat = np.frombuffer(self.data, dtype=kind).astype(kind.newbyteorder("="))
        return np.require(
            flat.reshape(self.shape, order="F" if self.fortran else "C"), requirements=["C"]
        )


_NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}
