"""Random convolutions and pools: one ONNX node each, with what torch needs to compute the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

OPS = ("Conv", "Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool")


@dataclass
class Case:
    """A node, its operands (the first is the input, the rest weights) and its attributes."""

    seed: int
    op: str
    operands: list[Array]
    attrs: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        shapes = [value.shape for value in self.operands]
        return f"seed {self.seed}: {self.op}{shapes} {self.attrs}"

    @property
    def chain(self) -> int:
        """Terms in the longest sum of an output."""
        if self.op == "Conv":
            return int(np.prod(self.operands[1].shape[1:]))
        if self.op == "ConvTranspose":
            w = self.operands[1]
            return int(w.shape[0] // self.attrs["group"] * np.prod(w.shape[2:]))
        return int(np.prod(self.attrs["kernel_shape"]))

    def model(self, *, constant: bool = True, free: tuple[int, ...] = ()) -> bytes:
        """The ONNX file; weights as constants or as inputs, some axes of x with open sizes."""
        from onnx import TensorProto, helper, numpy_helper

        names = ["x", *(f"w{i}" for i in range(1, len(self.operands)))]
        node = helper.make_node(self.op, names, ["y"], "op", **self.attrs)
        shapes: list[list[Any]] = [list(value.shape) for value in self.operands]
        for axis in free:
            shapes[0][axis] = f"n{axis}"
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in zip(names, shapes, strict=True)
        ]
        output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shapes[0]))
        weights = [
            numpy_helper.from_array(value, name)
            for name, value in zip(names[1:], self.operands[1:], strict=True)
        ]
        graph = helper.make_graph(
            [node], "g", inputs[:1] if constant else inputs, [output], weights if constant else []
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)])
        made.ir_version = 10
        return bytes(made.SerializeToString())

    @property
    def feeds(self) -> dict[str, Array]:
        return {"x": self.operands[0]}

    @property
    def all_feeds(self) -> dict[str, Array]:
        return {"x": self.operands[0], **{f"w{i}": v for i, v in enumerate(self.operands) if i}}


def case(seed: int) -> Case:
    """Draw a node over one or two spatial axes whose result is not empty."""
    rng = np.random.default_rng(seed)
    while True:
        made = _drawn(rng, seed)
        if made is not None:
            return made


WIDE: tuple[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], ...] = (
    ((2, 40, 61), (48, 40, 3), {}),
    ((1, 16, 70), (33, 16, 5), {"pads": [2, 2]}),
    ((1, 30, 90), (70, 30, 4), {"pads": [3, 0]}),
    ((3, 64, 41), (32, 64, 1), {}),
    ((1, 20, 90), (40, 20, 5), {"strides": [2], "pads": [1, 3]}),
    ((1, 12, 80), (130, 12, 6), {"strides": [3], "pads": [5, 5], "dilations": [2]}),
    ((1, 24, 3), (64, 24, 3), {}),
    ((20, 24, 3), (64, 24, 3), {}),
    ((18, 16, 5), (40, 16, 5), {"dilations": [1]}),
    ((2, 9, 4, 37), (35, 9, 3, 3), {"pads": [1, 1, 1, 1]}),
    ((1, 16, 6, 20), (48, 16, 2, 2), {"strides": [2, 1]}),
    ((1, 16, 5, 60), (40, 16, 3, 2), {"pads": [2, 0, 0, 1], "dilations": [1, 2]}),
    ((2, 600, 50), (17, 600, 1), {}),
)
"""Shapes of x and w: many units, many taps, and positions beside each other."""


def wide_case(number: int) -> Case:
    """A convolution of one group, worked on as a matrix product where no tap reads padding."""
    rng = np.random.default_rng(900 + number)
    x, w, attrs = WIDE[number]
    rank = len(x) - 2
    plain = {"strides": [1] * rank, "dilations": [1] * rank, "pads": [0] * 2 * rank, "group": 1}
    operands = [rng.standard_normal(shape).astype(np.float32) for shape in (x, w, w[:1])]
    return Case(number, "Conv", operands[: 3 - number % 2], plain | attrs)


def _drawn(rng: np.random.Generator, seed: int) -> Case | None:
    op = str(rng.choice(OPS))
    rank = int(rng.integers(1, 3))
    spatial = [int(n) for n in rng.choice([1, 2, 3, 5, 7, 16, 17, 33, 40], rank)]
    kernel = [int(k) for k in rng.choice([1, 1, 2, 3, 3, 4, 5], rank)]
    strides = [int(s) for s in rng.choice([1, 1, 2, 3], rank)]
    dilations = [int(d) for d in rng.choice([1, 1, 2, 5], rank)]
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = [int(rng.integers(0, min(e, 6))) for e in (*extents, *extents)]
    batch = int(rng.choice([1, 2, 5]))
    attrs: dict[str, Any] = {"strides": strides, "dilations": dilations, "pads": pads}
    if op in ("Conv", "ConvTranspose"):
        return _convolution(rng, seed, op, batch, spatial, kernel, attrs)
    pads = attrs["pads"] = [int(rng.integers(0, k)) for k in (*kernel, *kernel)]
    attrs["kernel_shape"] = kernel
    padded = [n + pads[i] + pads[i + rank] for i, n in enumerate(spatial)]
    if any(n < e for n, e in zip(padded, extents, strict=True)):
        return None
    if op == "LpPool":
        attrs["p"] = int(rng.integers(1, 3))
    elif rng.random() < 0.4:
        attrs["ceil_mode"] = 1
    if op == "AveragePool" and rng.random() < 0.5:
        attrs["count_include_pad"] = 1
    channels = int(rng.choice([1, 3, 4]))
    x = rng.standard_normal((batch, channels, *spatial)).astype(np.float32)
    return Case(seed, op, [x], attrs)


def _convolution(
    rng: np.random.Generator,
    seed: int,
    op: str,
    batch: int,
    spatial: list[int],
    kernel: list[int],
    attrs: dict[str, Any],
) -> Case | None:
    rank, transposed = len(spatial), op == "ConvTranspose"
    group = int(rng.choice([1, 1, 1, 2, 3, 8]))
    inside = int(rng.choice([1, 1, 2, 5, 16]))
    outside = int(rng.choice([1, 1, 2, 8, 9, 16, 17, 40])) if group < 8 else int(rng.integers(1, 3))
    attrs["group"] = group
    strides, dilations, pads = attrs["strides"], attrs["dilations"], attrs["pads"]
    for i, n in enumerate(spatial):
        extent, both = (kernel[i] - 1) * dilations[i] + 1, pads[i] + pads[i + rank]
        if (n - 1) * strides[i] + extent - both < 1 if transposed else n + both < extent:
            return None
    if transposed and rng.random() < 0.5:
        most = [max(s, d) for s, d in zip(strides, dilations, strict=True)]
        attrs["output_padding"] = [int(rng.integers(0, m)) for m in most]
    shape = (group * inside, outside) if transposed else (group * outside, inside)
    x = rng.standard_normal((batch, group * inside, *spatial)).astype(np.float32)
    w = rng.standard_normal((*shape, *kernel)).astype(np.float32)
    bias = rng.standard_normal(group * outside).astype(np.float32)
    return Case(seed, op, [x, w, bias][: 3 if rng.random() < 0.7 else 2], attrs)
