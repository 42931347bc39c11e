"""The graph under construction, and one call of an ATen operator while it is converted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Dim, Graph, Size, TensorType, fresh
from rnnengine.importers.emitting import Nodes
from rnnengine.importers.torch.aten.program import Node, Ref, numpy_type, scalar_type
from rnnengine.importers.torch.inert import brief
from rnnengine.ops import evaluate

__all__ = ["CONVERTERS", "Builder", "Call", "Handle", "aten", "resolved"]

Array = np.ndarray[Any, Any]

_WITHOUT_MEANING = {
    "copy", "device", "implicit", "layout", "memory_format", "non_blocking",
    "pin_memory", "requires_grad",
}  # fmt: skip
"""Arguments that say where and how data lies, not what it is."""


class Handle:
    """A tensor of the program: its value in the graph, and whose memory it shares.

    Attributes
    ----------
    name : str
        In the graph under construction.
    root : object
        Equal for tensors that are views of one memory.
    """

    __slots__ = ("name", "root")

    def __init__(self, name: str, root: object | None = None) -> None:
        self.name = name
        self.root = root if root is not None else self


class Builder(Nodes):
    """Nodes and constants; the same numbers are one constant, however often a loop reads them."""

    def __init__(self, inputs: Sequence[Any], reserved: Sequence[str]) -> None:
        super().__init__(inputs, reserved)
        self.paths: dict[str, str] = {}
        self.words: dict[str, str] = {}
        self._known: dict[tuple[Any, ...], str] = {}
        self._computed: dict[str, Array] = {}

    def constant(self, name: str, value: Array) -> str:
        """Add a float32 constant, or find the one that is there."""
        with np.errstate(over="ignore"):
            return self.exact(name, np.ascontiguousarray(value, np.float32).reshape(value.shape))

    def exact(self, name: str, value: Array) -> str:
        """Add a constant of any type, or find the one that is there."""
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._known:
            self._known[key] = super().exact(name, value)
        return self._known[key]

    def output(self, name: str, value: str) -> str:
        """Make a value an output of the graph, of this name if it is free."""
        name = fresh(name, self._values)
        self.alias(value, name)
        return name

    def array(self, name: str) -> Array | None:
        """Numbers of a value that follows from constants alone, worked out in float64."""
        if name in self.constants:
            return self.constants[name]
        if name not in self._computed:
            nodes, needed = [], {name}
            for node in reversed(self.nodes):
                if needed & set(node.outputs):
                    nodes.append(node)
                    needed |= {n for n in node.inputs if n is not None}
            made = {out for node in nodes for out in node.outputs}
            if not needed - made <= set(self.constants):
                return None
            constants = {n: self.constants[n] for n in needed - made}
            graph = Graph("constant", (), (name,), tuple(reversed(nodes)), constants)
            found = evaluate(graph, {})[name]
            self._computed[name] = np.asarray(found).astype(self.type(name).dtype)
        return self._computed[name]


class Call:
    """One call: its arguments, read so that none can be overlooked, and a way to emit nodes.

    Parameters
    ----------
    builder : Builder
    node : Node
    values : mapping of str to Any
        What the program has computed: handles of tensors, sizes, numbers.
    """

    def __init__(self, builder: Builder, node: Node, values: Mapping[str, Any]) -> None:
        self.builder = builder
        self.node = node
        self.target = node.target.removeprefix("torch.ops.")
        self.where = f"node {node.name!r} ({self.target})"
        self._left = dict(node.args)
        self._values = values

    def finish(self) -> None:
        """Refuse whatever argument was not asked for."""
        for name, value in self._left.items():
            if name not in _WITHOUT_MEANING and value is not None:
                raise UnsupportedModelError(
                    f"{self.where}: argument {name!r} is {brief(value)}, which is not supported; "
                    "accepted: its default"
                )

    def take(self, name: str, default: Any = None) -> Any:
        """An argument whatever it is, with what its references stand for."""
        return resolved(
            self._left.pop(name, default), self._values, f"{self.where}: argument {name!r}"
        )

    def _wrong(self, name: str, value: Any, expected: str) -> ModelFormatError:
        return ModelFormatError(
            f"{self.where}: argument {name!r} is {brief(value)}; expected {expected}"
        )

    def optional(self, name: str) -> str | None:
        """The value of a tensor that may be left out."""
        found = self.take(name)
        if found is None or isinstance(found, Handle):
            return None if found is None else found.name
        raise self._wrong(name, found, "a tensor")

    def tensor(self, name: str = "self") -> str:
        """The value of a tensor."""
        found = self.optional(name)
        if found is None:
            raise self._wrong(name, None, "a tensor")
        return found

    def tensors(self, name: str) -> list[str]:
        """The values of a list of tensors."""
        found = self.take(name)
        if not isinstance(found, list) or not all(isinstance(h, Handle) for h in found):
            raise self._wrong(name, found, "tensors")
        return [h.name for h in found]

    def size(self, name: str, default: Size | None = None) -> Size:
        """An integer, or a size with symbols."""
        found = self.take(name, default)
        if isinstance(found, bool) or not isinstance(found, int | Dim):
            raise self._wrong(name, found, "an integer")
        return found

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer that is known."""
        found = self.size(name, default)
        if isinstance(found, Dim):
            raise UnsupportedModelError(
                f"{self.where}: argument {name!r} is {found}; accepted: a fixed number. Export with"
                " that size fixed"
            )
        return found

    def sizes(self, name: str, default: Sequence[Size] | None = None) -> list[Size]:
        """A list of integers or sizes."""
        found = self.take(name, list(default) if default is not None else None)
        if not isinstance(found, list) or not all(
            isinstance(s, int | Dim) and not isinstance(s, bool) for s in found
        ):
            raise self._wrong(name, found, "integers")
        return found

    def integers(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        """A list of known integers."""
        found = self.sizes(name, default)
        fixed = [s for s in found if isinstance(s, int)]
        if len(fixed) != len(found):
            raise UnsupportedModelError(
                f"{self.where}: argument {name!r} is {found}; accepted: fixed numbers"
            )
        return fixed

    def number(self, name: str, default: float | None = None) -> float:
        """A number that is known."""
        found = self.take(name, default)
        if found in ("Infinity", "-Infinity", "NaN"):  # JSON of older writers
            found = float(found)
        if not isinstance(found, int | float) or isinstance(found, bool):
            raise self._wrong(name, found, "a number")
        return float(found)

    def flag(self, name: str, default: bool = False) -> bool:
        """A truth value."""
        found = self.take(name, default)
        if not isinstance(found, bool):
            raise self._wrong(name, found, "true or false")
        return found

    def text(self, name: str, default: str) -> str:
        """A word."""
        found = self.take(name, default)
        if not isinstance(found, str):
            raise self._wrong(name, found, "a word")
        return found

    def only(self, name: str, value: Any, *accepted: Any) -> None:
        """Refuse an argument with a value other than those accepted."""
        if value not in accepted:
            raise UnsupportedModelError(
                f"{self.where}: argument {name!r} is {value!r}; accepted: "
                + ", ".join(repr(a) for a in accepted)
            )

    def dtype(self, name: str = "dtype", default: np.dtype[Any] | None = None) -> np.dtype[Any]:
        """An element type; float32 where nothing is said."""
        found = self.take(name)
        if found is None:
            return default or np.dtype(np.float32)
        where = f"{self.where}: argument {name!r}"
        return numpy_type(scalar_type(found, where), where)

    def type(self, name: str) -> TensorType:
        """Type of a value."""
        return self.builder.type(name)

    def axis(self, name: str, rank: int, default: int | None = None) -> int:
        """An axis, counted from the front."""
        found = self.integer(name, default)
        return self.counted(found, rank, name)

    def counted(self, axis: int, rank: int, name: str = "dim") -> int:
        """An axis that may count from the back, counted from the front."""
        if not -max(rank, 1) <= axis < max(rank, 1):
            raise ModelFormatError(
                f"{self.where}: argument {name!r} is {axis}; the tensor has {rank} axes"
            )
        return axis % max(rank, 1)

    def array(self, name: str, what: str) -> Array:
        """Numbers of a value that must not depend on the inputs.

        Raises
        ------
        UnsupportedModelError
            It does.
        """
        found = self.builder.array(name)
        if found is None:
            raise UnsupportedModelError(
                f"{self.where}: {what} is computed from the inputs; accepted: parameters and what "
                "follows from them"
            )
        return found

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """A constant of the call's own."""
        return self.builder.exact(f"{self.node.name}.constant", np.asarray(value, dtype))

    def emit(
        self,
        op: str,
        inputs: Sequence[str | None],
        attrs: Mapping[str, Any] | None = None,
        outputs: int = 1,
    ) -> list[str]:
        """Append a node and return the names of its outputs."""
        return self.builder.add(op, f"{self.node.name}.{op.lower()}", inputs, attrs, outputs)

    def one(
        self, op: str, inputs: Sequence[str | None], attrs: Mapping[str, Any] | None = None
    ) -> str:
        """Append a node of one output and return its name."""
        return self.emit(op, inputs, attrs)[0]

    def reshaped(self, value: str, shape: Sequence[Size]) -> str:
        """The same elements in another shape."""
        return self.one("Reshape", [value], {"shape": tuple(shape)})

    def part(self, value: str, axis: int, start: Size, size: Size, step: int = 1) -> str:
        """Some elements along one axis."""
        return self.builder.part(self.node.name, value, axis, start, size, step)

    def total(self, shape: Sequence[Size]) -> Size:
        """How many elements a shape has."""
        return math.prod(shape, start=1)


def resolved(value: Any, values: Mapping[str, Any], where: str) -> Any:
    """An argument with what its references stand for.

    Raises
    ------
    ModelFormatError
        Nothing computes what it refers to.
    """
    if isinstance(value, list):
        return [resolved(item, values, where) for item in value]
    if not isinstance(value, Ref):
        return value
    if value.name not in values:
        raise ModelFormatError(f"{where}: nothing computes {value.name!r}")
    found = values[value.name]
    if found is None:
        raise UnsupportedModelError(f"{where}: {value.name!r} is a result that is not supported")
    return found


Converter: TypeAlias = Callable[[Call], Any]

CONVERTERS: dict[str, tuple[Converter, bool]] = {}
"""How each operator is converted, and whether its results may share the memory of its inputs."""


def aten(*targets: str, views: bool = False) -> Callable[[Converter], Converter]:
    """Register a function as the conversion of operators, named without ``torch.ops.aten.``.

    It returns the value of its result, or a list of results: values, sizes, lists of values.
    """

    def register(function: Converter) -> Converter:
        for target in targets:
            name = target if target.count(".") > 1 else f"aten.{target}"
            CONVERTERS[name] = (function, views)
        return function

    return register
