"""The stack machine of pickles: its stack, its memo, its limits."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from rnnengine.errors import ModelFormatError, RNNEngineError, UnsafeFileError
from rnnengine.importers.torch.inert import Elements, Name, Record, Values
from rnnengine.importers.torch.names import check_name
from rnnengine.importers.torch.tensors import TensorRef

__all__ = ["MOST_DEPTH", "MOST_LONG", "MOST_OPCODES", "Limits", "Machine", "PersistentLoad"]

PersistentLoad = Callable[[Any], Any]

MOST_OPCODES = 4_000_000
"""Operations of all pickles of one file; a tensor takes about 40."""
MOST_DEPTH = 2_000
"""Marks open at once."""
MOST_LONG = 256
"""Bytes of an integer."""

_MOST_KEY_PARTS = 16
_MOST_KEY_TEXT = 100
_KEYS = {str, int, float, bool, bytes, type(None), Name}

_FORBIDDEN = {
    ord("i"): "INST",
    ord("o"): "OBJ",
    ord("P"): "PERSID",
    0x82: "EXT1",
    0x83: "EXT2",
    0x84: "EXT4",
    0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
    ord("I"): "INT",
    ord("L"): "LONG",
    ord("F"): "FLOAT",
    ord("S"): "STRING",
    ord("V"): "UNICODE",
    ord("p"): "PUT",
    ord("g"): "GET",
}


class Limits:
    """What all pickles of one file may use together.

    Attributes
    ----------
    opcodes : int
        Operations left.
    nested : callable or None
        Reads the storage of a tensor that was pickled without ``torch.save``: such a pickle holds
        a whole file for each storage. None inside such a file.
    """

    def __init__(self, opcodes: int = MOST_OPCODES) -> None:
        self.opcodes = opcodes
        self.nested: Callable[[bytes], Any] | None = None


class Machine:
    """One pickle being read."""

    def __init__(
        self, data: memoryview, start: int, name: str, persistent: PersistentLoad, limits: Limits
    ) -> None:
        self.data = data
        self.end = len(data)
        self.at = start
        self.name = name
        self.persistent = persistent
        self.limits = limits
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def fail(self, what: str) -> ModelFormatError:
        """An error that says where the pickle is wrong."""
        return ModelFormatError(f"{self.name}: pickle, byte {self.at}: {what}")

    def run(self, steps: Sequence[Callable[[Machine], None] | None]) -> Any:
        """Interpret up to STOP and return the object on the stack.

        ``steps`` holds what each opcode does.
        """
        data, stack, left = self.data, self.stack, self.limits.opcodes
        try:
            while left > 0:
                left -= 1
                code = data[self.at]
                self.at += 1
                if code == 0x2E:
                    break
                step = steps[code]
                if step is None:
                    raise self.refused(code)
                step(self)
            else:
                raise self.fail(f"more than {MOST_OPCODES} operations in one file; refused")
        except IndexError:
            raise self.fail("it is truncated, or takes from an empty stack") from None
        except UnicodeError:
            raise self.fail("text that is no UTF-8") from None
        except (struct.error, OverflowError, ValueError, TypeError, RecursionError) as error:
            raise self.fail(f"a malformed value ({type(error).__name__})") from None
        self.limits.opcodes = left
        if len(stack) != 1 or self.marks:
            raise self.fail(f"it ends with {len(stack)} objects on the stack; expected one")
        return stack[0]

    def refused(self, code: int) -> RNNEngineError:
        """An error for an opcode that is not executed."""
        if code in _FORBIDDEN:
            return UnsafeFileError(
                f"{self.name}: pickle, byte {self.at}: opcode {_FORBIDDEN[code]}, which PyTorch"
                " never writes, is refused; save the state_dict with torch.save"
            )
        return self.fail(f"byte 0x{code:02x} is no opcode of protocols 2 to 5")

    def take(self, count: int) -> memoryview:
        """The next bytes."""
        begin, self.at = self.at, self.at + count
        if self.at > self.end:
            raise self.fail(f"{count} bytes are announced, but the data ends; it is truncated")
        return self.data[begin : self.at]

    def unsigned(self, width: int) -> int:
        """The next number of ``width`` bytes."""
        return int.from_bytes(self.take(width), "little")

    def byte(self) -> int:
        """The next byte."""
        self.at += 1
        return self.data[self.at - 1]

    def line(self) -> str:
        """The text up to the end of the line."""
        begin = self.at
        limit = min(self.end, begin + 1000)
        while self.at < limit:
            self.at += 1
            if self.data[self.at - 1] == 0x0A:
                return str(self.data[begin : self.at - 1], "utf-8")
        raise self.fail("a line without an end")

    def pop_mark(self) -> list[Any]:
        """Take what is above the last mark, and the mark."""
        height = self.marks.pop()
        taken = self.stack[height:]
        del self.stack[height:]
        return taken

    def pop(self) -> Any:
        """Take the object on the stack, which must be above the last mark."""
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise self.fail("it takes from an empty stack")
        return self.stack.pop()

    def put(self, index: int) -> None:
        """Remember the object on the stack."""
        if index > MOST_OPCODES:
            raise self.fail(f"memo entry {index}; expected at most {MOST_OPCODES}")
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        """Put a remembered object on the stack."""
        if index not in self.memo:
            raise self.fail(f"memo entry {index} is used before it is stored")
        self.stack.append(self.memo[index])

    def name_of(self, module: Any, name: Any) -> Name:
        """A name of the file, if it may stand in one."""
        if type(module) is not str or type(name) is not str:
            raise self.fail("the name of a class is no text")
        return check_name(Name(module, name), self.name)

    def key(self, value: Any) -> Any:
        """A key of a dictionary: text, numbers, and small tuples of them."""
        if type(value) in _KEYS and (type(value) is not int or abs(value) < 2**60):
            return value
        if isinstance(value, (Record, Values, TensorRef)):
            return id(value)
        if type(value) is tuple and len(value) <= _MOST_KEY_PARTS:
            parts = [v for v in value if type(v) in _KEYS]
            longest = max((len(v) for v in parts if isinstance(v, (str, bytes))), default=0)
            if len(parts) == len(value) and longest <= _MOST_KEY_TEXT:
                return str(value)
        raise self.fail(f"a {type(value).__name__} as the key of a dictionary; expected text")

    def set_items(self, target: Any, items: list[Any]) -> None:
        """Set keys and values in turn on a dictionary, or on a record."""
        if isinstance(target, Record):
            target = target.entries
        if type(target) is not dict or len(items) % 2:
            raise self.fail(f"items are set on a {type(target).__name__}; expected a dictionary")
        for index in range(0, len(items), 2):
            target[self.key(items[index])] = items[index + 1]

    def append(self, target: Any, items: list[Any]) -> None:
        """Append to a list, a set, or a record."""
        if isinstance(target, Record):
            target = target.elements
        if type(target) not in (list, Elements):
            raise self.fail(f"elements are appended to a {type(target).__name__}; expected a list")
        target.extend(items)
