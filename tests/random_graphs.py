"""Random ONNX graphs of every operator that has an emission, with fixed and free sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnnengine.graph import Dim, Size, product, substitute, symbol

Array = np.ndarray[Any, Any]
Shape = tuple[Size, ...]

SIZES = ({"T": 5, "B": 3}, {"T": 1, "B": 1}, {"T": 0, "B": 2}, {"T": 8, "B": 0}, {"T": 2, "B": 7})
"""What the free sizes are bound to, one after the other."""

UNARY = (
    "Abs", "Erf", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Neg", "Relu",
    "Selu", "Sigmoid", "Softplus", "Softsign", "Tanh", "ThresholdedRelu", "Celu", "Identity",
    "Dropout",
)  # fmt: skip


def fixed(shape: Shape) -> bool:
    return not any(isinstance(size, Dim) for size in shape)


@dataclass
class Made:
    """A model, what to feed it at given sizes, and how it was made."""

    content: bytes
    inputs: dict[str, Shape]
    outputs: list[str]
    steps: list[str]
    empty: bool

    def feeds(self, sizes: dict[str, int], seed: int = 0) -> dict[str, Array]:
        """Inputs at given sizes; every other seed puts NaN, infinities and zeros among them."""
        rng = np.random.default_rng(seed)
        result = {}
        for name, shape in self.inputs.items():
            x = rng.standard_normal([int(substitute(s, sizes)) for s in shape]).astype(np.float32)
            if seed % 2:
                odd = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], x.shape)
                x = np.where(rng.random(x.shape) < 0.1, odd, x).astype(np.float32)
            result[name] = x
        return result


@dataclass
class Maker:
    """Adds one random operator after the other to what there is."""

    rng: np.random.Generator
    opset: int = 17
    nodes: list[Any] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    count: int = 0

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = self.name("c")
        self.constants[name] = np.asarray(value, dtype)
        return name

    def pick(self, *ranks: int) -> str | None:
        """Name of a value, of one of the given ranks if any are given."""
        names = [n for n, s in self.shapes.items() if not ranks or len(s) in ranks]
        return None if not names else names[int(self.rng.integers(len(names)))]

    def given(self) -> str | None:
        """Name of an input of rank 1 or more."""
        names = [n for n, s in self.shapes.items() if n.startswith("x") and s]
        return None if not names else names[int(self.rng.integers(len(names)))]

    def add(self, op: str, inputs: list[str], shape: Shape, **attrs: Any) -> str:
        from onnx import helper

        result = self.name("v")
        self.nodes.append(helper.make_node(op, inputs, [result], f"{op}_{result}", **attrs))
        self.shapes[result] = shape
        self.steps.append(f"{result}{list(shape)} = {op}({', '.join(inputs)}) {attrs}")
        return result

    # Each method below adds one operator, or nothing where no value fits.

    def unary(self) -> None:
        x = self.pick()
        assert x is not None
        op = str(self.rng.choice([u for u in UNARY if self.opset >= 20 or u != "Gelu"]))
        self.add(op, [x], self.shapes[x])

    def binary(self) -> None:
        x = self.pick()
        assert x is not None
        shape = self.shapes[x]
        op = str(self.rng.choice(["Add", "Sub", "Mul", "Min", "Max", "Sum"]))
        kind = int(self.rng.integers(4))
        if kind == 0:
            other = x
        elif kind == 1:
            same = [n for n, s in self.shapes.items() if s == shape]
            other = same[int(self.rng.integers(len(same)))]
        else:
            # A constant row that broadcasts: 1 on free axes, 1 or the size on fixed ones.
            low = int(self.rng.integers(len(shape) + 1))
            part = [1 if isinstance(s, Dim) or self.rng.random() < 0.4 else s for s in shape[low:]]
            extra = [1] * int(self.rng.integers(2)) if low == 0 and len(shape) < 5 else []
            other = self.constant(self.rng.standard_normal([*extra, *part]))
            shape = (*(1 for _ in extra), *shape)
        operands = [x, other] if self.rng.random() < 0.5 else [other, x]
        if op in ("Min", "Max", "Sum") and self.rng.random() < 0.5:
            operands.append(x)
        self.add(op, operands, shape)

    def clip(self) -> None:
        x = self.pick()
        assert x is not None
        low, high = sorted(self.rng.standard_normal(2))
        bounds = [self.constant(low), self.constant(high)]
        bounds[int(self.rng.integers(2))] = str(self.rng.choice(["", bounds[1]]))
        self.add("Clip", [x, *bounds], self.shapes[x])

    def softmax(self) -> None:
        x = self.pick(1, 2, 3, 4, 5)
        if x is not None:
            rank = len(self.shapes[x])
            op = str(self.rng.choice(["Softmax", "LogSoftmax"]))
            self.add(op, [x], self.shapes[x], axis=int(self.rng.integers(-rank, rank)))

    def transpose(self) -> None:
        x = self.pick(1, 2, 3, 4, 5)
        if x is None:
            return
        perm = [int(p) for p in self.rng.permutation(len(self.shapes[x]))]
        self.add("Transpose", [x], tuple(self.shapes[x][p] for p in perm), perm=perm)

    def unsqueeze(self) -> None:
        x = self.pick(0, 1, 2, 3)
        if x is not None:
            shape = list(self.shapes[x])
            axis = int(self.rng.integers(len(shape) + 1))
            shape.insert(axis, 1)
            self.add("Unsqueeze", [x, self.constant([axis], np.int64)], tuple(shape))

    def squeeze(self) -> None:
        fits = [n for n, s in self.shapes.items() if 1 in s]
        if fits:
            x = fits[int(self.rng.integers(len(fits)))]
            shape = list(self.shapes[x])
            axis = shape.index(1)
            del shape[axis]
            self.add("Squeeze", [x, self.constant([axis - len(shape) - 1], np.int64)], tuple(shape))

    def reshape(self) -> None:
        """Join two adjacent axes, or split one of even fixed size."""
        x = self.pick(1, 2, 3, 4)
        if x is None:
            return
        shape = list(self.shapes[x])
        splits = [i for i, s in enumerate(shape) if isinstance(s, int) and s > 1 and s % 2 == 0]
        if len(shape) > 1 and self.rng.random() < 0.6:
            axis = int(self.rng.integers(len(shape) - 1))
            shape[axis : axis + 2] = [shape[axis] * shape[axis + 1]]
        elif splits:
            axis = int(self.rng.choice(splits))
            shape[axis : axis + 1] = [2, int(shape[axis]) // 2]
        else:
            return
        free = [i for i, s in enumerate(shape) if isinstance(s, Dim)]
        if len(free) > 1 or 0 in shape:
            return
        target = [-1 if isinstance(s, Dim) else s for s in shape]
        self.add("Reshape", [x, self.constant(target, np.int64)], tuple(shape))

    def concat(self) -> None:
        x = self.pick(1, 2, 3, 4)
        if x is None:
            return
        axis = int(self.rng.integers(len(self.shapes[x])))

        def rest(shape: Shape) -> Shape:
            return (*shape[:axis], *shape[axis + 1 :])

        fits = [
            n
            for n, s in self.shapes.items()
            if len(s) == len(self.shapes[x]) and rest(s) == rest(self.shapes[x])
        ]
        parts = [str(self.rng.choice(fits)) for _ in range(int(self.rng.integers(1, 4)))]
        fixed = rest(self.shapes[x])
        if not any(isinstance(s, Dim) for s in fixed) and self.rng.random() < 0.3:
            shape = (*self.shapes[x][:axis], 2, *self.shapes[x][axis + 1 :])
            parts.append(self.constant(self.rng.standard_normal([int(s) for s in shape])))
        total = sum((self.shapes[p][axis] if p in self.shapes else 2 for p in parts), start=0)
        shape = (*self.shapes[x][:axis], total, *self.shapes[x][axis + 1 :])
        self.add("Concat", parts, shape, axis=axis)

    def slice(self) -> None:
        """Any bounds and steps on axes of fixed size; some steps off the ends of free ones."""
        x = self.pick(1, 2, 3, 4)
        if x is None:
            return
        shape = list(self.shapes[x])
        axes = [a for a in range(len(shape)) if self.rng.random() < 0.5]
        if not axes:
            return
        starts, ends, steps = [], [], []
        far = 2**40
        for axis in axes:
            size = shape[axis]
            if isinstance(size, Dim):
                drop = int(self.rng.integers(0, 3))
                kinds = [(drop, far, 1), (0, -drop or far, 1), (-1, -far, -1)]
                start, end, step = kinds[int(self.rng.integers(3))]
                shape[axis] = size - (drop if step == 1 else 0)
            else:
                start, end = (int(v) for v in self.rng.integers(-size - 2, size + 3, 2))
                step = int(self.rng.choice([-3, -2, -1, 1, 1, 1, 2, 3]))
                # Below the first element, witnesses differ on where a backward slice starts.
                start = max(start, -size) if step < 0 else start
                bound = end if step > 0 or end >= -size else None
                shape[axis] = len(range(*slice(start, bound, step).indices(size)))
            starts.append(start)
            ends.append(end)
            steps.append(step)
        operands = [self.constant(v, np.int64) for v in (starts, ends, axes, steps)]
        self.add("Slice", [x, *operands], tuple(shape))

    def gather(self) -> None:
        x = self.pick(1, 2, 3, 4)
        if x is None:
            return
        shape = self.shapes[x]
        axis = int(self.rng.integers(len(shape)))
        size = shape[axis]
        if isinstance(size, Dim) or size == 0:
            return
        dims = [int(d) for d in self.rng.integers(0, 4, int(self.rng.integers(0, 3)))]
        if len(shape) + len(dims) > 6:
            return
        indices = self.rng.integers(-size, size, dims)
        result = (*shape[:axis], *dims, *shape[axis + 1 :])
        self.add("Gather", [x, self.constant(indices, np.int64)], result, axis=axis)

    def expand(self) -> None:
        x = self.pick(1, 2, 3)
        if x is None:
            return
        lead = [int(self.rng.integers(1, 4))] if self.rng.random() < 0.5 else []
        shape = [int(self.rng.integers(1, 4)) if s == 1 else s for s in self.shapes[x]]
        target = [*lead, *(1 if isinstance(s, Dim) else s for s in shape)]
        self.add("Expand", [x, self.constant(target, np.int64)], (*lead, *shape))

    def tile(self) -> None:
        x = self.pick(1, 2, 3)
        if x is None:
            return
        shape = self.shapes[x]
        repeats = [int(r) for r in self.rng.choice([0, 1, 1, 1, 2, 3], len(shape))]
        result = tuple(s * r for s, r in zip(shape, repeats, strict=True))
        self.add("Tile", [x, self.constant(repeats, np.int64)], result)

    def matmul(self) -> None:
        x = self.pick(1, 2, 3, 4)
        if x is None or isinstance(self.shapes[x][-1], Dim):
            return
        shape = self.shapes[x]
        k = int(shape[-1])
        if self.rng.random() < 0.2:
            self.add("MatMul", [x, self.constant(self.rng.standard_normal(k))], shape[:-1])
            return
        n = int(self.rng.integers(1, 20))
        weights = self.rng.standard_normal((k, n)) / max(k, 1) ** 0.5
        y = self.add("MatMul", [x, self.constant(weights)], (*shape[:-1], n))
        if self.rng.random() < 0.5:
            y = self.add("Add", [y, self.constant(self.rng.standard_normal(n))], self.shapes[y])
            self.add("Tanh", [y], self.shapes[y])

    def product(self) -> None:
        """MatMul of two computed values."""
        right = [n for n, s in self.shapes.items() if len(s) == 2 and fixed(s)]
        if not right:
            return
        b = str(self.rng.choice(right))
        left = [n for n, s in self.shapes.items() if s and s[-1] == self.shapes[b][0]]
        if left:
            a = str(self.rng.choice(left))
            y = self.add("MatMul", [a, b], (*self.shapes[a][:-1], self.shapes[b][1]))
            self.add("Softsign", [y], self.shapes[y])

    def recurrent(self) -> None:
        x = self.pick(3)
        if x is None or isinstance(self.shapes[x][2], Dim):
            return
        steps, batch, width = self.shapes[x]
        op, gates = (("LSTM", 4), ("GRU", 3), ("RNN", 1))[int(self.rng.integers(3))]
        hidden, both = int(self.rng.integers(1, 19)), int(self.rng.integers(2))
        weights = [
            self.constant(self.rng.uniform(-0.3, 0.3, (1 + both, gates * hidden, k)))
            for k in (int(width), hidden)
        ]
        direction = "bidirectional" if both else str(self.rng.choice(["forward", "reverse"]))
        y = self.add(
            op,
            [x, *weights],
            (steps, 1 + both, batch, hidden),
            hidden_size=hidden,
            direction=direction,
        )
        self.add("Transpose", [y], (steps, batch, 1 + both, hidden), perm=[0, 2, 1, 3])

    def gemm(self) -> None:
        x = self.pick(2)
        if x is None:
            return
        flip, flip_b = (int(self.rng.integers(2)) for _ in range(2))
        rows, k = self.shapes[x][:: -1 if flip else 1]
        if isinstance(k, Dim):
            return
        n = int(self.rng.integers(1, 20))
        b = self.rng.standard_normal((n, k) if flip_b else (k, n)) / max(k, 1) ** 0.5
        operands = [x, self.constant(b)]
        if self.rng.random() < 0.7:
            shapes: list[tuple[int, ...]] = [(n,), (1, n), (1,), (), (1, 1)]
            shapes += [] if isinstance(rows, Dim) else [(rows, 1), (rows, n)]
            shape = shapes[int(self.rng.integers(len(shapes)))]
            operands.append(self.constant(self.rng.standard_normal(shape)))
        scale = [float(v) for v in self.rng.choice([1.0, 0.5, -1.5], 2)]
        attrs = {"transA": flip, "transB": flip_b, "alpha": scale[0], "beta": scale[1]}
        self.add("Gemm", operands, (rows, n), **attrs)

    def pad(self) -> None:
        x = self.pick(1, 2, 3)
        if x is None:
            return
        shape = self.shapes[x]
        pads = self.rng.integers(-1, 3, (2, len(shape)))
        for axis, size in enumerate(shape):
            if not isinstance(size, int) or size < 3:
                pads[:, axis] = np.maximum(pads[:, axis], 0)
        mode = "constant"
        if all(isinstance(s, int) and s > 4 for s in shape):
            mode = str(self.rng.choice(["constant", "edge", "reflect"]))
        operands = [x, self.constant(pads.reshape(-1), np.int64), self.constant(0.5)]
        wide = tuple(s + int(a) + int(b) for s, a, b in zip(shape, *pads, strict=True))
        self.add("Pad", operands, wide, mode=mode)

    def reduce(self) -> None:
        x = self.pick(1, 2, 3, 4)
        if x is None or self.opset < 18:
            return
        shape = self.shapes[x]
        fits = [a for a, s in enumerate(shape) if isinstance(s, int) and s > 0]
        axes = sorted(a for a in fits if self.rng.random() < 0.6)
        if not axes:
            return
        keep = bool(self.rng.random() < 0.5)
        kept = [1 if a in axes else s for a, s in enumerate(shape) if keep or a not in axes]
        op = str(self.rng.choice(["Sum", "Mean", "Max", "Min", "L1", "L2", "LogSumExp"]))
        operands = [x, self.constant(axes, np.int64)]
        self.add(f"Reduce{op}", operands, tuple(kept), keepdims=int(keep))

    def normalize(self) -> None:
        x = self.pick(2, 3, 4)
        if x is None or self.opset < 17:
            return
        last = self.shapes[x][-1]
        if isinstance(last, int) and last > 1:
            scale, bias = (self.constant(self.rng.standard_normal(last)) for _ in range(2))
            self.add("LayerNormalization", [x, scale, bias], self.shapes[x], epsilon=0.1)

    def choose(self) -> None:
        """One value or another, by a comparison of an input, which no rounding can change."""
        x = self.given()
        if x is None:
            return
        shape = self.shapes[x]
        same = [n for n, s in self.shapes.items() if s == shape]
        other = same[int(self.rng.integers(len(same)))]
        op = str(self.rng.choice(["Less", "GreaterOrEqual", "Equal"]))
        truth = self.add(op, [x, self.constant(0.25)], shape)
        del self.shapes[truth]
        self.add("Where", [truth, x, other], shape)

    def slope(self) -> None:
        x = self.pick(1, 2, 3)
        if x is not None:
            last = self.shapes[x][-1]
            slope = self.rng.standard_normal(1 if isinstance(last, Dim) else last)
            self.add("PRelu", [x, self.constant(slope)], self.shapes[x])

    def cumulate(self) -> None:
        x = self.pick(1, 2, 3)
        if x is not None:
            axis = int(self.rng.integers(len(self.shapes[x])))
            attrs = {"exclusive": int(self.rng.integers(2)), "reverse": int(self.rng.integers(2))}
            self.add("CumSum", [x, self.constant(axis, np.int64)], self.shapes[x], **attrs)

    def scatter(self) -> None:
        """Rows of the first axis replaced or added to; some orders of rows are slices."""
        x = self.pick(1, 2, 3)
        if x is None or not fixed(self.shapes[x]) or self.opset < 16:
            return
        shape = self.shapes[x]
        rows = [int(r) for r in self.rng.integers(shape[0], size=2)] if shape[0] else []
        if rows:
            index = self.constant([[r] for r in rows], np.int64)
            updates = self.constant(self.rng.standard_normal([2, *shape[1:]]))
            word = str(self.rng.choice(["none", "add"]))
            self.add("ScatterND", [x, index, updates], shape, reduction=word)

    def best(self) -> None:
        """The place of an input's largest element, as a number."""
        x = self.given()
        if x is None or not isinstance(self.shapes[x][-1], int) or self.shapes[x][-1] == 0:
            return
        shape = self.shapes[x][:-1]
        place = self.add("ArgMax", [x], shape, axis=-1, keepdims=0)
        del self.shapes[place]
        self.add("Cast", [place], shape, to=1)

    def product_of_two(self) -> None:
        x = self.pick(2, 3)
        if x is not None:
            shape = self.shapes[x]
            perm = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
            turned = tuple(shape[p] for p in perm)
            other = self.add("Transpose", [x], turned, perm=perm)
            self.add("MatMul", [x, other], (*shape[:-1], shape[-2]))

    def windows(self, shape: Shape, dilated: bool) -> tuple[Shape, dict[str, Any]]:
        """Windows that keep a free axis as long as it is; and the sizes of what they give."""
        sizes: list[Size] = []
        listed: dict[str, list[int]] = {"kernel_shape": [], "strides": [], "dilations": []}
        before, after = [], []
        for size in shape[2:]:
            kernel = int(self.rng.integers(1, 4))
            stride = 1 if isinstance(size, Dim) else int(self.rng.integers(1, 3))
            dilation = int(self.rng.integers(1, 3)) if dilated else 1
            reach = (kernel - 1) * dilation
            before.append(int(self.rng.integers(reach + 1)))
            after.append(reach - before[-1])
            for name, value in zip(listed, (kernel, stride, dilation), strict=True):
                listed[name].append(value)
            sizes.append(size if isinstance(size, Dim) else (size - 1) // stride + 1)
        return tuple(sizes), {**listed, "pads": [*before, *after]}

    def convolution(self) -> None:
        x = self.pick(3, 4)
        shape = self.shapes[x] if x is not None else ()
        if x is None or isinstance(shape[1], Dim) or shape[1] == 0:
            return
        channels = int(shape[1])
        group = channels if self.rng.random() < 0.4 else 1
        units = group * int(self.rng.integers(1, 4))
        sizes, attrs = self.windows(shape, dilated=True)
        weights = self.rng.standard_normal((units, channels // group, *attrs["kernel_shape"]))
        w = self.constant(weights / max(1, weights[0].size))
        operands = [x, w, self.constant(self.rng.standard_normal(units))]
        made = (shape[0], units, *sizes)
        self.add("Conv", operands[: int(self.rng.integers(2, 4))], made, group=group, **attrs)

    def pool(self) -> None:
        x = self.pick(3, 4)
        if x is None:
            return
        shape = self.shapes[x]
        sizes, attrs = self.windows(shape, dilated=False)
        attrs.pop("dilations")
        op = str(self.rng.choice(["MaxPool", "AveragePool"]))
        if op == "AveragePool":
            attrs["count_include_pad"] = int(self.rng.integers(2))
        self.add(op, [x], (*shape[:2], *sizes), **attrs)

    def flatten(self) -> None:
        x = self.pick(2, 3, 4)
        if x is None:
            return
        shape = self.shapes[x]
        axis = int(self.rng.integers(len(shape) + 1))
        halves = (shape[:axis], shape[axis:])
        self.add("Flatten", [x], (product(halves[0]), product(halves[1])), axis=axis)


_METHODS = (
    "unary", "unary", "binary", "binary", "clip", "softmax", "transpose", "transpose", "unsqueeze",
    "squeeze", "reshape", "concat", "concat", "slice", "gather", "expand", "tile", "matmul", "gemm",
    "flatten", "product", "recurrent", "pad", "reduce", "normalize", "choose", "slope", "cumulate",
    "scatter", "best", "product_of_two", "convolution", "convolution", "pool",
)  # fmt: skip


def random_graph(seed: int) -> Made:
    """Make a graph of 2 to 12 operators on one or two inputs, with one to five outputs."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    maker = Maker(rng, opset=int(rng.choice([13, 17, 20])))
    inputs: dict[str, Shape] = {}
    for i in range(int(rng.integers(1, 3))):
        rank = int(rng.integers(1, 4))
        shape: list[Size] = [int(s) for s in rng.choice([1, 2, 3, 4, 6, 16, 17], rank)]
        for name in ("T", "B"):
            if rng.random() < 0.4:
                shape[int(rng.integers(rank))] = symbol(name)
        inputs[f"x{i}"] = maker.shapes[f"x{i}"] = tuple(shape)
    for _ in range(int(rng.integers(2, 13))):
        getattr(maker, str(rng.choice(_METHODS)))()
    names = [n for n, s in maker.shapes.items() if n not in inputs]
    chosen = dict.fromkeys(
        str(n) for n in rng.choice(names or list(inputs), int(rng.integers(1, 5)))
    )
    if names:
        chosen[names[-1]] = None
    outputs = list(chosen)
    if rng.random() < 0.2:
        outputs.append(next(iter(inputs)))
    floats = [n for n, c in maker.constants.items() if c.dtype == np.float32]
    if floats and rng.random() < 0.1:
        outputs.append(floats[0])
    if rng.random() < 0.2:
        again = maker.name("again")
        maker.nodes.append(helper.make_node("Identity", [outputs[0]], [again], again))
        outputs.append(again)
    outputs = list(dict.fromkeys(outputs))
    graph = helper.make_graph(
        maker.nodes,
        "random",
        [
            helper.make_tensor_value_info(
                n, TensorProto.FLOAT, [str(d) if isinstance(d, Dim) else d for d in shape]
            )
            for n, shape in inputs.items()
        ],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(v, n) for n, v in maker.constants.items()],
    )
    opset = helper.make_opsetid("", maker.opset)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    empty = any(0 in shape for shape in maker.shapes.values())
    return Made(bytes(model.SerializeToString()), inputs, outputs, maker.steps, empty)
