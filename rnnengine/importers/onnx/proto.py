"""ONNX protobuf messages to Python values. Parsing only: no checker, no inference, no helpers."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsafeFileError, UnsupportedModelError
from rnnengine.ops.registry import Array

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

__all__ = ["BFLOAT16", "ELEMENT_TYPES", "Tensors", "element_type", "parse"]

BFLOAT16 = 16

ELEMENT_TYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.uint8),
    3: np.dtype(np.int8),
    4: np.dtype(np.uint16),
    5: np.dtype(np.int16),
    6: np.dtype(np.int32),
    7: np.dtype(np.int64),
    9: np.dtype(np.bool_),
    10: np.dtype(np.float16),
    11: np.dtype(np.float64),
    12: np.dtype(np.uint32),
    13: np.dtype(np.uint64),
}
"""TensorProto.DataType codes with a numpy equivalent; bfloat16 is read into float32."""

_NAMES = {
    0: "undefined", 8: "string", 14: "complex64", 15: "complex128", BFLOAT16: "bfloat16",
    17: "float8e4m3fn", 18: "float8e4m3fnuz", 19: "float8e5m2", 20: "float8e5m2fnuz",
    21: "uint4", 22: "int4", 23: "float4e2m1", 24: "float8e8m0",
}  # fmt: skip

_FIELDS: dict[int, str] = {
    1: "float_data", 2: "int32_data", 3: "int32_data", 4: "int32_data", 5: "int32_data",
    6: "int32_data", 7: "int64_data", 9: "int32_data", 10: "int32_data", 11: "double_data",
    12: "uint64_data", 13: "uint64_data", BFLOAT16: "int32_data",
}  # fmt: skip

_EXTERNAL = 1
_MAX_ELEMENTS = 1 << 40


def parse(content: bytes, name: str) -> ModelProto:
    """Parse a ModelProto.

    Raises
    ------
    ModelFormatError
        The content is no ONNX model.
    ImportError
        The ``onnx`` package is not installed.
    """
    try:
        from onnx import ModelProto as Message
    except ImportError as error:
        raise ImportError(
            "reading ONNX files needs the onnx package: pip install 'rnnengine[onnx]'"
        ) from error
    try:
        model: ModelProto = Message.FromString(content)
    except Exception as error:  # the parser's own error class depends on its backend
        raise ModelFormatError(
            f"{name}: damaged, or not an ONNX model: {error}; accepted: "
            "ONNX, Keras, PyTorch, safetensors, npz and .rnne"
        ) from None
    if not model.HasField("graph") or not model.opset_import:
        raise ModelFormatError(f"{name}: not an ONNX model: it has no graph or no opset")
    _check_text(model, name)
    return model


def _check_text(message: Any, name: str) -> None:
    """Refuse strings that are not UTF-8, which the parser hands out as bytes."""
    for field, value in message.ListFields():
        items = value if hasattr(value, "append") or hasattr(value, "add") else (value,)
        if field.type == field.TYPE_MESSAGE:
            for item in items:
                _check_text(item, name)
        elif field.type == field.TYPE_STRING:
            for item in items:
                if not isinstance(item, str):
                    raise ModelFormatError(f"{name}: {field.name} is not valid UTF-8: {item!r}")


def element_type(code: int, what: str) -> np.dtype[Any]:
    """Return the numpy type of an element type code, or refuse it by name."""
    try:
        return ELEMENT_TYPES[code]
    except KeyError:
        raise UnsupportedModelError(
            f"{what} has element type {_NAMES.get(code, f'number {code}')}; accepted: "
            f"{', '.join(str(t) for t in ELEMENT_TYPES.values())}"
        ) from None


class Tensors:
    """Decodes tensors, with external data only from plain files of one named directory.

    Parameters
    ----------
    directory : path or None
        Where external data may lie; None refuses it.
    """

    def __init__(self, directory: str | os.PathLike[str] | None) -> None:
        self._directory = None if directory is None else os.path.realpath(directory)

    def decode(self, tensor: TensorProto, what: str) -> Array:
        """Return a tensor as an array of its declared type (bfloat16: float32, exactly).

        Raises
        ------
        ModelFormatError
            The data does not match the declared shape and type.
        UnsafeFileError
            The data lies where it must not.
        UnsupportedModelError
            The element type is not supported.
        """
        what = f"{what}: tensor {tensor.name!r}"
        code = tensor.data_type
        dtype = np.dtype("<u2") if code == BFLOAT16 else element_type(code, what)
        shape, count = self._shape(tensor, what)
        if tensor.HasField("segment"):
            raise UnsupportedModelError(f"{what} is stored in segments; accepted: whole tensors")
        if tensor.data_location == _EXTERNAL:
            flat = self._raw(self._external(tensor, count * dtype.itemsize, what), dtype)
        elif tensor.HasField("raw_data"):
            flat = self._raw(tensor.raw_data, dtype)
        else:
            flat = self._typed(tensor, dtype, what)
        if flat.size != count:
            raise ModelFormatError(
                f"{what} holds {flat.size} elements of {dtype}; its shape {shape} needs {count}"
            )
        if code == BFLOAT16:
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        try:
            return flat.reshape(shape)
        except ValueError:
            raise ModelFormatError(f"{what}: shape {shape} is too large") from None

    @staticmethod
    def _shape(tensor: TensorProto, what: str) -> tuple[tuple[int, ...], int]:
        shape = tuple(int(d) for d in tensor.dims)
        count = math.prod(shape)
        if any(d < 0 or d > _MAX_ELEMENTS for d in shape) or count > _MAX_ELEMENTS:
            raise ModelFormatError(f"{what} has shape {shape}")
        return shape, count

    @staticmethod
    def _raw(data: bytes, dtype: np.dtype[Any]) -> Array:
        """Little-endian bytes; a length that is no multiple gives a size that fits no shape."""
        whole = len(data) // dtype.itemsize
        if whole * dtype.itemsize != len(data):
            raise ModelFormatError(f"{len(data)} bytes of data are no whole number of {dtype}")
        if dtype.kind == "b":
            return np.asarray(np.frombuffer(data, np.uint8) != 0)
        return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False)

    @staticmethod
    def _typed(tensor: TensorProto, dtype: np.dtype[Any], what: str) -> Array:
        wide = np.asarray(getattr(tensor, _FIELDS[tensor.data_type]))
        if not wide.size:
            return np.zeros(0, dtype)
        if tensor.data_type in (10, BFLOAT16):
            bits = wide.astype(np.int64)
            if np.any((bits < 0) | (bits > 0xFFFF)):
                raise ModelFormatError(f"{what}: int32_data holds more than 16 bits")
            return bits.astype(np.uint16).view(dtype)
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            if wide.min() < limits.min or wide.max() > limits.max:
                raise ModelFormatError(f"{what} holds values outside {dtype}")
        return wide.astype(dtype)

    def _external(self, tensor: TensorProto, expected: int, what: str) -> bytes:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        if self._directory is None:
            raise UnsafeFileError(
                f"{what} keeps its data in another file, {location!r}; name the directory that "
                "file may be read from: load(..., external_data=directory)"
            )
        path = _inside(self._directory, location, what)
        offset = _number(entries.get("offset", "0"), what)
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = _number(entries.get("length", str(max(size - offset, 0))), what)
            if length != expected or offset + length > size:
                raise ModelFormatError(
                    f"{what}: bytes {offset}..{offset + length} of {location!r} ({size} bytes) "
                    f"are not the {expected} bytes its shape needs"
                )
            file.seek(offset)
            return file.read(length)


def _number(text: str, what: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise ModelFormatError(f"{what}: external data offset or length is {text!r}")
    return int(text)


def _inside(directory: str, location: str, what: str) -> str:
    """Return the path of a plain file below the directory, following no link out of it."""
    parts = location.replace("\\", "/").split("/")
    suspicious = not location or "\0" in location or os.path.isabs(location) or ":" in location
    path = (
        "" if suspicious or ".." in parts else os.path.realpath(os.path.join(directory, location))
    )
    if not path.startswith(directory.rstrip(os.sep) + os.sep):
        raise UnsafeFileError(
            f"{what}: external data location {location!r} is not inside {directory!r}"
        )
    if not os.path.isfile(path):
        raise ModelFormatError(f"{what}: external data file {location!r} is missing or no file")
    return path
