"""Storages and tensors of PyTorch files: descriptions first, arrays once they are proven."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph.integers import ScaledIntegers, keepable

__all__ = [
    "DTYPES",
    "STORAGES",
    "Budget",
    "Quantised",
    "StorageRef",
    "TensorRef",
    "check_extent",
    "materialise",
    "whole_numbers",
]

Array = np.ndarray[Any, Any]

DTYPES: dict[str, tuple[str, int]] = {
    "float32": ("f4", 4),
    "float64": ("f8", 8),
    "float16": ("f2", 2),
    "bfloat16": ("u2", 2),
    "int8": ("i1", 1),
    "uint8": ("u1", 1),
    "int16": ("i2", 2),
    "uint16": ("u2", 2),
    "int32": ("i4", 4),
    "uint32": ("u4", 4),
    "int64": ("i8", 8),
    "uint64": ("u8", 8),
    "bool": ("u1", 1),
    "qint8": ("i1", 1),
    "quint8": ("u1", 1),
    "qint32": ("i4", 4),
    "complex64": ("c8", 8),
    "complex128": ("c16", 16),
    "float8_e4m3fn": ("", 1),
    "float8_e4m3fnuz": ("", 1),
    "float8_e5m2": ("", 1),
    "float8_e5m2fnuz": ("", 1),
    "float8_e8m0fnu": ("", 1),
}
"""NumPy code (empty: cannot be read) and bytes of an element, by PyTorch's name of the type."""

STORAGES: dict[str, str] = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "BoolStorage": "bool",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
"""Element types of the typed storage classes."""

_LARGEST_RANK = 32
_LARGEST_SIZE = 2**48


@dataclass(eq=False)
class StorageRef:
    """A run of bytes in the file that tensors look into.

    Attributes
    ----------
    key : str
        Its name in the file.
    dtype : str or None
        Type of its elements; None for untyped bytes.
    numel : int
        Number of elements, of bytes if untyped.
    data : memoryview or None
        The bytes, once found.
    fetch : callable or None
        Finds them.
    big_endian : bool
        Byte order of the elements.
    """

    key: str
    dtype: str | None
    numel: int
    data: memoryview | None = None
    big_endian: bool = False
    fetch: Callable[[], memoryview] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes the elements take."""
        return self.numel * (1 if self.dtype is None else DTYPES[self.dtype][1])

    def bytes(self, where: str) -> memoryview:
        """The bytes of the elements.

        Raises
        ------
        ModelFormatError
            The file does not have them, or not as many as it says.
        """
        if self.data is None and self.fetch is not None:
            self.data = self.fetch()
        if self.data is None:
            raise ModelFormatError(f"{where}: storage {self.key!r} is not in the file")
        if len(self.data) != self.nbytes:
            raise ModelFormatError(
                f"{where}: storage {self.key!r} has {len(self.data)} bytes in the file; the pickle"
                f" says {self.nbytes}"
            )
        return self.data


@dataclass(frozen=True, eq=False)
class Quantised:
    """How integers of a quantised tensor become numbers: (q - zero_point) * scale."""

    scheme: str
    scale: float | TensorRef
    zero_point: int | TensorRef
    axis: int = 0


@dataclass(eq=False)
class TensorRef:
    """A strided view of a storage, not yet an array."""

    storage: StorageRef
    dtype: str
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    quantised: Quantised | None = None

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.size)


class Budget:
    """Bytes that arrays made from one file may take: a small file must not become a huge one.

    Views with a stride of 0 and many views of one storage make arrays larger than what is stored.
    """

    def __init__(self, stored: int) -> None:
        self.left = 16 * stored + (64 << 20)

    def take(self, amount: int, where: str) -> None:
        """Spend ``amount`` bytes.

        Raises
        ------
        ModelFormatError
            More than the file can honestly hold.
        """
        self.left -= amount
        if self.left < 0:
            raise ModelFormatError(
                f"{where}: the tensors of this file would take over 16 times the bytes it stores"
            )


def check_extent(tensor: TensorRef, where: str) -> None:
    """Prove that every element of a tensor lies inside its storage.

    Raises
    ------
    ModelFormatError
        It does not, or its sizes are no sizes.
    """
    size, stride = tensor.size, tensor.stride
    if len(size) != len(stride) or len(size) > _LARGEST_RANK:
        raise ModelFormatError(
            f"{where}: {len(size)} sizes and {len(stride)} strides; expected as many of each,"
            f" at most {_LARGEST_RANK}"
        )
    for what, values in (("size", size), ("stride", stride), ("offset", (tensor.offset,))):
        for value in values:
            if not 0 <= value <= _LARGEST_SIZE:
                raise ModelFormatError(
                    f"{where}: {what} {value} of a tensor in storage {tensor.storage.key!r};"
                    f" expected 0 to 2**48"
                )
    width = DTYPES[tensor.dtype][1]
    last = tensor.offset - 1
    if 0 not in size:
        last += 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if (last + 1) * width > tensor.storage.nbytes:
        raise ModelFormatError(
            f"{where}: a tensor of shape {list(size)}, strides {list(stride)} and offset"
            f" {tensor.offset} needs {(last + 1) * width} bytes of storage"
            f" {tensor.storage.key!r}, which has {tensor.storage.nbytes}"
        )


def materialise(tensor: TensorRef, where: str, budget: Budget) -> Array:
    """Make the array a tensor describes.

    Parameters
    ----------
    tensor : TensorRef
    where : str
        File and name of the tensor, for messages.
    budget : Budget

    Returns
    -------
    array
        Contiguous, native byte order. float16 and bfloat16 are widened to float32; quantised
        integers become :class:`~rnnengine.graph.integers.ScaledIntegers`, or the float32 numbers
        they stand for where these cannot hold them.

    Raises
    ------
    ModelFormatError
        It reaches outside its storage, or the storage is missing.
    UnsupportedModelError
        Its type cannot be read.
    """
    check_extent(tensor, where)
    code, width = DTYPES[tensor.dtype]
    if not code:
        raise UnsupportedModelError(
            f"{where}: tensor of type torch.{tensor.dtype}; accepted: floats of 16 to 64 bits,"
            " integers, bool, complex, qint8, quint8, qint32. Convert it with .float() and save"
            " it again"
        )
    data = tensor.storage.bytes(where)
    budget.take(tensor.numel * max(width, 4), where)
    if not tensor.numel:
        raw = np.zeros(tensor.size, dtype=code)
    else:
        order = ">" if tensor.storage.big_endian else "<"
        raw = np.ndarray(
            tensor.size,
            dtype=np.dtype(order + code),
            buffer=data,
            offset=tensor.offset * width,
            strides=tuple(step * width for step in tensor.stride),
        )
        raw = np.require(
            raw.astype(raw.dtype.newbyteorder("="), copy=False), requirements=["C", "A"]
        )
    return _meaning(tensor, raw, where, budget)


def _meaning(tensor: TensorRef, raw: Array, where: str, budget: Budget) -> Array:
    if tensor.dtype == "float16":
        return raw.astype(np.float32)
    if tensor.dtype == "bfloat16":
        wide: Array = raw.astype(np.uint32) << 16
        return wide.view(np.float32)
    if tensor.dtype == "bool":
        return np.not_equal(raw, 0)
    if tensor.quantised is not None:
        return _dequantised(raw, tensor.quantised, where, budget)
    return raw


def _dequantised(raw: Array, how: Quantised, where: str, budget: Budget) -> Array:
    """(q - zero_point) * scale; integers of 8 bits stay such, with their scales in float32.

    The rest is worked out in float64 and rounded once.
    """
    scale: Any = how.scale
    zero: Any = how.zero_point
    if isinstance(scale, TensorRef) and isinstance(zero, TensorRef):
        if not 0 <= how.axis < raw.ndim:
            raise ModelFormatError(f"{where}: quantised along axis {how.axis} of {raw.ndim}")
        rows = [1] * raw.ndim
        rows[how.axis] = -1
        scale = materialise(scale, f"{where}: scales", budget).astype(np.float64)
        zero = materialise(zero, f"{where}: zero points", budget).astype(np.float64)
        if not scale.size == zero.size == raw.shape[how.axis]:
            raise ModelFormatError(
                f"{where}: {scale.size} scales and {zero.size} zero points for"
                f" {raw.shape[how.axis]} rows"
            )
        scale, zero = scale.reshape(rows), zero.reshape(rows)
    with np.errstate(all="ignore"):
        step, lowest = np.asarray(scale, np.float32), np.asarray(zero)
        if raw.ndim and keepable(raw, step, lowest):
            return cast(Array, ScaledIntegers(raw, step, lowest.astype(np.int32)))
        exact: Array = (raw.astype(np.float64) - zero) * scale
        return exact.astype(np.float32)


def whole_numbers(values: object, what: str, where: str) -> tuple[int, ...]:
    """The integers of a list or tuple of a pickle.

    Raises
    ------
    ModelFormatError
        It is something else.
    """
    if isinstance(values, Sequence) and not isinstance(values, (str, bytes)):
        numbers = tuple(values)
        if all(type(n) is int for n in numbers):
            return numbers
    raise ModelFormatError(f"{where}: the {what} of a tensor is no tuple of integers")
