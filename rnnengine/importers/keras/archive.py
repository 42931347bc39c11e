"""The `.keras` archive of Keras 3: a zip of two JSON texts and the weights."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass

from rnnengine.errors import ModelFormatError, UnsafeFileError, UnsupportedModelError

__all__ = ["Archive", "is_keras_archive", "read_archive"]

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_PICKLED = "model.weights.npz"
_MAX_MEMBERS = 10_000
_MAX_TEXT = 1 << 26
_SLACK, _RATIO = 1 << 26, 20


@dataclass(frozen=True)
class Archive:
    """The three members of the archive, unpacked."""

    config: bytes
    metadata: bytes
    weights: bytes


def _names(content: bytes) -> list[str]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            return file.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return []


def is_keras_archive(content: bytes) -> bool:
    """Whether a zip archive has the two JSON texts of a Keras 3 file."""
    return content[:4] == b"PK\x03\x04" and {_CONFIG, _METADATA} <= set(_names(content))


def read_archive(content: bytes, where: str) -> Archive:
    """Unpack a `.keras` archive within limits.

    Raises
    ------
    ModelFormatError
        It is damaged, has two members of one name, or unpacks to far more than it stores.
    UnsafeFileError
        A member's name leads out of the archive.
    UnsupportedModelError
        Members are encrypted, or the weights are not in one HDF5 file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            return _unpack(file, where, len(content))
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, zlib.error) as error:
        raise ModelFormatError(f"{where}: damaged zip archive ({error})") from None
    except NotImplementedError as error:
        raise UnsupportedModelError(f"{where}: {error}; accepted: plain zip archives") from None


def _unpack(file: zipfile.ZipFile, where: str, size: int) -> Archive:
    members = file.infolist()
    names = [m.filename for m in members]
    if len(members) > _MAX_MEMBERS or len(set(names)) != len(names):
        raise ModelFormatError(f"{where}: {len(members)} members, or two of one name")
    total = 0
    for member in members:
        parts = member.filename.replace("\\", "/").split("/")
        if member.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise UnsafeFileError(f"{where}: member {member.filename!r} leads out of the archive")
        if member.flag_bits & 1 or member.compress_type not in (0, 8):
            raise UnsupportedModelError(
                f"{where}: member {member.filename!r} is encrypted or compressed with method "
                f"{member.compress_type}; accepted: stored or deflated"
            )
        total += member.file_size
    if total > _SLACK + _RATIO * size:
        raise ModelFormatError(f"{where}: {size} bytes declare {total} bytes of content")
    if _PICKLED in names and _WEIGHTS not in names:
        raise UnsupportedModelError(
            f"{where}: member {_PICKLED!r} holds pickles, which Keras does not open either; "
            f"accepted: {_WEIGHTS!r}, which model.save writes"
        )
    if _WEIGHTS not in names:
        raise UnsupportedModelError(
            f"{where}: no member {_WEIGHTS!r}; members: {', '.join(names[:10])}; accepted: weights "
            "in one HDF5 file"
        )
    return Archive(
        _member(file, _CONFIG, where, _MAX_TEXT),
        _member(file, _METADATA, where, _MAX_TEXT),
        _member(file, _WEIGHTS, where, total),
    )


def _member(file: zipfile.ZipFile, name: str, where: str, most: int) -> bytes:
    info = file.getinfo(name)
    with file.open(name) as member:
        data = member.read(min(most, info.file_size) + 1)
    if len(data) != info.file_size:
        raise ModelFormatError(f"{where}: member {name!r} is not of the size it declares")
    return data
