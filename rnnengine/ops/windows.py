"""Windows that slide over the spatial axes: what convolutions and pools have in common.

Along one axis of n elements, output o reads the elements ``o*stride - before + j*dilation`` for j
in 0..kernel-1. Positions below 0 or from n on are padding.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from rnnengine.errors import ShapeError, UnsupportedModelError
from rnnengine.graph import Dim, Size, UndecidedError
from rnnengine.ops.registry import Attrs, NotAlongTime, Window
from rnnengine.ops.sizes import check_size
from rnnengine.records import record, replace

__all__ = ["AUTO_PADS", "Slide", "along_time", "read_slides", "settled_attrs", "slides_of", "taps"]

Index: TypeAlias = tuple[Any, ...]
"""Index of an array's last axes."""

AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")

_LARGEST = 2**31 - 1
_LARGEST_KERNEL = 1 << 20
"""Elements of the largest window: it need not be bounded by any tensor of the file."""


@record
class Slide:
    """The window along one axis.

    Attributes
    ----------
    kernel, stride, dilation : int
        At least 1.
    before, after : int
        Padding at the two ends, at least 0.
    """

    kernel: int
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0

    @property
    def extent(self) -> int:
        """Elements from the first to the last one of a window, both included."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def pointwise(self) -> bool:
        """Whether every output reads the element at its own position and nothing else."""
        return (self.kernel, self.stride, self.before, self.after) == (1, 1, 0, 0)

    def outputs(self, size: Size, what: str, *, ceil: bool = False) -> Size:
        """Count the windows over an axis: floor((size + padding - extent) / stride) + 1.

        With ``ceil`` the quotient is rounded up, but a window that would start behind the last
        element, in the padding at the end, is left out.
        """
        room = size + (self.before + self.after - self.extent)
        if self.stride == 1:
            count = room + 1
        elif ceil:
            count = (room + (self.stride - 1)) // self.stride + 1
            if isinstance(count, Dim) or isinstance(size, Dim):
                raise UndecidedError(f"whether the last of {count} windows starts in the padding")
            if (count - 1) * self.stride >= size + self.before:
                count = count - 1
        else:
            count = room // self.stride + 1
        if isinstance(count, int) and count < 0:
            raise ShapeError(
                f"{what}: a window over {self.extent} elements does not fit {size} with padding "
                f"{self.before} and {self.after}"
            )
        return check_size(count)


def taps(
    slides: Sequence[Slide], sizes: Sequence[int], outputs: Sequence[int]
) -> Iterator[tuple[Index, Index, Index]]:
    """Every tap of a window with the outputs it serves and the elements they read.

    The last axis runs fastest. Padding is left out: a tap that reads nothing else is skipped. Each
    of the three is an index of the last axes of an array.

    Parameters
    ----------
    slides : sequence of Slide
        One for each axis.
    sizes, outputs : sequence of int
        Elements and outputs of the axes.
    """
    each = [list(_taps(s, n, o)) for s, n, o in zip(slides, sizes, outputs, strict=True)]
    for combination in itertools.product(*each):
        yield (
            (..., *(j for j, _, _ in combination)),
            (..., *(to for _, to, _ in combination)),
            (..., *(source for _, _, source in combination)),
        )


def _taps(slide: Slide, size: int, outputs: int) -> Iterator[tuple[int, slice, slice]]:
    for j in range(slide.kernel):
        start = j * slide.dilation - slide.before
        low = max(0, -(start // slide.stride))
        high = min(outputs, (size - 1 - start) // slide.stride + 1)
        if high > low:
            first = low * slide.stride + start
            last = first + (high - low - 1) * slide.stride
            yield j, slice(low, high), slice(first, last + 1, slide.stride)


def read_slides(
    op: str, attrs: Attrs, kernel: Sequence[Size], spatial: Sequence[Size]
) -> list[Slide]:
    """Windows of a node, from ``strides``, ``dilations``, ``pads`` and ``auto_pad``, all optional.

    Parameters
    ----------
    op : str
        For messages.
    attrs : mapping
    kernel, spatial : sequence of sizes
        Of the window, and of the axes it slides over.

    Raises
    ------
    ShapeError, UnsupportedModelError
        Naming the attribute, what it is and what was expected.
    UndecidedError
        Padding that depends on an open size.
    """
    slides = slides_of(op, attrs, kernel, len(spatial))
    auto = auto_pad(op, attrs)
    if not auto.startswith("SAME"):
        return slides
    return [_same(s, n, auto == "SAME_UPPER") for s, n in zip(slides, spatial, strict=True)]


def auto_pad(op: str, attrs: Attrs) -> str:
    """``auto_pad``, which excludes ``pads`` of its own unless it is NOTSET."""
    auto = attrs.get("auto_pad", "NOTSET")
    if auto not in AUTO_PADS:
        raise ShapeError(f"{op}: auto_pad is {auto!r}; accepted: {', '.join(AUTO_PADS)}")
    if auto != "NOTSET" and any(attrs.get("pads") or ()):
        raise ShapeError(
            f"{op}: pads is {tuple(attrs['pads'])} beside auto_pad {auto!r}; give one of them"
        )
    return str(auto)


def _same(slide: Slide, size: Size, upper: bool) -> Slide:
    """Padding that gives ceil(size / stride) outputs; an odd element goes to the end if upper."""
    if slide.stride == 1:
        total: Size = slide.extent - 1
    else:
        count = (size + (slide.stride - 1)) // slide.stride
        total = (count - 1) * slide.stride + slide.extent - size
    if isinstance(total, Dim):
        raise UndecidedError(f"padding of {total}")
    total = max(total, 0)
    less, more = total // 2, total - total // 2
    return replace(slide, before=less if upper else more, after=more if upper else less)


def slides_of(op: str, attrs: Attrs, kernel: Sequence[Size], rank: int) -> list[Slide]:
    """Windows as the attributes say, without ``auto_pad``; see :func:`read_slides`."""
    sizes = [int(k) for k in kernel if not isinstance(k, Dim)]
    if len(kernel) != rank or len(sizes) != rank or any(k < 1 for k in sizes):
        raise ShapeError(f"{op}: the kernel is {tuple(kernel)}; expected {rank} sizes from 1 up")
    declared = attrs.get("kernel_shape")
    if declared is not None and tuple(declared) != tuple(sizes):
        raise ShapeError(f"{op}: kernel_shape is {tuple(declared)}; the weights say {tuple(sizes)}")
    elements = 1
    for size in sizes:
        elements *= size
    if elements > _LARGEST_KERNEL:
        raise UnsupportedModelError(
            f"{op}: a window of {elements} elements; accepted: up to {_LARGEST_KERNEL}"
        )
    strides = _numbers(op, attrs, "strides", rank, 1)
    dilations = _numbers(op, attrs, "dilations", rank, 1)
    pads = _numbers(op, attrs, "pads", 2 * rank, 0)
    listed = zip(sizes, strides, dilations, pads[:rank], pads[rank:], strict=True)
    return [Slide(*numbers) for numbers in listed]


def _numbers(op: str, attrs: Attrs, name: str, count: int, least: int) -> list[int]:
    values = attrs.get(name)
    if values is None:
        return [least] * count
    listed = [int(v) for v in values]
    if len(listed) != count or any(not least <= v <= _LARGEST for v in listed):
        raise ShapeError(
            f"{op}: {name} is {tuple(listed)}; expected {count} numbers from {least} to {_LARGEST}"
        )
    return listed


def settled_attrs(attrs: Attrs, slides: Sequence[Slide]) -> dict[str, object]:
    """Attributes with explicit windows instead of ``auto_pad``."""
    settled = {name: value for name, value in attrs.items() if name != "auto_pad"}
    pads = (*(s.before for s in slides), *(s.after for s in slides))
    return {
        **settled,
        "kernel_shape": tuple(s.kernel for s in slides),
        "strides": tuple(s.stride for s in slides),
        "dilations": tuple(s.dilation for s in slides),
        "pads": pads,
    }


def window_along(slides: Sequence[Slide], axis: int | None) -> Window | None:
    """How outputs along an axis depend on the steps of the input; None where steps stay apart."""
    if axis is None or axis < 2 or slides[axis - 2].pointwise:
        return None
    s = slides[axis - 2]
    return Window(s.kernel, s.before, s.after, s.stride, s.dilation)


def along_time(op: str, slides: Sequence[Slide], axis: int | None) -> int | None:
    """Time axis of the result, where windows leave the steps apart.

    Raises
    ------
    NotAlongTime
        Saying how many steps a window spans, and how many of them lie ahead.
    """
    window = window_along(slides, axis)
    if window is not None:
        raise NotAlongTime(f"{op} {window}")
    return axis


__all__ += ["auto_pad", "window_along"]
