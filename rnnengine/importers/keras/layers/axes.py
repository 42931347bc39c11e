"""Where the channels of an input stand, and the axes that windows slide over."""

from __future__ import annotations

from dataclasses import dataclass

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.keras.context import Context, Tensor

__all__ = ["Channels", "channels", "channels_first", "spatial", "spatial_axes"]


def spatial(ctx: Context) -> int:
    """How many axes a layer slides over: the digit before the D in its class."""
    return next(int(c) for c in ctx.layer.kind if c.isdigit())


def channels_first(ctx: Context) -> bool:
    """``data_format``, in Keras 1 ``dim_ordering``."""
    words = {"channels_last": False, "channels_first": True, "tf": False, "th": True, None: False}
    found = ctx.get("data_format", ctx.get("dim_ordering"))
    if found not in words:
        raise UnsupportedModelError(
            f"{ctx.where}: data_format is {found!r}; accepted: channels_last, channels_first"
        )
    return words[found]


def spatial_axes(ctx: Context, count: int) -> tuple[int, ...]:
    """The axes that a layer of so many slides over."""
    start = 2 if channels_first(ctx) else 1
    return tuple(range(start, start + count))


@dataclass(frozen=True)
class Channels:
    """An input with its channels before the axes that are slid over.

    Attributes
    ----------
    name : str
        In the graph, [batch, channels, ..].
    size : int
        Channels; 0 where the number is open.
    first : bool
        The layer has them there.
    count : int
        Axes to slide over.
    """

    name: str
    size: int
    first: bool
    count: int

    def back(self, ctx: Context, y: str) -> str:
        """A result of this form as the layer has it."""
        if self.first:
            return y
        perm = (0, *range(2, self.count + 2), 1)
        return ctx.emit("Transpose", [y], {"perm": perm}, "channels_last")


def channels(ctx: Context, x: Tensor, count: int) -> Channels:
    """Bring the channels of an input before the other axes."""
    found = ctx.rank(x, count + 2)
    first = channels_first(ctx)
    size = found.shape[1 if first else -1]
    if not isinstance(size, int):
        raise ModelFormatError(f"{ctx.where}: its input is {found}; expected a known channel axis")
    name = x.name
    if not first:
        perm = (0, count + 1, *range(1, count + 1))
        name = ctx.emit("Transpose", [name], {"perm": perm}, "channels_first")
    return Channels(name, size, first, count)
