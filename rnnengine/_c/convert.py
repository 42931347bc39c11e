"""The slow path of an array argument: whatever can be meant becomes a native contiguous array."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from rnnengine.errors import ShapeError

__all__ = [
    "DECLARED",
    "bad_feeds",
    "bad_output",
    "bad_outputs",
    "bad_shape",
    "is_masked",
    "shared_output",
    "to_array",
]

DECLARED = tuple(np.dtype(t) for t in (np.float32, np.int32, np.int64, np.bool_))
"""Element types of ports, by number. Those from 1 on are held as int32."""


def is_masked(value: Any) -> bool:
    """Whether a value is a masked array. Importing the module of these costs more than ours."""
    masked = sys.modules.get("numpy.ma")
    return masked is not None and isinstance(value, masked.MaskedArray)


def to_array(value: Any, dtype: int, name: str) -> np.ndarray[Any, Any]:
    """Return ``value`` as a C-contiguous, aligned, native array of the port's element type.

    Floating arrays of any width, byte order and layout are rounded to float32; integer arrays of
    any width are taken for int32 and int64 ports, and held as int32, as truth values are. Plain
    Python numbers and nested lists are accepted.

    Raises
    ------
    TypeError
        For element types that cannot be meant: integers or booleans where floats are expected
        (an unscaled recording, usually), complex numbers, objects, strings, masked arrays.
    ValueError
        Where a finite number would not stay one, or an integer would not stay the same.
    """
    if is_masked(value):
        raise TypeError(f"{name}: got a masked array; fill it first, for example x.filled(0)")
    is_array = hasattr(value, "dtype") or hasattr(value, "__array_interface__")
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise TypeError(f"{name}: not an array of numbers ({error})") from None
    if not is_array and (array.size == 0 or (array.dtype.kind in "iu" and dtype == 0)):
        array = array.astype((np.float64, np.int64, np.int64, np.bool_)[dtype])
    if array.dtype.kind not in ("f", "iu", "iu", "b")[dtype]:
        hint = "; convert it with x.astype(np.float32)" if array.dtype.kind in "iub" else ""
        raise TypeError(f"{name}: expected {DECLARED[dtype]}, got an array of {array.dtype}{hint}")
    return _as_float32(array, name) if dtype == 0 else _as_int32(array, name)


def _as_float32(array: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    with np.errstate(over="ignore"):
        result = np.require(array, dtype=np.dtype("=f4"), requirements=["C", "A"])
    if array.dtype.itemsize > 4 and not np.array_equal(np.isfinite(array), np.isfinite(result)):
        raise ValueError(f"{name}: a finite {array.dtype} value is too large for float32")
    return result


def _as_int32(array: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    limits = np.iinfo(np.int32)
    whole = array.dtype.kind in "iu" and array.size
    if whole and (array.max() > limits.max or array.min() < limits.min):
        raise ValueError(f"{name}: an integer does not fit int32")
    return np.require(array, dtype=np.dtype("=i4"), requirements=["C", "A"])


def bad_shape(name: str, expected: str, got: tuple[int, ...], step: bool, where: str) -> ShapeError:
    """Build the error of an input whose shape disagrees."""
    also = " (or the same without the time axis, for one step)" if step else ""
    detail = f"; {where}" if where else ""
    return ShapeError(f"input {name!r}: expected {expected}{also}, got {list(got)}{detail}")


def shared_output(name: str) -> ValueError:
    """Build the error of an ``out=`` array that lies where another one does."""
    return ValueError(f"out for {name!r}: shares memory with the array for another output")


def bad_output(name: str, expected: tuple[int, ...], value: Any, dtype: int) -> Exception | None:
    """Return the error of an ``out=`` array that cannot take the result, None for one that can."""
    if not isinstance(value, np.ndarray):
        return TypeError(f"out for {name!r}: expected a numpy array, got {type(value).__name__}")
    if value.shape != expected:
        return ShapeError(
            f"out for {name!r}: expected shape {list(expected)}, got {list(value.shape)}"
        )
    if value.dtype != DECLARED[dtype]:
        return TypeError(f"out for {name!r}: expected {DECLARED[dtype]}, got {value.dtype}")
    if not value.flags.writeable:
        return TypeError(f"out for {name!r}: the array is read-only")
    return None


def bad_outputs(names: list[str], given: Any) -> Exception | None:
    """Return the error of an ``out=`` that names no outputs of the model, None for one that can."""
    if not isinstance(given, dict):
        return TypeError(
            f"out: expected a dict of arrays by name ({', '.join(names)}), "
            f"got {type(given).__name__}"
        )
    unknown = [name for name in given if name not in names]
    if unknown:
        return ShapeError(f"out: no output named {unknown[0]!r}; outputs: {', '.join(names)}")
    return None


def bad_feeds(names: list[str], feeds: Any) -> Exception:
    """Build the error of inputs that are not given as they must be."""
    known = ", ".join(names)
    if not isinstance(feeds, dict):
        return TypeError(
            f"this model takes {len(names)} inputs; pass a dict of arrays by name: {known}"
        )
    parts = []
    if missing := [name for name in names if name not in feeds]:
        parts.append(f"missing {', '.join(missing)}")
    if unknown := [str(name) for name in feeds if name not in names]:
        parts.append(f"unknown {', '.join(unknown)}")
    return ShapeError(f"inputs: {'; '.join(parts)}; expected {known or 'none'}")
