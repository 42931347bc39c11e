"""The content of a file: read as a whole, or mapped."""

from __future__ import annotations

import os
from typing import BinaryIO

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.importers.safetensors import Content, is_safetensors

__all__ = ["read_file"]

_ALIGNMENT = 64


def read_file(path: str | os.PathLike[str], *, mmap: bool = False) -> Content:
    """Return the content of a file.

    That of a safetensors file, whose tensors are used where they lie, starts on a cache line and
    cannot be written to.

    Parameters
    ----------
    path : path
    mmap : bool
        Map a safetensors file.

    Raises
    ------
    OSError
        The file cannot be read.
    UnsupportedModelError
        ``mmap`` is asked for, and the file is another.
    """
    with open(path, "rb") as file:
        if is_safetensors(file.peek(16)[:16]):
            return _mapped(file) if mmap else _copied(file)
        if mmap:
            raise UnsupportedModelError(
                f"{os.fspath(path)}: mmap=True is for .rnne files; any other is converted as it is "
                "loaded"
            )
        return file.read()


def _mapped(file: BinaryIO) -> memoryview:
    import mmap

    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _copied(file: BinaryIO) -> memoryview:
    """Read to the end, into memory made for as much as the file is said to have."""
    size = os.fstat(file.fileno()).st_size
    room = np.empty(size + _ALIGNMENT, np.uint8)
    skip = -room.ctypes.data % _ALIGNMENT
    whole = room.data[skip : skip + size]
    done = 0
    while done < size and (count := file.readinto(whole[done:])):  # type: ignore[attr-defined]
        done += count
    rest = file.read()
    return memoryview(bytes(whole[:done]) + rest) if rest else whole[:done].toreadonly()
