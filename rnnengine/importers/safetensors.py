"""safetensors files: a strict reader of their structure, and of their weights.

A file is a 64-bit little-endian length, a JSON header of that length (padded with spaces), and the
data. The header maps names to element type, shape and the bytes of the data; together the tensors
must cover the data exactly. Nothing is allocated before all of this has been checked.
Source: the format description of the safetensors project, and its validation rules.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.records import record

if TYPE_CHECKING:
    from rnnengine.importers.checkpoint import Checkpoint

__all__ = [
    "Content",
    "Header",
    "Place",
    "is_safetensors",
    "parse",
    "read_checkpoint",
    "tensor",
    "write",
]

Array = np.ndarray[Any, Any]
Content: TypeAlias = bytes | memoryview
"""Of a file: what was read, or what it is mapped to."""

DTYPES: dict[str, str] = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4",
    "I16": "<i2", "I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
"""Element types; bfloat16 is read as its bits."""

_LARGEST_HEADER = 100_000_000
_LARGEST_RANK = 32
_LARGEST_SIZE = 1 << 53
_FIELDS = {"dtype", "shape", "data_offsets"}


@record
class Place:
    """Where a tensor stands: element type, shape, first byte and end in the data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@record
class Header:
    """A checked header: where the data starts, the tensors, and the free text of the file."""

    data: int
    tensors: Mapping[str, Place]
    metadata: Mapping[str, str]


def is_safetensors(content: Content) -> bool:
    """Whether content starts as a safetensors file does."""
    return content[8:9] == b"{" and 2 <= int.from_bytes(content[:8], "little") <= _LARGEST_HEADER


def parse(content: Content, name: str) -> Header:
    """Check the structure of a file.

    Raises
    ------
    ModelFormatError
        Naming the tensor and what is wrong with it.
    UnsupportedModelError
        An element type that is not supported.
    """
    if len(content) < 8:
        raise ModelFormatError(f"{name}: {len(content)} bytes; a safetensors file has at least 8")
    length = int.from_bytes(content[:8], "little")
    if length > min(len(content) - 8, _LARGEST_HEADER):
        raise ModelFormatError(
            f"{name}: the header is said to have {length} bytes; the file has {len(content)} and "
            f"headers at most {_LARGEST_HEADER}"
        )
    entries = _json(bytes(content[8 : 8 + length]), name)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ModelFormatError(f"{name}: '__metadata__' is not a map of strings to strings")
    size = len(content) - 8 - length
    places = {key: _place(key, entry, size, name) for key, entry in entries.items()}
    end = 0
    for key, place in sorted(places.items(), key=lambda item: (item[1].start, item[1].end)):
        if place.start != end:
            what = "overlaps the one before it" if place.start < end else "leaves a gap before it"
            raise ModelFormatError(
                f"{name}: tensor {key!r} starts at byte {place.start} of the data, expected {end}: "
                f"it {what}"
            )
        end = place.end
    if end != size:
        raise ModelFormatError(f"{name}: {size - end} bytes after the last tensor belong to none")
    return Header(8 + length, places, metadata)


def _json(text: bytes, name: str) -> dict[str, Any]:
    """Parse the header; keys must differ and numbers be integers of ordinary length."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            seen: set[str] = set()
            twice = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise ModelFormatError(f"{name}: the header has the key {twice!r} twice")
        return found

    def whole(digits: str) -> int:
        if len(digits) > 17:
            refuse(digits[:17] + "...")
        return int(digits)

    def refuse(text: str) -> NoReturn:
        raise ModelFormatError(f"{name}: the header has the number {text}; expected sizes")

    if text[:1] != b"{":
        raise ModelFormatError(f"{name}: the header does not start with '{{'")
    try:
        found = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=pairs,
            parse_int=whole,
            parse_float=refuse,
            parse_constant=refuse,
        )
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{name}: the header is no JSON: {error}") from None
    assert isinstance(found, dict)
    return found


def _place(key: str, entry: Any, size: int, name: str) -> Place:
    where = f"{name}: tensor {key!r}"
    if not isinstance(entry, dict) or set(entry) != _FIELDS:
        raise ModelFormatError(f"{where}: expected the fields {', '.join(sorted(_FIELDS))}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise UnsupportedModelError(
            f"{where}: dtype is {dtype!r}; accepted: {', '.join(sorted(DTYPES))}"
        )
    if not _sizes(shape) or len(shape) > _LARGEST_RANK:
        raise ModelFormatError(f"{where}: shape is {str(shape)[:80]}; expected a list of sizes")
    if not _sizes(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= size:
        raise ModelFormatError(
            f"{where}: data_offsets are {str(offsets)[:80]}; expected two within 0..{size}"
        )
    count = math.prod(shape)
    if max([count, *shape]) > _LARGEST_SIZE:
        raise ModelFormatError(f"{where}: shape {str(shape)[:80]} is too large")
    needed = count * np.dtype(DTYPES[dtype]).itemsize
    if offsets[1] - offsets[0] != needed:
        raise ModelFormatError(
            f"{where}: {dtype} {shape} takes {needed} bytes; data_offsets hold "
            f"{offsets[1] - offsets[0]}"
        )
    return Place(dtype, tuple(shape), offsets[0], offsets[1])


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and v >= 0 for v in value)


def tensor(content: Content, header: Header, key: str) -> Array:
    """Return a tensor; a view of the content where that is aligned and native.

    float16 and bfloat16 are widened to float32.
    """
    place = header.tensors[key]
    stored = np.dtype(DTYPES[place.dtype])
    flat = np.frombuffer(content, stored, math.prod(place.shape), header.data + place.start)
    if place.dtype == "BF16":
        flat = (flat.astype(np.uint32) << np.uint32(16)).view(np.float32)
    elif place.dtype == "F16":
        flat = flat.astype(np.float32)
    elif place.dtype == "BOOL":
        flat = flat.view(np.uint8) != 0
    if not flat.flags.aligned or not flat.dtype.isnative:
        flat = flat.astype(flat.dtype.newbyteorder("="))
    return flat.reshape(place.shape)


def read_checkpoint(content: Content, name: str) -> Checkpoint:
    """Read the weights of a safetensors file.

    Raises
    ------
    ModelFormatError, UnsupportedModelError
        As :func:`parse`.
    """
    from rnnengine.importers.checkpoint import Checkpoint

    header = parse(content, name)
    tensors = {key: tensor(content, header, key) for key in header.tensors}
    return Checkpoint(tensors, {}, "safetensors", name)


def write(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """Return float32 tensors as the content of a file, one after the other."""
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    pieces: list[bytes] = []
    end = 0
    for name, value in tensors.items():
        piece = np.ascontiguousarray(value, "<f4").tobytes()
        offsets = [end, end + len(piece)]
        entries[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": offsets}
        pieces.append(piece)
        end = offsets[1]
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return b"".join([len(header).to_bytes(8, "little"), header, *pieces])
