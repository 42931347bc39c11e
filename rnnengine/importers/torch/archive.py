"""A strict reader of zip archives held in memory: nothing is extracted, nothing is guessed."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from rnnengine.errors import ModelFormatError, UnsupportedModelError

__all__ = ["Archive"]

_END = b"PK\x05\x06"
_END64 = b"PK\x06\x06"
_LOCATOR64 = b"PK\x06\x07"
_ENTRY = b"PK\x01\x02"
_LOCAL = b"PK\x03\x04"
_MOST_MEMBERS = 200_000
_MOST_INFLATED = 64 << 20  # beyond 20 times the size of the archive


@dataclass(frozen=True)
class _Member:
    method: int
    flags: int
    crc: int
    stored: int
    size: int
    offset: int


class Archive:
    """Members of a zip archive by name.

    Parameters
    ----------
    content : bytes
        The whole archive.
    name : str
        Name of the file, for messages.

    Raises
    ------
    ModelFormatError
        The archive is damaged, or it says two things about one member.
    """

    def __init__(self, content: bytes, name: str) -> None:
        self._content = memoryview(content)
        self._name = name
        self._inflatable = 20 * len(content) + _MOST_INFLATED
        self._members = self._directory(content)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all members, in the order of the directory."""
        return tuple(self._members)

    def __contains__(self, member: object) -> bool:
        return member in self._members

    def size(self, member: str) -> int:
        """Bytes of a member, as the directory says; -1 if there is none."""
        entry = self._members.get(member)
        return -1 if entry is None else entry.size

    def view(self, member: str) -> memoryview:
        """The bytes of a member, without a copy where it is stored as it is.

        Raises
        ------
        ModelFormatError
            There is no such member, or it is not what the directory says.
        UnsupportedModelError
            It is encrypted or compressed in a way other than deflate.
        """
        where = f"{self._name}: member {member!r}"
        entry = self._members.get(member)
        if entry is None:
            raise ModelFormatError(f"{where} is missing from the archive")
        raw = self._raw(entry, member, where)
        if entry.method == 0:
            self._check(raw, entry, where)
            return raw
        self._inflatable -= entry.size
        if self._inflatable < 0 or entry.size > 1040 * entry.stored + 1024:
            raise ModelFormatError(
                f"{where} claims {entry.size} bytes out of {entry.stored} compressed ones;"
                " refused as a decompression bomb"
            )
        decoder = zlib.decompressobj(-15)
        try:
            data = decoder.decompress(raw, entry.size + 1)
        except zlib.error as error:
            raise ModelFormatError(f"{where}: damaged compressed data ({error})") from None
        if len(data) != entry.size or not decoder.eof:
            raise ModelFormatError(
                f"{where}: the compressed data does not hold the {entry.size} bytes it claims"
            )
        self._check(data, entry, where)
        return memoryview(data)

    def _check(self, data: bytes | memoryview, entry: _Member, where: str) -> None:
        """Compare checksums; PyTorch writes 0 where it was told to compute none."""
        if entry.crc and zlib.crc32(data) != entry.crc:
            raise ModelFormatError(f"{where}: checksum mismatch; the file is damaged")

    def _raw(self, entry: _Member, member: str, where: str) -> memoryview:
        """The stored bytes, after its own header was found to agree with the directory."""
        if entry.flags & 0x41:
            raise UnsupportedModelError(f"{where} is encrypted; accepted: plain members")
        if entry.method not in (0, 8):
            raise UnsupportedModelError(
                f"{where} is compressed by method {entry.method}; accepted: stored (0), deflate (8)"
            )
        if entry.method == 0 and entry.stored != entry.size:
            raise ModelFormatError(
                f"{where} is stored but has two sizes, {entry.stored} and {entry.size}"
            )
        head = bytes(self._content[entry.offset : entry.offset + 30])
        if len(head) < 30 or head[:4] != _LOCAL:
            raise ModelFormatError(f"{where}: no member starts at byte {entry.offset}")
        method, lengths = struct.unpack_from("<H", head, 8)[0], struct.unpack_from("<HH", head, 26)
        begin = entry.offset + 30
        own = bytes(self._content[begin : begin + lengths[0]])
        if own != member.encode() or method != entry.method:
            raise ModelFormatError(f"{where}: its own header and the directory disagree")
        begin += sum(lengths)
        if begin + entry.stored > len(self._content):
            raise ModelFormatError(
                f"{where} should end at byte {begin + entry.stored} of {len(self._content)};"
                " the file is truncated"
            )
        return self._content[begin : begin + entry.stored]

    def _directory(self, content: bytes) -> dict[str, _Member]:
        count, size, start = self._end(content)
        if start + size > len(content) or count > min(_MOST_MEMBERS, size // 46):
            raise ModelFormatError(
                f"{self._name}: the archive's directory claims {count} members in {size} bytes at"
                f" {start} of a file of {len(content)}"
            )
        members: dict[str, _Member] = {}
        at, end = start, start + size
        for _ in range(count):
            name, member, at = self._entry(content, at, end)
            if name in members:
                raise ModelFormatError(f"{self._name}: two members are named {name!r}")
            members[name] = member
        return members

    def _end(self, content: bytes) -> tuple[int, int, int]:
        """Number of members, size and place of the directory."""
        at = content.rfind(_END, max(0, len(content) - 65557))
        if at < 0 or at + 22 > len(content):
            raise ModelFormatError(
                f"{self._name}: the end of the zip archive is missing; the file is truncated"
            )
        count, size, start = struct.unpack_from("<HII", content, at + 10)
        if at >= 20 and content[at - 20 : at - 16] == _LOCATOR64:
            (at64,) = struct.unpack_from("<Q", content, at - 12)
            if at64 + 56 > len(content) or content[at64 : at64 + 4] != _END64:
                raise ModelFormatError(f"{self._name}: the end of the zip64 archive is damaged")
            count, size, start = struct.unpack_from("<QQQ", content, at64 + 32)
        return count, size, start

    def _entry(self, content: bytes, at: int, end: int) -> tuple[str, _Member, int]:
        if at + 46 > end or content[at : at + 4] != _ENTRY:
            raise ModelFormatError(f"{self._name}: the archive's directory is damaged at byte {at}")
        flags, method = struct.unpack_from("<HH", content, at + 8)
        crc, stored, size, name_len, extra_len, note_len = struct.unpack_from(
            "<IIIHHH", content, at + 16
        )
        (offset,) = struct.unpack_from("<I", content, at + 42)
        after = at + 46 + name_len
        if after + extra_len + note_len > end:
            raise ModelFormatError(f"{self._name}: the archive's directory is damaged at byte {at}")
        try:
            name = content[at + 46 : after].decode()
        except UnicodeDecodeError:
            raise ModelFormatError(
                f"{self._name}: a member's name at byte {at + 46} is no UTF-8"
            ) from None
        wide = [size, stored, offset]
        self._widen(wide, content[after : after + extra_len], name)
        size, stored, offset = wide
        return (
            name,
            _Member(method, flags, crc, stored, size, offset),
            after + extra_len + note_len,
        )

    def _widen(self, values: list[int], extra: bytes, name: str) -> None:
        """Replace the values that do not fit 32 bits by those of the zip64 field."""
        at = 0
        while at + 4 <= len(extra):
            kind, length = struct.unpack_from("<HH", extra, at)
            if kind == 1:
                field, position = extra[at + 4 : at + 4 + length], 0
                for index, value in enumerate(values):
                    if value == 0xFFFFFFFF and position + 8 <= len(field):
                        (values[index],) = struct.unpack_from("<Q", field, position)
                        position += 8
            at += 4 + length
        if 0xFFFFFFFF in values:
            raise ModelFormatError(f"{self._name}: member {name!r} has no zip64 sizes")
