"""The containers of PyTorch files: zip archives, pickles in a row, tar archives."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.torch.archive import Archive
from rnnengine.importers.torch.inert import Name, brief
from rnnengine.importers.torch.machine import Limits
from rnnengine.importers.torch.pickles import read_pickle
from rnnengine.importers.torch.tensors import (
    DTYPES,
    STORAGES,
    StorageRef,
    TensorRef,
    check_extent,
)

__all__ = ["Content", "find_pickle", "read_content", "read_member"]

_MAGIC = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."

_MOST_PICKLE = 256 << 20
_MOST_CODE = 32 << 20


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes
    ----------
    root : Any
        The object that was saved, made of inert records.
    stored : int
        Bytes of the file.
    script : bool
        Whether it is a TorchScript archive.
    code : mapping of str to str
        The texts of a TorchScript archive, by path below ``code/``.
    """

    root: Any
    stored: int
    script: bool = False
    code: Mapping[str, str] = field(default_factory=dict)


def read_content(content: bytes, name: str) -> Content:
    """Read a PyTorch file of any container but the exported programs.

    Raises
    ------
    ModelFormatError
        It is damaged.
    UnsafeFileError
        Its pickle asks for something else than data.
    """
    if content[:4] == b"PK\x03\x04":
        archive = Archive(content, name)
        member = find_pickle(archive, name)
        if member is None:
            raise ModelFormatError(f"{name}: a zip archive without a data.pkl; no PyTorch file")
        return read_member(archive, member, name, len(content))
    limits = _limits(name)
    if _after_magic(content):
        return Content(_read_legacy(content, name, limits), len(content))
    if content[257:262] == b"ustar":
        return Content(_read_tar(content, name, limits), len(content))
    root, end = read_pickle(memoryview(content), 0, name, _no_storage(name), limits)
    if end != len(content):
        raise ModelFormatError(f"{name}: {len(content) - end} bytes after the end of the pickle")
    return Content(root, len(content))


def _after_magic(content: bytes) -> int:
    """Where the first pickle of a file written before PyTorch 1.6 ends; 0 for another file."""
    at = content.find(_MAGIC, 0, 32)
    return at + len(_MAGIC) if content[:1] == b"\x80" and at >= 0 else 0


def _limits(name: str) -> Limits:
    """Limits of a file, with the reader of the files that plain pickles hold for storages."""
    limits = Limits()

    def nested(content: bytes) -> Any:
        if not _after_magic(content):
            raise ModelFormatError(f"{name}: a storage inside the pickle is no PyTorch file")
        limits.nested = None
        try:
            return _read_legacy(content, name, limits)
        finally:
            limits.nested = nested

    limits.nested = nested
    return limits


def _no_storage(name: str) -> Any:
    def load(identity: Any) -> Any:
        raise ModelFormatError(
            f"{name}: the pickle refers to {brief(identity)} outside it; there is nothing there"
        )

    return load


def find_pickle(archive: Archive, name: str) -> str | None:
    """The member that holds the object, or None.

    Raises
    ------
    ModelFormatError
        Several could be meant.
    """
    found = [n for n in archive.names if n.rpartition("/")[2].casefold() == "data.pkl"]
    if len(found) > 1:
        raise ModelFormatError(f"{name}: ambiguous: the archive has the pickles {found[:4]}")
    if not found:
        return None
    if found[0].count("/") != 1 or not found[0].endswith("data.pkl"):
        raise ModelFormatError(
            f"{name}: the pickle is the member {found[0]!r}; expected '<name>/data.pkl'"
        )
    return found[0]


def read_member(archive: Archive, member: str, name: str, stored: int) -> Content:
    """Read the object of an archive."""
    base = member.rpartition("/")[0]
    if archive.size(member) > _MOST_PICKLE:
        raise ModelFormatError(f"{name}: a pickle of {archive.size(member)} bytes; refused")
    big = _is_big_endian(archive, base, name)
    known: dict[str, StorageRef] = {}

    def load(identity: Any) -> Any:
        storage = _described(identity, name)
        if not isinstance(storage, StorageRef):
            return storage
        first = known.setdefault(storage.key, storage)
        if first is not storage:
            return _same(first, storage, name)
        path = f"{base}/data/{storage.key}"
        size = archive.size(path)
        if size != storage.nbytes:
            raise ModelFormatError(
                f"{name}: storage {storage.key!r} needs {storage.nbytes} bytes; member {path!r}"
                + (f" has {size}" if size >= 0 else " is missing from the archive")
            )
        storage.fetch = lambda: archive.view(path)
        storage.big_endian = big
        return storage

    script = f"{base}/constants.pkl" in archive or any(
        n.startswith(f"{base}/code/") for n in archive.names
    )
    root, _ = read_pickle(archive.view(member), 0, name, load, _limits(name))
    return Content(root, stored, script, _code(archive, base) if script else {})


def _code(archive: Archive, base: str) -> dict[str, str]:
    """The texts of the modules, as far as they are of a sane size."""
    texts: dict[str, str] = {}
    left = _MOST_CODE
    for member in archive.names:
        if member.startswith(f"{base}/code/") and member.endswith(".py"):
            left -= archive.size(member)
            if left < 0:
                break
            texts[member[len(base) + 6 :]] = str(archive.view(member), "utf-8", "replace")
    return texts


def _is_big_endian(archive: Archive, base: str, name: str) -> bool:
    if f"{base}/byteorder" not in archive:
        return False
    order = bytes(archive.view(f"{base}/byteorder")[:16])
    if order not in (b"little", b"big"):
        raise ModelFormatError(f"{name}: byte order {order!r}; expected 'little' or 'big'")
    return order == b"big"


def _described(identity: Any, name: str) -> Any:
    """The storage a persistent id describes, or the class that stands beside its source text."""
    if type(identity) is tuple and len(identity) >= 2 and identity[0] == "module":
        return identity[1]
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
        raise ModelFormatError(f"{name}: the pickle refers to something outside that is no storage")
    kind, key, numel = identity[1], identity[2], identity[4]
    if type(key) is not str or not key or len(key) > 100 or "/" in key or "\\" in key:
        raise ModelFormatError(f"{name}: a storage with the name {brief(key)!r}")
    if type(numel) is not int or not 0 <= numel < 2**48:
        raise ModelFormatError(f"{name}: storage {key!r} of {brief(numel)} elements")
    return StorageRef(key, _storage_type(kind, name), numel)


def _storage_type(kind: Any, name: str) -> str | None:
    if isinstance(kind, Name) and kind.module.partition(".")[0] == "torch":
        if kind.name in STORAGES:
            return STORAGES[kind.name]
        if kind.name == "UntypedStorage":
            return None
    raise UnsupportedModelError(
        f"{name}: a storage of class {brief(kind)}; accepted: {[*STORAGES]}"
    )


def _same(first: StorageRef, again: StorageRef, name: str) -> StorageRef:
    if (first.dtype, first.numel) == (again.dtype, again.numel):
        return first
    if first.nbytes != again.nbytes:
        raise ModelFormatError(
            f"{name}: storage {first.key!r} is said to have {first.nbytes} and {again.nbytes} bytes"
        )
    again.fetch, again.big_endian = (lambda: first.bytes(name)), first.big_endian
    return again


def _read_legacy(content: bytes, name: str, limits: Limits) -> Any:
    """Pickles in a row: magic, version, system, object, names of storages; then the storages."""
    data = memoryview(content)
    known: dict[str, StorageRef] = {}
    views: list[tuple[StorageRef, StorageRef, int]] = []

    def load(identity: Any) -> Any:
        storage = _described(identity, name)
        if not isinstance(storage, StorageRef):
            return storage
        base = known.setdefault(storage.key, storage)
        if (base.dtype, base.numel) != (storage.dtype, storage.numel):
            raise ModelFormatError(f"{name}: storage {storage.key!r} is described in two ways")
        view = identity[5] if len(identity) > 5 else None
        return base if view is None else _view(base, view, views, name)

    at = _after_magic(content)
    version, at = read_pickle(data, at, name, _no_storage(name), limits)
    if version != 1001:
        raise ModelFormatError(f"{name}: protocol version {brief(version)}; expected 1001")
    system, at = read_pickle(data, at, name, _no_storage(name), limits)
    big = type(system) is dict and system.get("little_endian") is False
    root, at = read_pickle(data, at, name, load, limits)
    keys, at = read_pickle(data, at, name, _no_storage(name), limits)
    if type(keys) is not list or len(keys) > len(content) // 8:
        raise ModelFormatError(f"{name}: the list of storages is damaged")
    for key in keys:
        storage = known.get(key) if type(key) is str else None
        if storage is None or storage.data is not None:
            raise ModelFormatError(f"{name}: storage {brief(key)!r} is unknown or comes twice")
        at = _fill(storage, data, at, big, name)
    for view, base, begin in views:
        width = DTYPES[base.dtype or "uint8"][1]
        view.data = base.bytes(name)[begin * width : begin * width + view.nbytes]
        view.big_endian = big
    return root


def _view(
    base: StorageRef, view: Any, views: list[tuple[StorageRef, StorageRef, int]], name: str
) -> StorageRef:
    """A part of a storage that old files treat as a storage of its own."""
    if type(view) is not tuple or len(view) != 3 or any(type(n) is not int for n in view[1:]):
        raise ModelFormatError(f"{name}: storage {base.key!r} has a view that is none")
    begin, numel = view[1], view[2]
    if begin < 0 or numel < 0 or begin + numel > base.numel:
        raise ModelFormatError(f"{name}: a view of storage {base.key!r} reaches outside it")
    part = StorageRef(brief(view[0]), base.dtype, numel)
    views.append((part, base, begin))
    return part


def _fill(storage: StorageRef, data: memoryview, at: int, big: bool, name: str) -> int:
    """Give a storage its bytes, which stand after their number; return where they end."""
    if at + 8 > len(data):
        raise ModelFormatError(f"{name}: storage {storage.key!r} is missing; the file is truncated")
    numel = int.from_bytes(data[at : at + 8], "big" if big else "little", signed=True)
    if numel != storage.numel:
        raise ModelFormatError(
            f"{name}: storage {storage.key!r} has {numel} elements; the pickle says {storage.numel}"
        )
    at += 8
    if at + storage.nbytes > len(data):
        raise ModelFormatError(
            f"{name}: storage {storage.key!r} needs {storage.nbytes} bytes;"
            f" {len(data) - at} are left, the file is truncated"
        )
    storage.data, storage.big_endian = data[at : at + storage.nbytes], big
    return at + storage.nbytes


def _read_tar(content: bytes, name: str, limits: Limits) -> Any:
    """Files of PyTorch 0.1: a tar archive of storages, tensors and the pickle."""
    members = _tar_members(content, name)
    absent = {"storages", "tensors", "pickle"} - members.keys()
    if absent:
        raise ModelFormatError(
            f"{name}: a tar archive without {sorted(absent)}; no PyTorch file. Extract it first"
        )
    storages = _tar_storages(members["storages"], name, limits)
    tensors = _tar_tensors(members["tensors"], storages, name, limits)

    def load(identity: Any) -> Any:
        if type(identity) is tuple and identity and isinstance(identity[0], Name):
            return identity[0]
        found = tensors.get(str(identity)) if type(identity) in (str, int) else None
        if found is None:
            raise ModelFormatError(f"{name}: tensor {brief(identity)!r} is not in the archive")
        return found

    root, _ = read_pickle(members["pickle"], 0, name, load, limits)
    return root


def _tar_members(content: bytes, name: str) -> dict[str, memoryview]:
    data, members, at = memoryview(content), dict[str, memoryview](), 0
    while at + 512 <= len(content) and content[at]:
        head = content[at : at + 512]
        title = head[:100].rstrip(b"\0").decode("utf-8", "replace").removeprefix("./")
        digits = head[124:136].strip(b"\0 ")
        if not digits or digits.strip(b"01234567"):
            raise ModelFormatError(f"{name}: member {title!r} of the tar archive has no size")
        size = int(digits, 8)
        if at + 512 + size > len(content):
            raise ModelFormatError(f"{name}: member {title!r} is cut off; the file is truncated")
        if head[156:157] in (b"0", b"\0"):
            if title in members:
                raise ModelFormatError(f"{name}: two members are named {title!r}")
            members[title] = data[at + 512 : at + 512 + size]
        at += 512 + (size + 511) // 512 * 512
    return members


def _count(value: Any, data: memoryview, what: str, name: str) -> int:
    if type(value) is not int or not 0 <= value <= len(data):
        raise ModelFormatError(f"{name}: {brief(value)} {what}")
    return value


def _tar_storages(data: memoryview, name: str, limits: Limits) -> dict[str, StorageRef]:
    nothing, found = _no_storage(name), dict[str, StorageRef]()
    number, at = read_pickle(data, 0, name, nothing, limits)
    for _ in range(_count(number, data, "storages", name)):
        entry, at = read_pickle(data, at, name, nothing, limits)
        if type(entry) is not tuple or len(entry) != 3 or at + 8 > len(data):
            raise ModelFormatError(f"{name}: the storages of the tar archive are damaged")
        numel = int.from_bytes(data[at : at + 8], "little")
        storage = StorageRef(brief(entry[0]), _storage_type(entry[2], name), min(numel, 2**48))
        at = _fill(storage, data, at, False, name)
        found[storage.key] = storage
    views, _ = read_pickle(data, at, name, nothing, limits)
    for view in views if type(views) is list else ():
        if type(view) is not tuple or len(view) != 4 or brief(view[1]) not in found:
            raise ModelFormatError(f"{name}: the storages of the tar archive are damaged")
        base, parts = found[brief(view[1])], list[tuple[StorageRef, StorageRef, int]]()
        part = _view(base, (view[0], view[2], view[3]), parts, name)
        width = DTYPES[base.dtype or "uint8"][1]
        begin = view[2] * width
        part.data = base.bytes(name)[begin : begin + part.nbytes]
        found[part.key] = part
    return found


def _tar_tensors(
    data: memoryview, storages: dict[str, StorageRef], name: str, limits: Limits
) -> dict[str, TensorRef]:
    nothing, found = _no_storage(name), dict[str, TensorRef]()
    number, at = read_pickle(data, 0, name, nothing, limits)
    for _ in range(_count(number, data, "tensors", name)):
        entry, at = read_pickle(data, at, name, nothing, limits)
        rank = int.from_bytes(data[at : at + 4], "little")
        end = at + 8 + 16 * rank + 8
        known = type(entry) is tuple and len(entry) == 3 and brief(entry[1]) in storages
        if not known or rank > 32 or end > len(data):
            raise ModelFormatError(f"{name}: the tensors of the tar archive are damaged")
        numbers = struct.unpack_from(f"<{2 * rank + 1}q", data, at + 8)
        storage = storages[brief(entry[1])]
        tensor = TensorRef(
            storage,
            storage.dtype or "uint8",
            numbers[-1],
            numbers[:rank],
            numbers[rank : 2 * rank],
        )
        check_extent(tensor, f"{name}: tensor {brief(entry[0])!r}")
        found[brief(entry[0])] = tensor
        at = end
    return found
