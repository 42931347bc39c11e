"""Records: frozen dataclasses that cost little to make as classes.

``dataclasses.dataclass`` writes the methods of each class as text and compiles them when the class
is made. A process that loads one small model makes some thirty such classes, and would spend more
time on them than on the model. Records share their methods. To ``dataclasses.fields`` and
``replace``, and to type checkers, a record is a dataclass like any other; what they look at is made
when it is first looked at. This module imports nothing of the package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, cast, dataclass_transform

__all__ = ["field", "record", "replace"]

T = TypeVar("T")


class _Factory:
    """What makes the default of a field."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], T]) -> T:
    """A field whose default is made anew for each record."""
    return cast("T", _Factory(default_factory))


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass that compares and hashes by the values of its fields.

    Defaults, ``field(default_factory=...)``, ``__post_init__``, and methods of the class's own work
    as in a dataclass. Every annotation is a field; there are no ``KW_ONLY``, ``InitVar``,
    ``ClassVar`` or inherited fields.
    """
    own = dict(vars(cls))
    names = tuple(cls.__annotations__)
    defaults = {name: own[name] for name in names if name in own}
    factories = {n: value.make for n, value in defaults.items() if isinstance(value, _Factory)}
    for name in factories:
        delattr(cls, name)
        del defaults[name]
    methods = {
        **_METHODS,
        **_comparing(names),
        "__init__": _initialiser(_Spec(names, defaults, factories), hasattr(cls, "__post_init__")),
        "__match_args__": names,
        "__dataclass_fields__": _Fields(factories),
    }
    for name, method in methods.items():
        if name not in own:
            setattr(cls, name, method)
    return cls


def replace(item: T, /, **changes: Any) -> T:
    """A record with some fields replaced."""
    names: tuple[str, ...] = type(item).__match_args__  # type: ignore[attr-defined]
    return type(item)(**{**{name: getattr(item, name) for name in names}, **changes})


class _Fields:
    """The fields of a record as ``dataclasses`` wants them, made when they are asked for."""

    def __init__(self, factories: Mapping[str, Callable[[], Any]]) -> None:
        self.factories = factories

    def __get__(self, item: object, cls: type[Any]) -> Any:
        import dataclasses

        for name, make in self.factories.items():
            setattr(cls, name, dataclasses.field(default_factory=make))
        dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
        return vars(cls)["__dataclass_fields__"]


class _Spec:
    """Fields of a class in order, and the defaults of those that have one."""

    def __init__(
        self,
        names: tuple[str, ...],
        defaults: Mapping[str, Any],
        factories: Mapping[str, Callable[[], Any]],
    ) -> None:
        self.names, self.defaults, self.factories = names, defaults, factories


def _comparing(names: tuple[str, ...]) -> dict[str, Callable[..., Any]]:
    """``__eq__`` and ``__hash__`` of a class with these fields."""
    read = attrgetter(*names) if len(names) > 1 else lambda self: (getattr(self, names[0]),)

    def __eq__(self: object, other: object) -> Any:
        return read(self) == read(other) if type(other) is type(self) else NotImplemented

    def __hash__(self: object) -> int:
        return hash(read(self))

    return {"__eq__": __eq__, "__hash__": __hash__}


def _initialiser(spec: _Spec, has_post: bool) -> Callable[..., None]:
    """``__init__`` of a class with these fields."""
    names, count = spec.names, len(spec.names)

    def __init__(self: Any, *args: Any, **named: Any) -> None:
        values = self.__dict__
        values.update(zip(names, args))  # noqa: B905 - what is left out or too much is seen below
        if named or len(args) != count:
            _complete(self, values, spec, len(args), named)
        if has_post:
            self.__post_init__()

    return __init__


def _complete(
    self: object, values: dict[str, Any], spec: _Spec, given: int, named: Mapping[str, Any]
) -> None:
    """Set the fields that were named, and those left out."""
    where = f"{type(self).__name__}()"
    if given > len(spec.names):
        raise TypeError(f"{where} takes {len(spec.names)} fields, got {given}")
    for name in named:
        if name not in spec.names:
            raise TypeError(f"{where} has no field {name!r}")
        if name in values:
            raise TypeError(f"{where} got its field {name!r} twice")
    values.update(named)
    if len(values) < len(spec.names):
        for name in spec.names:
            if name not in values:
                if name in spec.defaults:
                    values[name] = spec.defaults[name]
                elif name in spec.factories:
                    values[name] = spec.factories[name]()
                else:
                    raise TypeError(f"{where} needs its field {name!r}")


def _repr(self: Any) -> str:
    shown = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self.__match_args__)
    return f"{type(self).__qualname__}({shown})"


def _set(self: object, name: str, value: object) -> NoReturn:  # noqa: ARG001
    raise _frozen(f"cannot assign to field {name!r}")


def _delete(self: object, name: str) -> NoReturn:  # noqa: ARG001
    raise _frozen(f"cannot delete field {name!r}")


def _frozen(text: str) -> AttributeError:
    from dataclasses import FrozenInstanceError

    return FrozenInstanceError(text)


_METHODS: dict[str, Callable[..., Any]] = {
    "__repr__": _repr,
    "__setattr__": _set,
    "__delattr__": _delete,
}
