"""One call of a layer while it is converted, and the values between layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Size, TensorType
from rnnengine.importers.keras.builder import Builder
from rnnengine.importers.keras.hdf5 import Array
from rnnengine.importers.keras.names import Params
from rnnengine.importers.keras.records import Layer
from rnnengine.importers.keras.version import Version

__all__ = ["Context", "Steps", "Tensor"]


@dataclass(frozen=True)
class Steps:
    """Which steps count, as functions of Keras 3 work it out.

    Attributes
    ----------
    any_of : frozenset of str or None
        Masks of the graph, any of which may let a step count; None: all steps count.
    differs : (str, float) or None
        Elementwise comparison of a value with a number, before `any` joins its features.
    """

    any_of: frozenset[str] | None = frozenset()
    differs: tuple[str, float] | None = None


@dataclass(frozen=True)
class Tensor:
    """A value between two layers.

    Attributes
    ----------
    name : str
        In the graph under construction, batch first.
    mask : str or None
        int32 [B, T] value, 1 where the step counts.
    zero : bool
        The masked steps are still to be set to zero: recurrent layers skip them anyway.
    steps : Steps or None
        The value is no number but says which steps count; it has no name in the graph.
    """

    name: str
    mask: str | None = None
    zero: bool = False
    steps: Steps | None = None


@dataclass
class Context:
    """One call of one layer.

    Attributes
    ----------
    builder : Builder
    layer : Layer
    params : Params
    version : Version
        Of the Keras that wrote the file.
    path : str
        Name of the layer with those of the networks around it.
    states : tuple of Tensor
        Initial states it is called with.
    given_masks : tuple of Steps or None
        Masks it is called with, one or as many as its inputs; empty where the call says none.
    numbers : tuple of float
        Numbers it is called with.
    options : frozenset of str
        Arguments of the call that are true.
    """

    builder: Builder
    layer: Layer
    params: Params
    version: Version
    path: str
    states: tuple[Tensor, ...] = field(default=())
    given_masks: tuple[Steps | None, ...] = ()
    numbers: tuple[float, ...] = ()
    options: frozenset[str] = frozenset()

    @property
    def where(self) -> str:
        """The layer as messages name it."""
        return f"layer {self.path!r} ({self.layer.kind})"

    def inner(self, key: str, layer: Layer, suffix: str = "") -> Context:
        """The call of a layer inside this one."""
        params = self.params.children.get(key, Params())
        return Context(self.builder, layer, params, self.version, self.path + suffix)

    def weight(self, role: str, *shape: int | None) -> Array:
        """A weight in float32, checked against its shape (None: any size).

        Raises
        ------
        ModelFormatError
            It is missing, is not of floats, or has another shape.
        """
        found = self.params.own.get(role)
        if found is None:
            raise ModelFormatError(f"{self.where}: the file has no {role}")
        fits = found.ndim == len(shape) and all(
            want is None or want == got for want, got in zip(shape, found.shape, strict=True)
        )
        if not fits or found.dtype.kind != "f":
            wanted = ", ".join("any" if s is None else str(s) for s in shape)
            raise ModelFormatError(
                f"{self.where}: {role} is {found.dtype}{list(found.shape)}; expected floats of "
                f"shape [{wanted}]"
            )
        return np.asarray(found, np.float32)

    def type(self, tensor: Tensor | str) -> TensorType:
        """Type of a value."""
        return self.builder.type(tensor if isinstance(tensor, str) else tensor.name)

    def rank(self, tensor: Tensor, *accepted: int) -> TensorType:
        """Type of an input whose rank must be one of those given."""
        found = self.type(tensor)
        if found.rank not in accepted:
            ranks = " or ".join(map(str, accepted))
            raise ModelFormatError(f"{self.where}: its input is {found}; expected rank {ranks}")
        return found

    def features(self, tensor: Tensor) -> int:
        """Size of the last axis, which must be known."""
        found = self.type(tensor)
        size: Size | None = found.shape[-1] if found.rank else None
        if not isinstance(size, int):
            raise ModelFormatError(
                f"{self.where}: its input is {found}; expected a known last axis"
            )
        return size

    def constant(self, suffix: str, value: Array) -> str:
        """Add a constant of the layer's own."""
        return self.builder.constant(f"{self.path}.{suffix}", value)

    def emit(
        self,
        op: str,
        inputs: Sequence[str | None],
        attrs: Mapping[str, Any] | None = None,
        suffix: str = "",
    ) -> str:
        """Append a node of one output and return the output's name."""
        return self.emit_many(op, inputs, 1, attrs, suffix)[0]

    def emit_many(
        self,
        op: str,
        inputs: Sequence[str | None],
        outputs: int,
        attrs: Mapping[str, Any] | None = None,
        suffix: str = "",
    ) -> list[str]:
        """Append a node and return the names of its outputs."""
        base = f"{self.path}.{suffix}" if suffix else self.path
        names = [self.builder.fresh(f"{base}.{op.lower()}") for _ in range(outputs)]
        self.builder.node(op, base, inputs, names, attrs or {})
        return names

    def settled(self, tensor: Tensor) -> Tensor:
        """The tensor with its masked steps at zero, if that is still to be done."""
        if not tensor.zero or tensor.mask is None:
            return tensor
        count = self.emit("Cast", [tensor.mask], {"to": np.dtype(np.float32)}, "keep")
        axes = tuple(range(self.type(count).rank, self.type(tensor).rank))
        wide = self.emit("Unsqueeze", [count], {"axes": axes}, "keep")
        return Tensor(self.emit("Mul", [tensor.name, wide], None, "keep"), tensor.mask)

    def any_mask(self, masks: Iterable[str]) -> str:
        """Steps that count in any of the masks."""
        names = sorted(set(masks))
        if len(names) == 1:
            return names[0]
        return self.builder.mask("Max", self.path, names, {})

    def masks(self, inputs: Sequence[Tensor]) -> list[str | None]:
        """Mask of each input: that of the call if it says one, else the input's own."""
        if not self.given_masks:
            return [t.mask for t in inputs]
        given = list(self.given_masks[: len(inputs)])
        given += [None] * (len(inputs) - len(given))
        return [None if steps is None else self.mask_of(steps) for steps in given]

    def steps_mask(self, mask: str) -> str:
        """A mask that must be one of steps, [batch, time].

        Raises
        ------
        UnsupportedModelError
            It has other axes.
        """
        found = self.type(mask)
        if found.rank != 2:
            raise UnsupportedModelError(
                f"{self.where}: its mask is {found}; accepted: one of steps, [batch, time]"
            )
        return mask

    def mask_of(self, steps: Steps) -> str | None:
        """A mask of the graph; None where all steps count."""
        if steps.differs is not None or steps.any_of == frozenset():
            raise UnsupportedModelError(
                f"{self.where}: its mask is not one of steps; accepted: masks of Masking, of "
                "Embedding and of what joins them"
            )
        return None if steps.any_of is None else self.any_mask(steps.any_of)

    def get(self, key: str, default: Any = None) -> Any:
        """A field of the configuration."""
        return self.layer.config.get(key, default)

    def flag(self, key: str, default: bool = False) -> bool:
        """A field that is true or false."""
        found = self.get(key, default)
        if found not in (True, False, None):
            raise ModelFormatError(f"{self.where}: {key} is {found!r}; expected true or false")
        return bool(found)

    def integer(self, key: str, least: int = 1, default: int | None = None) -> int:
        """A field that is an integer."""
        found = self.get(key, default)
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        if not isinstance(found, int) or isinstance(found, bool) or not least <= found < 1 << 31:
            raise ModelFormatError(
                f"{self.where}: {key} is {found!r}; expected an integer from {least}"
            )
        return found

    def sizes(
        self, key: str, count: int, default: int | None = None, least: int = 1
    ) -> tuple[int, ...]:
        """A field of so many integers; a single one counts for all."""
        found = self.get(key, default)
        listed = found if isinstance(found, list) else [found] * count
        if len(listed) != count or not all(type(v) is int and least <= v < 1 << 31 for v in listed):
            raise ModelFormatError(
                f"{self.where}: {key} is {str(found)[:80]}; expected {count} integers from {least}"
            )
        return tuple(listed)

    def number(self, key: str, default: float | None = None) -> float:
        """A field that is a finite number."""
        found = self.get(key, default)
        found = found.get("value") if isinstance(found, dict) else found
        if not isinstance(found, int | float) or not np.isfinite(found):
            raise ModelFormatError(f"{self.where}: {key} is {found!r}; expected a number")
        return float(found)

    def only(self, key: str, *accepted: Any) -> None:
        """Refuse a field that is there with another value than those accepted."""
        if key in self.layer.config and self.layer.config[key] not in accepted:
            raise UnsupportedModelError(
                f"{self.where}: {key} is {self.layer.config[key]!r}; accepted: "
                + ", ".join(repr(a) for a in accepted)
            )
