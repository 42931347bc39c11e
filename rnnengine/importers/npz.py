"""npz files: zip archives of NumPy arrays. Arrays of objects, which are pickles, are refused."""

from __future__ import annotations

import ast
import io
import math
import re
import zipfile
import zlib
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsafeFileError, UnsupportedModelError
from rnnengine.importers.checkpoint import Checkpoint

__all__ = ["is_npz", "read_checkpoint"]

Array = np.ndarray[Any, Any]

_LARGEST_HEADER = 10_000
_LARGEST_SIZE = 1 << 53
_NUMBERS = re.compile(r"[<>|=](?:f[248]|[iu][1248]|b1)")
_FREE_BYTES = 1 << 28
_EXPANSION = 16
"""Arrays may take 256 MiB, and beyond that 16 times the file: weights hardly compress."""
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, OSError, KeyError)


def is_npz(content: bytes) -> bool:
    """Whether content is a zip archive of nothing but ``.npy`` members."""
    if content[:4] != b"PK\x03\x04":
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except (*_DAMAGE, NotImplementedError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def read_checkpoint(content: bytes, name: str) -> Checkpoint:
    """Read the arrays of an npz file, in their order.

    Raises
    ------
    ModelFormatError
        The archive or an array is damaged, or larger than its file can hold.
    UnsafeFileError
        An array is a pickle.
    UnsupportedModelError
        An array has an element type that holds no weights.
    """
    tensors: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            _check(members, len(content), name)
            for member in members:
                key = member.filename.removesuffix(".npy")
                with archive.open(member) as file:
                    tensors[key] = _array(file.read(), f"{name}: array {key!r}")
    except NotImplementedError as error:
        raise UnsupportedModelError(f"{name}: {error}; accepted: stored and deflated") from None
    except _DAMAGE as error:
        raise ModelFormatError(f"{name}: the zip archive is damaged: {error}") from None
    return Checkpoint(tensors, {}, "npz", name)


def _check(members: list[zipfile.ZipInfo], size: int, name: str) -> None:
    names = [member.filename for member in members]
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise ModelFormatError(f"{name}: member {twice!r} is there twice")
    total = sum(member.file_size for member in members)
    if total > _FREE_BYTES + _EXPANSION * size:
        raise ModelFormatError(
            f"{name}: its arrays are said to take {total} bytes, in a file of {size}; expected at "
            f"most {_EXPANSION} times as much"
        )


def _array(content: bytes, where: str) -> Array:
    """Read one array of the ``.npy`` format, versions 1 and 2."""
    width = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}.get(content[:8])
    if width is None:
        raise ModelFormatError(f"{where}: expected a .npy array of version 1 or 2")
    start = 8 + width + int.from_bytes(content[8 : 8 + width], "little")
    dtype, shape, fortran = _header(content[8 + width : start], start - 8 - width, where)
    needed, there = math.prod(shape) * dtype.itemsize, max(len(content) - start, 0)
    if needed != there:
        raise ModelFormatError(f"{where}: {dtype} {shape} takes {needed} bytes; there are {there}")
    flat = np.frombuffer(content, dtype, math.prod(shape), start if needed else 0)
    wanted = np.dtype(np.float32) if dtype.str[1:] == "f2" else dtype.newbyteorder("=")
    value = flat.astype(wanted).reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(value).reshape(shape)


def _header(text: bytes, said: int, where: str) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Element type, shape and order that a header states."""
    try:
        fields = ast.literal_eval(text.decode("latin-1")) if said <= _LARGEST_HEADER else None
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        fields = None
    if not isinstance(fields, dict) or set(fields) != {"descr", "fortran_order", "shape"}:
        raise ModelFormatError(f"{where}: its header is damaged")
    descr, shape = fields["descr"], fields["shape"]
    if descr == "|O":
        raise UnsafeFileError(
            f"{where}: it holds Python objects, which are a pickle; accepted: numbers"
        )
    if not isinstance(descr, str) or not _NUMBERS.fullmatch(descr):
        raise UnsupportedModelError(
            f"{where}: its type is {str(descr)[:80]!r}; accepted: real numbers"
        )
    if not isinstance(shape, tuple) or not all(type(s) is int and s >= 0 for s in shape):
        raise ModelFormatError(f"{where}: its shape is {str(shape)[:80]}; expected sizes")
    if len(shape) > 32:
        raise ModelFormatError(f"{where}: it has {len(shape)} axes; expected at most 32")
    if max([math.prod(shape), *shape], default=0) > _LARGEST_SIZE:
        raise ModelFormatError(f"{where}: shape {str(shape)[:80]} is too large")
    return np.dtype(descr), shape, bool(fields["fortran_order"])
