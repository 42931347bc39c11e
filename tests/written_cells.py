"""Recurrent cells written out in ONNX as exporters write them, in many arrangements.

:func:`written` draws one arrangement: products of Gemm or MatMul, one for all gates, one for each,
or one of x and h side by side; Split or Slice; biases in the products, after them, or after the
sum; operands either way round; the forms of the GRU's update. The values are the same in all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclass
class Writer:
    """Collects nodes and initializers."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)
    count: int = 0

    def flip(self) -> bool:
        return bool(self.rng.integers(2))

    def constant(self, value: np.ndarray) -> str:
        self.count += 1
        name = f"const{self.count}"
        self.tensors.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def op(self, op: str, *inputs: str, outputs: int = 1, **attrs: object) -> str | list[str]:
        self.count += 1
        names = [f"v{self.count}_{i}" for i in range(outputs)]
        node = helper.make_node(op, list(inputs), names, name=f"cell/{op}{self.count}", **attrs)
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def either(self, op: str, a: str, b: str) -> str:
        """A commutative operator, its operands either way round."""
        return str(self.op(op, b, a) if self.flip() else self.op(op, a, b))

    def product(self, x: str, w: np.ndarray, b: np.ndarray | None) -> str:
        """X w + b for w [K, N]."""
        if self.flip():
            transposed = self.flip()
            weight = self.constant(w.T if transposed else w)
            inputs = [x, weight] + ([self.constant(b)] if b is not None else [])
            return str(self.op("Gemm", *inputs, transB=int(transposed)))
        y = str(self.op("MatMul", x, self.constant(w)))
        return y if b is None else self.either("Add", y, self.constant(b))

    def parts(self, x: str, count: int, size: int) -> list[str]:
        """Blocks of the last axis."""
        if count == 1:
            return [x]
        if self.flip():
            sizes = self.constant(np.full(count, size))
            return list(self.op("Split", x, sizes, axis=-1 if self.flip() else 1, outputs=count))
        result = []
        for i in range(count):
            bounds = [self.constant(np.array([n])) for n in (i * size, (i + 1) * size, 1)]
            result.append(str(self.op("Slice", x, *bounds)))
        return result

    def sums(self, x: str, h: str, w: np.ndarray, r: np.ndarray, bs: list, count: int) -> list[str]:
        """The sums x w + h r + b of all gates."""
        size = w.shape[1] // count
        arrangement = self.rng.integers(4)
        if arrangement == 0:  # one product of x and h side by side
            order = [(x, w), (h, r)]
            if self.flip():
                order.reverse()
            joined = str(self.op("Concat", *(name for name, _ in order), axis=1))
            whole = self.product(joined, np.vstack([m for _, m in order]), bs[0] + bs[1])
            return self.parts(whole, count, size)
        if arrangement == 1:  # a product for each gate
            cut = [slice(i * size, (i + 1) * size) for i in range(count)]
            return [
                self.either("Add", self.product(x, w[:, c], bs[0][c]),
                            self.product(h, r[:, c], bs[1][c]))
                for c in cut
            ]  # fmt: skip
        if arrangement == 2:  # biases after the sum
            whole = self.either("Add", self.product(x, w, None), self.product(h, r, None))
            whole = self.either("Add", whole, self.constant(bs[0] + bs[1]))
            return self.parts(whole, count, size)
        whole = self.either("Add", self.product(x, w, bs[0]), self.product(h, r, bs[1]))
        return self.parts(whole, count, size)

    def one_minus(self, z: str) -> str:
        return str(self.op("Sub", self.constant(np.array(1, np.float32)), z))


@dataclass(frozen=True)
class Weights:
    """Of one cell: [I, G*H], [H, G*H], two biases [G*H]; gates i, f, g, o or r, z, n."""

    w: np.ndarray
    r: np.ndarray
    b: list[np.ndarray]
    size: int


def weights(op: str, inputs: int, size: int, rng: np.random.Generator) -> Weights:
    columns = GATES[op] * size

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.5, shape).astype(np.float32)

    return Weights(draw(inputs, columns), draw(size, columns), [draw(columns), draw(columns)], size)


def step(
    writer: Writer, op: str, v: Weights, x: str, h: str, c: str, after: bool = True
) -> tuple[str, str]:
    """Write one step; return the names of the state after it."""
    if op == "RNN":
        (total,) = writer.sums(x, h, v.w, v.r, v.b, 1)
        return str(writer.op("Tanh", total)), ""
    if op == "LSTM":
        i, f, g, o = writer.sums(x, h, v.w, v.r, v.b, 4)
        i, f, o = (str(writer.op("Sigmoid", s)) for s in (i, f, o))
        g = str(writer.op("Tanh", g))
        kept, new = writer.either("Mul", f, c), writer.either("Mul", i, g)
        c_out = writer.either("Add", kept, new)
        return writer.either("Mul", o, str(writer.op("Tanh", c_out))), c_out
    return _gru(writer, v, x, h, after), ""


def _gru(writer: Writer, v: Weights, x: str, h: str, after: bool) -> str:
    size = v.size
    two = [a[..., : 2 * size] for a in (v.w, v.r, *v.b)]
    r, z = writer.sums(x, h, two[0], two[1], two[2:], 2)
    r, z = str(writer.op("Sigmoid", r)), str(writer.op("Sigmoid", z))
    w_n, r_n, b_w, b_r = (a[..., 2 * size :] for a in (v.w, v.r, *v.b))
    from_x = writer.product(x, w_n, b_w)
    if after:
        from_h = writer.either("Mul", r, writer.product(h, r_n, b_r))
    else:
        from_h = writer.product(writer.either("Mul", r, h), r_n, b_r)
    n = str(writer.op("Tanh", writer.either("Add", from_x, from_h)))
    form = writer.rng.integers(3)
    if form == 0:
        kept = writer.either("Mul", z, h)
        return writer.either("Add", writer.either("Mul", writer.one_minus(z), n), kept)
    if form == 1:
        return writer.either("Add", n, writer.either("Mul", z, str(writer.op("Sub", h, n))))
    return str(writer.op("Sub", n, writer.either("Mul", z, str(writer.op("Sub", n, h)))))


def model(
    writer: Writer,
    inputs: dict[str, list[int | str]],
    outputs: dict[str, list[int | str] | None],
    opset: int = 17,
) -> bytes:
    """The model with everything that was written."""
    graph = helper.make_graph(
        writer.nodes,
        "written",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in inputs.items()],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in outputs.items()],
        writer.tensors,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def written(op: str, seed: int, after: bool = True) -> tuple[bytes, Weights]:
    """One step with its state as input and output, in the arrangement that the seed draws."""
    writer = Writer(np.random.default_rng(seed))
    v = weights(op, 3, 5, writer.rng)
    h, c = step(writer, op, v, "x", "h", "c", after)
    for name, value in (("h_out", h), ("c_out", c)):
        if value:
            writer.nodes.append(helper.make_node("Identity", [value], [name]))
    states = ["h", "c"] if op == "LSTM" else ["h"]
    inputs: dict[str, list[int | str]] = {"x": ["B", 3], **{s: ["B", 5] for s in states}}
    return model(writer, inputs, {f"{s}_out": ["B", 5] for s in states}), v
