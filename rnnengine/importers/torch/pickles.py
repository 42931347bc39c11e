"""An interpreter of pickles that reads data only.

It executes the stack operations of protocols 2 to 5 on its own records. Nothing the file names is
imported, looked up, constructed or called: names are looked up in :mod:`.names`, which holds this
project's own functions, and everything else stays a record or is refused.
Opcodes after CPython's ``pickletools``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from rnnengine.errors import UnsafeFileError
from rnnengine.importers.torch.inert import Elements, Name, NumpyType, Record, Values
from rnnengine.importers.torch.machine import (
    MOST_DEPTH,
    MOST_LONG,
    Limits,
    Machine,
    PersistentLoad,
)
from rnnengine.importers.torch.names import constructed, instance

__all__ = ["read_pickle"]


def _mark(p: Machine) -> None:
    if len(p.marks) >= MOST_DEPTH:
        raise p.fail(f"nested deeper than {MOST_DEPTH}; refused")
    p.marks.append(len(p.stack))


def _pop(p: Machine) -> None:
    if p.marks and len(p.stack) <= p.marks[-1]:
        p.marks.pop()
    else:
        p.stack.pop()


def _tuple1(p: Machine) -> None:
    p.stack.append((p.pop(),))


def _tuple2(p: Machine) -> None:
    last, first = p.pop(), p.pop()
    p.stack.append((first, last))


def _tuple3(p: Machine) -> None:
    last, middle, first = p.pop(), p.pop(), p.pop()
    p.stack.append((first, middle, last))


def _constant(value: Any) -> Callable[[Machine], None]:
    return lambda p: p.stack.append(value)


def _text(width: int) -> Callable[[Machine], None]:
    return lambda p: p.stack.append(str(p.take(p.unsigned(width)), "utf-8", "surrogatepass"))


def _bytes(width: int) -> Callable[[Machine], None]:
    return lambda p: p.stack.append(bytes(p.take(p.unsigned(width))))


def _short_string(p: Machine) -> None:
    p.stack.append(str(p.take(p.unsigned(1)), "latin-1"))


def _unsigned(width: int) -> Callable[[Machine], None]:
    return lambda p: p.stack.append(p.unsigned(width))


def _binint(p: Machine) -> None:
    p.stack.append(int.from_bytes(p.take(4), "little", signed=True))


def _long(p: Machine, count: int) -> None:
    if count > MOST_LONG:
        raise p.fail(f"an integer of {count} bytes; expected at most {MOST_LONG}")
    p.stack.append(int.from_bytes(p.take(count), "little", signed=True))


def _long1(p: Machine) -> None:
    _long(p, p.unsigned(1))


def _long4(p: Machine) -> None:
    _long(p, p.unsigned(4))


def _binfloat(p: Machine) -> None:
    p.stack.append(struct.unpack(">d", p.take(8))[0])


def _append(p: Machine) -> None:
    item = p.pop()
    p.append(p.stack[-1], [item])


def _appends(p: Machine) -> None:
    items = p.pop_mark()
    p.append(p.stack[-1], items)


def _set_item(p: Machine) -> None:
    value, key = p.pop(), p.pop()
    p.set_items(p.stack[-1], [key, value])


def _set_items(p: Machine) -> None:
    items = p.pop_mark()
    p.set_items(p.stack[-1], items)


def _make_dict(p: Machine) -> None:
    made: dict[Any, Any] = {}
    p.set_items(made, p.pop_mark())
    p.stack.append(made)


def _frozen_set(p: Machine) -> None:
    p.stack.append(Elements(p.pop_mark()))


def _global(p: Machine) -> None:
    module = p.line()
    p.stack.append(p.name_of(module, p.line()))


def _stack_global(p: Machine) -> None:
    name, module = p.pop(), p.pop()
    p.stack.append(p.name_of(module, name))


def _reduce(p: Machine) -> None:
    args, callee = p.pop(), p.pop()
    if type(args) is not tuple:
        raise p.fail("REDUCE without a tuple of arguments")
    if not isinstance(callee, Name):
        raise UnsafeFileError(
            f"{p.name}: pickle, byte {p.at}: it calls a {type(callee).__name__}; refused, only"
            " what torch.save writes is read"
        )
    if callee == _LOAD_FROM_BYTES and p.limits.nested and len(args) == 1 and type(args[0]) is bytes:
        p.stack.append(p.limits.nested(args[0]))
    else:
        p.stack.append(constructed(callee, args, p.name))


def _new_object(p: Machine) -> None:
    args, kind = p.pop(), p.pop()
    if type(args) is not tuple or not isinstance(kind, Name):
        raise p.fail("NEWOBJ without a class and a tuple of arguments")
    p.stack.append(instance(kind, args, p.name))


def _new_object_ex(p: Machine) -> None:
    named, args, kind = p.pop(), p.pop(), p.pop()
    if type(args) is not tuple or type(named) is not dict or not isinstance(kind, Name):
        raise p.fail("NEWOBJ_EX without a class, a tuple and a dictionary")
    p.stack.append(instance(kind, (*args, named), p.name))


def _build(p: Machine) -> None:
    state, target = p.pop(), p.stack[-1]
    if isinstance(target, Record):
        parts = state if type(state) is tuple and len(state) == 2 else (state,)
        if all(type(part) is dict or part is None for part in parts):
            for part in parts:
                target.state.update(part or {})
        else:
            target.state[""] = state
    elif isinstance(target, Values):
        _build_array(p, target, state)
    elif isinstance(target, NumpyType):
        if type(state) is tuple and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            target.order = state[1]
    elif type(target) is not dict or type(state) is not dict:
        # An OrderedDict's own attributes, such as a state_dict's _metadata, carry no weights.
        raise p.fail(f"BUILD on a {type(target).__name__}; expected an object")


def _build_array(p: Machine, target: Values, state: Any) -> None:
    if type(state) is not tuple or len(state) != 5:
        raise p.fail("a NumPy array with a state that is none")
    _, shape, dtype, fortran, data = state
    if type(shape) is not tuple or not isinstance(dtype, NumpyType):
        raise p.fail("a NumPy array with a state that is none")
    target.dtype, target.shape, target.fortran = dtype, shape, bool(fortran)
    target.data = data if isinstance(data, (bytes, bytearray)) else None


def _persistent(p: Machine) -> None:
    p.stack.append(p.persistent(p.pop()))


def _protocol(p: Machine) -> None:
    protocol = p.unsigned(1)
    if not 2 <= protocol <= 5:
        raise p.fail(f"protocol {protocol}; expected 2 to 5")


_LOAD_FROM_BYTES = Name("torch.storage", "_load_from_bytes")

_TABLE: dict[int, Callable[[Machine], None]] = {
    0x80: _protocol,
    0x95: lambda p: p.take(8).release(),
    ord("("): _mark,
    ord("0"): _pop,
    ord("1"): lambda p: p.pop_mark().clear(),
    ord("2"): lambda p: p.stack.append(p.stack[-1]),
    ord("N"): _constant(None),
    0x88: _constant(True),
    0x89: _constant(False),
    ord("J"): _binint,
    ord("K"): lambda p: p.stack.append(p.byte()),
    ord("M"): _unsigned(2),
    0x8A: _long1,
    0x8B: _long4,
    ord("G"): _binfloat,
    ord("X"): _text(4),
    0x8C: _text(1),
    0x8D: _text(8),
    ord("U"): _short_string,
    ord("T"): lambda p: p.stack.append(str(p.take(p.unsigned(4)), "latin-1")),
    ord("B"): _bytes(4),
    ord("C"): _bytes(1),
    0x8E: _bytes(8),
    0x96: lambda p: p.stack.append(bytearray(p.take(p.unsigned(8)))),
    ord(")"): _constant(()),
    ord("t"): lambda p: p.stack.append(tuple(p.pop_mark())),
    0x85: _tuple1,
    0x86: _tuple2,
    0x87: _tuple3,
    ord("]"): lambda p: p.stack.append([]),
    ord("}"): lambda p: p.stack.append({}),
    0x8F: lambda p: p.stack.append(Elements()),
    ord("l"): lambda p: p.stack.append(p.pop_mark()),
    ord("d"): _make_dict,
    ord("a"): _append,
    ord("e"): _appends,
    0x90: _appends,
    0x91: _frozen_set,
    ord("s"): _set_item,
    ord("u"): _set_items,
    ord("c"): _global,
    0x93: _stack_global,
    ord("R"): _reduce,
    0x81: _new_object,
    0x92: _new_object_ex,
    ord("b"): _build,
    ord("Q"): _persistent,
    0x94: lambda p: p.put(len(p.memo)),
    ord("q"): lambda p: p.put(p.byte()),
    ord("r"): lambda p: p.put(p.unsigned(4)),
    ord("h"): lambda p: p.get(p.byte()),
    ord("j"): lambda p: p.get(p.unsigned(4)),
}

_STEPS: list[Callable[[Machine], None] | None] = [_TABLE.get(code) for code in range(256)]


def read_pickle(
    data: memoryview, start: int, name: str, persistent: PersistentLoad, limits: Limits
) -> tuple[Any, int]:
    """Read one pickle.

    Parameters
    ----------
    data : memoryview
    start : int
        Where it begins.
    name : str
        Name of the file, for messages.
    persistent : callable
        Given the persistent id of an object that stands outside the pickle, returns what it is.
    limits : Limits
        Shared by all pickles of a file.

    Returns
    -------
    object : Any
        Made of None, bool, int, float, str, bytes, list, tuple, dict and the classes of
        :mod:`.inert` and :mod:`.tensors`.
    end : int
        The byte after it.

    Raises
    ------
    ModelFormatError
        It is malformed, or exceeds a limit.
    UnsafeFileError
        It names or calls something no model file needs.
    """
    machine = Machine(data, start, name, persistent, limits)
    made = machine.run(_STEPS)
    return made, machine.at
