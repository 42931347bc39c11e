"""HDF5 files to plain groups of arrays, by way of pyfive, with every size checked beforehand."""

from __future__ import annotations

import importlib
import io
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from rnnengine.errors import (
    ModelFormatError,
    RNNEngineError,
    UnsafeFileError,
    UnsupportedModelError,
)

__all__ = ["MAGIC", "Array", "Group", "read_hdf5"]

Array: TypeAlias = np.ndarray[Any, Any]

MAGIC = b"\x89HDF\r\n\x1a\n"

_MAX_OBJECTS = 100_000
_MAX_DEPTH = 40
_SLACK = 1 << 26
"""Bytes that may be read or unpacked from any file, however small."""
_RATIO = 20
"""Bytes beyond those for each byte of the file: packed zeros take more, weights never do."""
_UNDEFINED = 2**64 - 1
_ATTRIBUTE, _ATTRIBUTE_INFO = 12, 21
"""Numbers of header messages of the HDF5 format."""
_TRAINING = frozenset({"optimizer_weights", "optimizer", "_optimizer"})
"""Groups at the root that hold the state of training, not of the model."""


@dataclass(frozen=True)
class Group:
    """One group of a file, all of it in memory.

    Attributes
    ----------
    path : str
        Where it stands in the file; the root is ``/``.
    attrs : mapping of str to Any
        Texts as str, arrays of texts as lists of str, numbers as NumPy has them.
    groups, arrays : mapping of str to Group and to array
        In the order of the file. Arrays are little-endian or native, floats at least float32.
    """

    path: str
    attrs: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)

    def find(self, path: str) -> Array | None:
        """Array at a path below the group, None if there is none."""
        *folders, name = path.strip("/").split("/")
        group: Group | None = self
        for folder in folders:
            group = group.groups.get(folder) if group is not None else None
        return None if group is None else group.arrays.get(name)

    def walk(self) -> Iterator[tuple[str, Array]]:
        """Every array below the group with its path from the group."""
        for name, array in self.arrays.items():
            yield name, array
        for name, group in self.groups.items():
            for inner, array in group.walk():
                yield f"{name}/{inner}", array


class _Metered(io.BytesIO):
    """A file in memory that refuses to be read for ever, which crafted headers can ask for."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.left = _SLACK + _RATIO * len(content)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, at a price of at least 64 bytes a call."""
        data = super().read(size)
        self.left -= max(64, len(data))
        if self.left < 0:
            raise ModelFormatError("its headers lead in circles")
        return data


class _Reader:
    """Copies one file into groups within its limits."""

    def __init__(self, where: str, size: int) -> None:
        self.where = where
        self.size = size
        self.objects = 0
        self.left = _SLACK + _RATIO * size

    def group(self, source: Any, path: str, depth: int) -> Group:
        """Copy a group and all below it."""
        if depth > _MAX_DEPTH:
            raise ModelFormatError(
                f"{self.where}: groups are nested more than {_MAX_DEPTH} deep at {path!r}"
            )
        groups: dict[str, Group] = {}
        arrays: dict[str, Array] = {}
        if depth == 0:
            self._guard(source._dataobjects, path)
        for name in source:
            self._count(path, name)
            inner = f"{path.rstrip('/')}/{name}"
            if depth == 0 and name in _TRAINING:
                continue
            target = source._links[name]
            if not isinstance(target, int | np.integer):
                raise UnsafeFileError(
                    f"{self.where}: {inner!r} is a link to another place; accepted: groups and "
                    "datasets that stand where they are named"
                )
            self._guard(source.file._get_dataobjects(target), inner)
            child = source.get_lazy_view(name)
            if hasattr(child, "shape"):
                arrays[name] = self._array(child, inner)
            elif hasattr(child, "keys"):
                groups[name] = self.group(child, inner, depth + 1)
            else:
                raise ModelFormatError(f"{self.where}: {inner!r} is neither group nor dataset")
        attrs = {key: _plain(value) for key, value in source.attrs.items()}
        return Group(path, attrs, groups, arrays)

    def _count(self, path: str, name: str) -> None:
        self.objects += 1
        if self.objects > _MAX_OBJECTS:
            raise ModelFormatError(f"{self.where}: more than {_MAX_OBJECTS} objects")
        if not name or "/" in name or name in (".", ".."):
            raise ModelFormatError(f"{self.where}: {path!r} holds an object named {name!r}")

    def _guard(self, header: Any, path: str) -> None:
        """Refuse attributes that declare more elements than their header has bytes.

        pyfive makes an array of what is declared before it looks.
        """
        for message in header.find_msg_type(_ATTRIBUTE):
            count = _declared(header.msg_data, message["offset_to_message"])
            if count > len(header.msg_data):
                raise ModelFormatError(
                    f"{self.where}: an attribute of {path!r} declares {count} elements"
                )
        for message in header.find_msg_type(_ATTRIBUTE_INFO):
            offset = message["offset_to_message"]
            flags = header.msg_data[offset + 1]
            (heap,) = struct.unpack_from("<Q", header.msg_data, offset + 2 + 2 * (flags & 1))
            if heap != _UNDEFINED:
                raise UnsupportedModelError(
                    f"{self.where}: the attributes of {path!r} are in a heap; accepted: attributes "
                    "in the header, as Keras writes them"
                )

    def _array(self, dataset: Any, path: str) -> Array:
        what = f"{self.where}: dataset {path!r}"
        shape = dataset.shape
        dtype = np.dtype(dataset.dtype)
        if shape is None or dtype.kind not in "fiub":
            raise UnsupportedModelError(f"{what} holds {dtype} of shape {shape}; accepted: numbers")
        if dtype.itemsize > 8 or len(shape) > 8:
            raise UnsupportedModelError(
                f"{what} is {dtype} of rank {len(shape)}; accepted: up to 64 bits and rank 8"
            )
        declared = math.prod(int(n) for n in shape) * dtype.itemsize
        self.left -= declared
        if self.left < 0:
            raise ModelFormatError(
                f"{what} declares shape {shape} ({declared} bytes): more than a file of "
                f"{self.size} bytes can hold"
            )
        value = self._data(dataset, what, declared)
        return _native(value, str(_plain(dataset.attrs.get("dtype", ""))))

    def _data(self, dataset: Any, what: str, declared: int) -> Array:
        layout = dataset.id.layout_class
        if declared == 0:
            return np.zeros(dataset.shape, dataset.dtype)
        if layout == 2:
            return self._chunked(dataset, what)
        if layout == 1 and dataset.id.data_offset == _UNDEFINED:
            raise UnsafeFileError(
                f"{what} has no data in this file (external storage, or never written); accepted: "
                "datasets stored in the file itself"
            )
        if layout not in (0, 1):
            raise UnsafeFileError(
                f"{what} is virtual (layout {layout}): its data is in other files; accepted: "
                "datasets stored in the file itself"
            )
        if declared > self.size:
            raise ModelFormatError(f"{what} is larger than the file")
        value = np.asarray(dataset[()])
        if value.shape != tuple(dataset.shape):
            raise ModelFormatError(f"{what} is truncated")
        return value

    def _chunked(self, dataset: Any, what: str) -> Array:
        shape, chunk = tuple(dataset.shape), tuple(dataset.chunks)
        if len(chunk) != len(shape) or any(c < 1 for c in chunk):
            raise ModelFormatError(f"{what} has shape {shape} in chunks of {chunk}")
        if dataset.compression not in (None, "gzip"):
            raise UnsupportedModelError(
                f"{what} is compressed with {dataset.compression!r}; accepted: gzip or none"
            )
        count = math.prod(-(-s // c) for s, c in zip(shape, chunk, strict=True))
        if dataset.id.get_num_chunks() != count:
            raise ModelFormatError(
                f"{what} has {dataset.id.get_num_chunks()} chunks in the file; its shape {shape} "
                f"needs {count}"
            )
        size = math.prod(chunk) * dataset.dtype.itemsize
        self.left -= size * count
        if self.left < 0:
            raise ModelFormatError(f"{what}: its chunks are larger than such a file can hold")
        result = np.zeros(shape, dataset.dtype)
        for index in np.ndindex(*(-(-s // c) for s, c in zip(shape, chunk, strict=True))):
            start = tuple(i * c for i, c in zip(index, chunk, strict=True))
            mask, raw = dataset.id.read_direct_chunk(start)
            if mask:
                raise UnsupportedModelError(f"{what}: the chunk at {start} skips its filters")
            data = _unpacked(dataset, bytes(raw), size, f"{what}, chunk at {start}")
            block = np.frombuffer(data, dataset.dtype).reshape(chunk)
            region = tuple(slice(s, min(s + c, n)) for s, c, n in zip(start, chunk, shape))  # noqa: B905
            result[region] = block[tuple(slice(0, r.stop - r.start) for r in region)]
        return result


def _declared(data: bytes, offset: int) -> int:
    """Number of elements an attribute message declares."""
    version, _, name, dtype, _ = struct.unpack_from("<BBHHH", data, offset)
    padding = 8 if version == 1 else 1
    offset += 8 if version == 1 else 9
    offset += sum(-(-size // padding) * padding for size in (name, dtype))
    space, rank = struct.unpack_from("<BB", data, offset)
    dims = struct.unpack_from(f"<{rank}Q", data, offset + (8 if space == 1 else 4))
    return math.prod(dims)


def _unpacked(dataset: Any, raw: bytes, size: int, what: str) -> bytes:
    """Undo gzip, the checksum and the byte shuffle; never more bytes than the chunk has."""
    stored = size + (4 if dataset.fletcher32 else 0)
    if dataset.compression == "gzip":
        raw = zlib.decompressobj().decompress(raw, stored + 1)
    if dataset.fletcher32 and len(raw) == stored:
        raw = raw[:-4]
    if len(raw) != size:
        raise ModelFormatError(f"{what} does not unpack to {size} bytes")
    if dataset.shuffle:
        width = dataset.dtype.itemsize
        return np.frombuffer(raw, np.uint8).reshape(width, -1).T.tobytes()
    return raw


def _native(value: Array, declared: str) -> Array:
    """Native byte order, halves widened; Keras writes bfloat16 as its bytes and says so."""
    if declared == "bfloat16" and value.dtype.itemsize == 2:
        bits = value.view(np.uint16).astype(np.uint32) << np.uint32(16)
        return bits.view(np.float32)
    if value.dtype.kind == "f" and value.dtype.itemsize < 4:
        return value.astype(np.float32)
    return np.asarray(value, value.dtype.newbyteorder("="), order="C")


def _plain(value: Any) -> Any:
    """An attribute as str, list of str, or what it is."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, np.ndarray) and value.dtype.kind in "OS":
        return [_plain(v) for v in value.reshape(-1).tolist()]
    return value


def read_hdf5(content: bytes, where: str) -> Group:
    """Read a whole HDF5 file.

    Parameters
    ----------
    content : bytes
    where : str
        Name of the file for messages.

    Returns
    -------
    Group
        The root, without the optimiser's state.

    Raises
    ------
    ModelFormatError
        The file is damaged, contradicts itself or declares more than it can hold.
    UnsafeFileError
        It refers to other files, or has links.
    UnsupportedModelError
        It uses a part of HDF5 that is not read here; pyfive is not installed.
    """
    try:
        pyfive: Any = importlib.import_module("pyfive")
    except ImportError:
        raise UnsupportedModelError(
            f"{where}: HDF5 files are read with the package 'pyfive'; install it with "
            "pip install 'rnnengine[keras]'"
        ) from None
    try:
        with pyfive.File(_Metered(content)) as file:
            return _Reader(where, len(content)).group(file, "/", 0)
    except RNNEngineError as error:
        if where not in str(error):
            error.args = (f"{where}: {error}",)
        raise
    except AssertionError as error:
        raise ModelFormatError(
            f"{where}: damaged, or it uses links to other files or newer parts of HDF5; accepted: "
            f"files as Keras writes them ({str(error) or 'an assertion of the reader failed'})"
        ) from None
    except (MemoryError, RecursionError) as error:
        raise ModelFormatError(
            f"{where}: damaged: reading it needs too much memory or leads in circles "
            f"({type(error).__name__})"
        ) from None
    except Exception as error:
        raise ModelFormatError(f"{where}: damaged HDF5 file ({error!r})") from None
