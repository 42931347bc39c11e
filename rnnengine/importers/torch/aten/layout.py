"""Operators of ATen that move, repeat, join or make elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Dim, Size
from rnnengine.importers.torch.aten.call import Call, Handle, aten

__all__: list[str] = []

_END = (1 << 63) - 1


@aten("clone.default", "lift_fresh_copy.default", "lift_fresh.default", "copy.default")
def _copy(call: Call) -> str:
    return call.tensor()


@aten("detach.default", "alias.default", "contiguous.default", "positive.default", views=True)
def _same(call: Call) -> str:
    return call.tensor()


@aten("dropout.default", "native_dropout.default", "feature_dropout.default",
      "alpha_dropout.default", views=True)  # fmt: skip
def _dropout(call: Call) -> str:
    x = call.tensor("input")
    call.number("p", 0.5)
    if call.flag("train"):
        raise UnsupportedModelError(
            f"{call.where}: argument 'train' is True; accepted: False. Call .eval() on the module "
            "before exporting"
        )
    return x


def _filled(call: Call, shape: Sequence[Size], wanted: Sequence[Size]) -> list[Size]:
    """A shape with its -1 worked out."""
    if -1 not in wanted:
        return list(wanted)
    others = call.total([s for s in wanted if s != -1])
    total = call.total(shape)
    if others == 0 or wanted.count(-1) > 1:
        raise ModelFormatError(f"{call.where}: shape {list(wanted)} leaves -1 open")
    if isinstance(total, int) and isinstance(others, int) and total % others:
        raise ModelFormatError(f"{call.where}: {total} elements do not make shape {list(wanted)}")
    return [total // others if s == -1 else s for s in wanted]


@aten("view.default", "reshape.default", "_unsafe_view.default", "view_copy.default",
      "view_as.default", "reshape_as.default", views=True)  # fmt: skip
def _view(call: Call) -> str:
    x, other = call.tensor(), call.optional("other")
    if other is not None:
        return call.reshaped(x, call.type(other).shape)
    key = "size" if "size" in call.node.args else "shape"
    return call.reshaped(x, _filled(call, call.type(x).shape, call.sizes(key)))


@aten("flatten.using_ints", views=True)
def _flatten(call: Call) -> str:
    x = call.tensor()
    shape = call.type(x).shape
    first = call.axis("start_dim", len(shape), 0)
    last = call.axis("end_dim", len(shape), -1)
    if not shape:
        return call.reshaped(x, (1,))
    return call.reshaped(
        x, (*shape[:first], call.total(shape[first : last + 1]), *shape[last + 1 :])
    )


@aten("unflatten.int", views=True)
def _unflatten(call: Call) -> str:
    x = call.tensor()
    shape = call.type(x).shape
    axis = call.axis("dim", len(shape))
    parts = _filled(call, [shape[axis]], call.sizes("sizes"))
    return call.reshaped(x, (*shape[:axis], *parts, *shape[axis + 1 :]))


@aten("squeeze.default", "squeeze.dim", "squeeze.dims", "squeeze_copy.dims", views=True)
def _squeeze(call: Call) -> str:
    """Remove axes of size 1; the others that are named stay."""
    x = call.tensor()
    shape = call.type(x).shape
    given = call.take("dim", list(range(len(shape))))
    axes = {call.counted(a, len(shape)) for a in (given if isinstance(given, list) else [given])}
    for axis in axes:
        if axis < len(shape) and isinstance(shape[axis], Dim) and "dim" in call.node.args:
            raise UnsupportedModelError(
                f"{call.where}: whether axis {axis}, of size {shape[axis]}, goes depends on that "
                "size; export with it fixed"
            )
    gone = tuple(sorted(a for a in axes if a < len(shape) and shape[a] == 1))
    return call.one("Squeeze", [x], {"axes": gone}) if gone else x


@aten("unsqueeze.default", "unsqueeze_copy.default", views=True)
def _unsqueeze(call: Call) -> str:
    x = call.tensor()
    axis = call.axis("dim", call.type(x).rank + 1)
    return call.one("Unsqueeze", [x], {"axes": (axis,)})


@aten("transpose.int", "transpose_copy.int", "swapaxes.default", "swapdims.default", views=True)
def _transpose(call: Call) -> str:
    x = call.tensor()
    rank = call.type(x).rank
    names = ("axis0", "axis1") if "swapaxes" in call.target else ("dim0", "dim1")
    first, second = (call.axis(name, rank) for name in names)
    perm = list(range(rank))
    if rank:
        perm[first], perm[second] = perm[second], perm[first]
    return call.one("Transpose", [x], {"perm": tuple(perm)})


@aten("t.default", "numpy_T.default", "mT.default", "t_copy.default", views=True)
def _t(call: Call) -> str:
    x = call.tensor()
    perm = list(range(call.type(x).rank))
    if call.target.startswith("aten.numpy_T"):
        perm.reverse()
    else:
        perm[-2:] = reversed(perm[-2:])
    return call.one("Transpose", [x], {"perm": tuple(perm)})


@aten("permute.default", "permute_copy.default", views=True)
def _permute(call: Call) -> str:
    x = call.tensor()
    rank = call.type(x).rank
    perm = tuple(call.counted(a, rank, "dims") for a in call.integers("dims"))
    return call.one("Transpose", [x], {"perm": perm})


@aten("movedim.int", "movedim.intlist", views=True)
def _movedim(call: Call) -> str:
    x = call.tensor()
    rank = call.type(x).rank
    pairs = []
    for name in ("source", "destination"):
        found = call.take(name)
        listed = found if isinstance(found, list) else [found]
        if not all(type(a) is int for a in listed):
            raise ModelFormatError(f"{call.where}: argument {name!r} is no axis")
        pairs.append([call.counted(a, rank, name) for a in listed])
    rest = [a for a in range(rank) if a not in pairs[0]]
    moved = dict(zip(pairs[1], pairs[0], strict=True))
    perm = tuple(moved[i] if i in moved else rest.pop(0) for i in range(rank))
    return call.one("Transpose", [x], {"perm": perm})


@aten("expand.default", "expand_as.default", "expand_copy.default", "broadcast_to.default",
      views=True)  # fmt: skip
def _expand(call: Call) -> str:
    x, other = call.tensor(), call.optional("other")
    shape = call.type(x).shape
    wanted = list(call.type(other).shape) if other is not None else call.sizes("size")
    lead = len(wanted) - len(shape)
    if lead < 0:
        raise ModelFormatError(f"{call.where}: {list(shape)} cannot be expanded to {wanted}")
    target = tuple(shape[i - lead] if s == -1 and i >= lead else s for i, s in enumerate(wanted))
    return call.one("Expand", [x], {"shape": target})


@aten("repeat.default")
def _repeat(call: Call) -> str:
    x, repeats = call.tensor(), call.sizes("repeats")
    shape = call.type(x).shape
    if len(repeats) < len(shape):
        raise ModelFormatError(f"{call.where}: {len(repeats)} repeats for {len(shape)} axes")
    if len(repeats) > len(shape):
        x = call.reshaped(x, (*(1,) * (len(repeats) - len(shape)), *shape))
    return call.one("Tile", [x], {"repeats": tuple(repeats)})


@aten("cat.default", "concat.default", "concatenate.default")
def _cat(call: Call) -> str:
    parts = call.tensors("tensors")
    # An empty vector among them is a left-over that PyTorch ignores.
    parts = [p for p in parts if call.type(p).shape != (0,)] or parts[:1]
    if not parts:
        raise ModelFormatError(f"{call.where}: argument 'tensors' is empty")
    axis = call.axis("dim", call.type(parts[0]).rank, 0)
    return call.one("Concat", parts, {"axis": axis})


@aten("stack.default")
def _stack(call: Call) -> str:
    parts = call.tensors("tensors")
    if not parts:
        raise ModelFormatError(f"{call.where}: argument 'tensors' is empty")
    axis = call.axis("dim", call.type(parts[0]).rank + 1, 0)
    return call.one(
        "Concat", [call.one("Unsqueeze", [p], {"axes": (axis,)}) for p in parts], {"axis": axis}
    )


@aten("sym_size.int")
def _sym_size(call: Call) -> Size:
    return _along(call, call.tensor())[1]


@aten("sym_numel.default")
def _sym_numel(call: Call) -> Size:
    return call.total(call.type(call.tensor()).shape)


def _along(call: Call, x: str) -> tuple[int, Size]:
    shape = call.type(x).shape
    axis = call.axis("dim", len(shape), 0)
    return axis, shape[axis]


def _fixed(call: Call, size: Size) -> int:
    if isinstance(size, Dim):
        raise UnsupportedModelError(
            f"{call.where}: it cuts an axis of the open size {size}; export with that size fixed"
        )
    return size


@aten("split.Tensor", "split.sizes", "split_with_sizes.default", "chunk.default", views=True)
def _split(call: Call) -> list[list[str]]:
    x = call.tensor()
    axis, size = _along(call, x)
    if "split_sizes" in call.node.args or call.target == "aten.split.sizes":
        pieces = call.sizes("split_sizes" if "split_sizes" in call.node.args else "split_size")
    else:
        total = _fixed(call, size)
        if "chunks" in call.node.args:
            step = -(-total // max(call.integer("chunks"), 1))
        else:
            step = call.integer("split_size")
        if step < 1 and total:
            raise ModelFormatError(f"{call.where}: pieces of {step} elements")
        pieces = [min(step, total - at) for at in range(0, total, step)] if total else [0]
    if all(isinstance(piece, int) for piece in pieces):
        return [_divided(call, x, axis, pieces)]
    starts: list[Size] = [0]
    for piece in pieces:
        starts.append(starts[-1] + piece)
    return [[call.part(x, axis, s, n) for s, n in zip(starts, pieces, strict=False)]]


@aten("unbind.int", views=True)
def _unbind(call: Call) -> list[list[str]]:
    x = call.tensor()
    axis, size = _along(call, x)
    pieces = _divided(call, x, axis, [1] * _fixed(call, size))
    return [[call.one("Squeeze", [piece], {"axes": (axis,)}) for piece in pieces]]


def _divided(call: Call, x: str, axis: int, pieces: Sequence[Size]) -> list[str]:
    """All of an axis in pieces: as one operator, which holds for an axis of that size alone."""
    attrs = {"axis": axis, "split": tuple(pieces), "num_outputs": len(pieces)}
    return call.emit("Split", [x], attrs, len(pieces)) if pieces else []


def _picked(call: Call, x: str, axis: int, index: Size) -> str:
    return call.one("Squeeze", [call.part(x, axis, index, 1)], {"axes": (axis,)})


@aten("select.int", "select_copy.int", views=True)
def _select(call: Call) -> str:
    x = call.tensor()
    axis, size = _along(call, x)
    index = call.size("index")
    if isinstance(index, int) and index < 0:
        if isinstance(size, int):
            one = _cut(call, x, axis, index, index + 1 or _END)
            return call.one("Squeeze", [one], {"axes": (axis,)})
        index = size + index
    return _picked(call, x, axis, index)


@aten("slice.Tensor", "slice_copy.Tensor", "narrow.default", views=True)
def _slice(call: Call) -> str:
    x = call.tensor()
    axis, size = _along(call, x)
    if call.target.startswith("aten.narrow"):
        return call.part(x, axis, _bound(call, call.size("start"), size, "start"),
                         call.size("length"))  # fmt: skip
    start = call.take("start")
    end, step = call.take("end"), call.integer("step", 1)
    known = [v for v in (start, end) if v is not None]
    if isinstance(size, int) and all(type(v) is int for v in known):
        first = 0 if start is None else start
        return _cut(call, x, axis, first, _END if end is None else end, step)
    first = _bound(call, 0 if start is None else start, size, "start")
    last = size if end is None or end == _END else _bound(call, end, size, "end")
    count = last - first
    if isinstance(count, int):
        count = max(0, -(-count // step))
    elif step != 1:
        count = (count + (step - 1)) // step
    return call.part(x, axis, first, count, step)


def _cut(call: Call, x: str, axis: int, start: int, end: int, step: int = 1) -> str:
    """A slice whose ends are as the program says them.

    Those that count from the back stay so: a size that is written down may be freed later.
    """
    numbers = ([start], [end], [axis], [step])
    return call.one("Slice", [x, *(call.constant(n, np.int64) for n in numbers)])


def _bound(call: Call, value: Any, size: Size, name: str) -> Size:
    """An end of a slice, counted from the front and inside the axis where that is known."""
    if isinstance(value, bool) or not isinstance(value, int | Dim):
        raise ModelFormatError(f"{call.where}: argument {name!r} is no integer")
    bound: Size = size + value if isinstance(value, int) and value < 0 else value
    if isinstance(bound, int) and isinstance(size, int):
        return min(max(bound, 0), size)
    # Beyond an open axis PyTorch cuts off; the engine finds out when it binds sizes, and refuses.
    return bound


@aten("flip.default")
def _flip(call: Call) -> str:
    x = call.tensor()
    shape = call.type(x).shape
    for axis in call.integers("dims"):
        at = call.counted(axis, len(shape), "dims")
        if isinstance(shape[at], int):
            x = _cut(call, x, at, -1, -_END - 1, -1)
        else:
            x = call.part(x, at, shape[at] - 1, shape[at], -1)
    return x


@aten("index_select.default", "index.Tensor")
def _index(call: Call) -> str:
    """Rows at the indices of one tensor, along one axis."""
    x = call.tensor()
    if call.target.startswith("aten.index_select"):
        axis, _ = _along(call, x)
        return call.one("Gather", [x, call.tensor("index")], {"axis": axis})
    given = call.take("indices")
    found = [(i, h) for i, h in enumerate(given or []) if isinstance(h, Handle)]
    if len(found) != 1 or call.type(found[0][1].name).dtype.kind != "i":
        raise UnsupportedModelError(
            f"{call.where}: argument 'indices' has {len(found)} tensors or a mask; accepted: "
            "integers along one axis"
        )
    axis, handle = found[0]
    return call.one("Gather", [x, handle.name], {"axis": axis})


def _value(call: Call, name: str) -> float | int | bool:
    value = call.take(name)
    if isinstance(value, bool | int | float):
        return value
    words = {"Infinity": np.inf, "-Infinity": -np.inf}
    if isinstance(value, str) and value in words:
        return words[value]
    raise UnsupportedModelError(f"{call.where}: argument {name!r} is no fixed number")


@aten("zeros.default", "ones.default", "full.default",
      "zeros_like.default", "ones_like.default", "full_like.default", "new_zeros.default",
      "new_ones.default", "new_full.default", "scalar_tensor.default")  # fmt: skip
def _full(call: Call) -> str:
    """A tensor of one number."""
    word = call.target.split(".")[1]
    like = call.optional("self")
    if word.endswith("_like") and like is not None:
        shape: Sequence[Size] = call.type(like).shape
    else:
        shape = [] if word == "scalar_tensor" else call.sizes("size")
    value: float | int | bool = int("ones" in word)
    if "full" in word:
        value = _value(call, "fill_value")
    elif word == "scalar_tensor":
        value = _value(call, "s")
    default = call.type(like).dtype if like is not None else None
    if word == "full" and isinstance(value, bool | int):
        default = np.dtype(np.bool_ if isinstance(value, bool) else np.int32)
    number = call.constant(value, call.dtype(default=default))
    return call.one("Expand", [number], {"shape": tuple(shape)}) if shape else number


@aten("arange.default", "arange.start", "arange.start_step")
def _arange(call: Call) -> str:
    start, end, step = call.take("start", 0), call.take("end"), call.take("step", 1)
    dtype = call.dtype(default=np.dtype(np.int32))
    if not all(type(v) is int for v in (start, end, step)) or step == 0:
        raise UnsupportedModelError(
            f"{call.where}: bounds {start}, {end} and {step}; accepted: fixed integers"
        )
    return call.constant(np.arange(start, end, step), dtype)
