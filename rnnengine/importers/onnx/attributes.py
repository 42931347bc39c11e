"""Attributes of one ONNX node, read so that none can be overlooked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnengine.errors import ModelFormatError, UnsupportedModelError

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

__all__ = ["Attributes"]

_TYPES = {
    1: "f", 2: "i", 3: "s", 4: "t", 5: "g", 6: "floats", 7: "ints", 8: "strings",
    9: "tensors", 10: "graphs", 11: "sparse_tensor", 12: "sparse_tensors", 13: "tp",
    14: "type_protos",
}  # fmt: skip

_WORDS = {
    "f": "float", "i": "int", "s": "string", "t": "tensor", "g": "graph", "floats": "floats",
    "ints": "ints", "strings": "strings",
}  # fmt: skip


class Attributes:
    """Attributes by name and type; :meth:`finish` refuses whatever was not asked for.

    Parameters
    ----------
    node : NodeProto
    where : str
        How error messages name the node.
    """

    def __init__(self, node: NodeProto, where: str) -> None:
        self._where = where
        self._left: dict[str, AttributeProto] = {}
        for attribute in node.attribute:
            if attribute.name in self._left:
                raise ModelFormatError(f"{where}: attribute {attribute.name!r} is given twice")
            if attribute.ref_attr_name:
                raise UnsupportedModelError(
                    f"{where}: attribute {attribute.name!r} refers to a function's attribute "
                    f"{attribute.ref_attr_name!r}; accepted: values"
                )
            self._left[attribute.name] = attribute

    def has(self, name: str) -> bool:
        """Whether an attribute is there and not read yet."""
        return name in self._left

    def _take(self, name: str, field: str) -> Any:
        attribute = self._left.pop(name, None)
        if attribute is None:
            return None
        found = _TYPES.get(attribute.type, str(attribute.type))
        if found != field:
            raise ModelFormatError(
                f"{self._where}: attribute {name!r} is of type {_WORDS.get(found, found)}; "
                f"expected {_WORDS[field]}"
            )
        return getattr(attribute, field)

    def real(self, name: str, default: float | None = None) -> float | None:
        """Return a float, or the default."""
        value = self._take(name, "f")
        return default if value is None else float(value)

    def integer(self, name: str, default: int | None = None) -> int | None:
        """Return an integer, or the default."""
        value = self._take(name, "i")
        return default if value is None else int(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """Return an integer attribute that may only be 0 or 1."""
        value = self.integer(name, int(default))
        if value not in (0, 1):
            raise UnsupportedModelError(
                f"{self._where}: attribute {name!r} is {value}; accepted: 0, 1"
            )
        return bool(value)

    def text(self, name: str, default: str = "") -> str:
        """Return a string, or the default."""
        value = self._take(name, "s")
        return default if value is None else self._decoded(name, value)

    def reals(self, name: str) -> tuple[float, ...] | None:
        """Return a list of floats, None where it is absent."""
        value = self._take(name, "floats")
        return None if value is None else tuple(map(float, value))

    def integers(self, name: str) -> tuple[int, ...] | None:
        """Return a list of integers, None where it is absent."""
        value = self._take(name, "ints")
        return None if value is None else tuple(map(int, value))

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings, empty where it is absent."""
        value = self._take(name, "strings")
        return () if value is None else tuple(self._decoded(name, v) for v in value)

    def tensor(self, name: str) -> TensorProto | None:
        """Return a tensor message, None where it is absent."""
        value: TensorProto | None = self._take(name, "t")
        return value

    def graph(self, name: str) -> GraphProto:
        """Return a required subgraph."""
        value: GraphProto | None = self._take(name, "g")
        if value is None:
            raise ModelFormatError(f"{self._where}: attribute {name!r} is missing; it is required")
        return value

    def only(self, name: str, value: Any, default: Any) -> None:
        """Refuse a value that differs from the only one that is supported."""
        if value != default:
            raise UnsupportedModelError(
                f"{self._where}: attribute {name!r} is {value!r}; accepted: {default!r}"
            )

    def skip(self) -> None:
        """Take all attributes as read: someone else checks them."""
        self._left.clear()

    def finish(self) -> None:
        """Refuse any attribute that was not read."""
        for name, attribute in self._left.items():
            field = _TYPES.get(attribute.type, "")
            value = getattr(attribute, field, None) if field not in ("t", "g", "") else "..."
            if isinstance(value, bytes):
                value = value.decode("utf-8", "replace")
            elif field in ("ints", "floats", "strings"):
                value = list(value or ())[:8]
            raise UnsupportedModelError(
                f"{self._where}: attribute {name!r} = {value!r} is not known for this operator "
                "in this opset; remove it or export the model with another opset"
            )

    def _decoded(self, name: str, value: bytes) -> str:
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise ModelFormatError(
                f"{self._where}: attribute {name!r} is not valid UTF-8: {value!r}"
            ) from None
