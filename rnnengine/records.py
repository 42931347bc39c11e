"""Records: frozen dataclasses whose methods are shared instead of generated.

``dataclasses.dataclass`` writes the methods of each class as text and compiles them when the class
is made. A process that loads one small model makes some thirty such classes, and would spend more
time on them than on the model. To ``dataclasses.fields`` and ``replace``, and to type checkers, a
record is a dataclass like any other. This module imports nothing of the package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, dataclass_transform

__all__ = ["field", "record"]

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass that compares and hashes by the values of its fields.

    Defaults, ``field(default_factory=...)``, ``__post_init__``, and methods of the class's own work
    as in a dataclass. ``KW_ONLY``, ``InitVar``, inherited fields and the other arguments of
    ``field`` are not for records.
    """
    own = set(vars(cls))
    dataclass(init=False, repr=False, eq=False)(cls)
    names: dict[str, Callable[[], Any] | None] = {}
    for f in fields(cls):  # type: ignore[arg-type]
        constant = None if f.default is MISSING else _constant(f.default)
        names[f.name] = constant if f.default_factory is MISSING else f.default_factory
    methods = {**_METHODS, **_comparing(tuple(names))}
    methods["__init__"] = _initialiser(names, "__post_init__" in own)
    for name, method in methods.items():
        if name not in own:
            setattr(cls, name, method)
    return cls


def _comparing(names: tuple[str, ...]) -> dict[str, Callable[..., Any]]:
    """``__eq__`` and ``__hash__`` of a class with these fields."""
    read = attrgetter(*names) if len(names) > 1 else lambda self: (getattr(self, names[0]),)

    def __eq__(self: object, other: object) -> Any:
        return read(self) == read(other) if type(other) is type(self) else NotImplemented

    def __hash__(self: object) -> int:
        return hash(read(self))

    return {"__eq__": __eq__, "__hash__": __hash__}


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


def _initialiser(
    defaults: Mapping[str, Callable[[], Any] | None], has_post: bool
) -> Callable[..., None]:
    """``__init__`` of a class with these fields, each with what makes its default."""
    names, count = tuple(defaults), len(defaults)

    def __init__(self: Any, *args: Any, **named: Any) -> None:
        values = self.__dict__
        values.update(zip(names, args))  # noqa: B905 - what is left out or too much is seen below
        if named or len(args) != count:
            _complete(self, values, defaults, len(args), named)
        if has_post:
            self.__post_init__()

    return __init__


def _complete(
    self: object,
    values: dict[str, Any],
    defaults: Mapping[str, Callable[[], Any] | None],
    given: int,
    named: Mapping[str, Any],
) -> None:
    """Set the fields that were named, and those left out."""
    where = f"{type(self).__name__}()"
    if given > len(defaults):
        raise TypeError(f"{where} takes {len(defaults)} fields, got {given}")
    for name in named:
        if name not in defaults:
            raise TypeError(f"{where} has no field {name!r}")
        if name in values:
            raise TypeError(f"{where} got its field {name!r} twice")
    values.update(named)
    for name, default in defaults.items():
        if name not in values:
            if default is None:
                raise TypeError(f"{where} needs its field {name!r}")
            values[name] = default()


def _repr(self: Any) -> str:
    shown = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self.__match_args__)
    return f"{type(self).__qualname__}({shown})"


def _set(self: object, name: str, value: object) -> NoReturn:  # noqa: ARG001
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delete(self: object, name: str) -> NoReturn:  # noqa: ARG001
    raise FrozenInstanceError(f"cannot delete field {name!r}")


_METHODS: dict[str, Callable[..., Any]] = {
    "__repr__": _repr,
    "__setattr__": _set,
    "__delattr__": _delete,
}
