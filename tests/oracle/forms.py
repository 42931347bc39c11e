"""Single operators in the forms of different opsets, as ONNX models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.defs

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)


def real(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def integers(*values: Any) -> Array:
    return np.array(values, np.int64)


@dataclass
class Form:
    """An operator with its run-time inputs, constant inputs (by position) and attributes."""

    op: str
    feeds: list[Array]
    opsets: tuple[int, ...] = (7, 13, 21)
    constants: list[Array | None] = field(default_factory=list)
    attrs: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    note: str = ""

    def __str__(self) -> str:
        return " ".join([self.op, *(f"{k}={v}" for k, v in self.attrs.items()), self.note])


def model(form: Form, opset: int, axis: int | None = None) -> tuple[bytes, dict[str, Array]]:
    """The model and its feeds; the given axis of the first input is symbolic."""
    from onnx import helper, numpy_helper

    feeds = {f"in{i}": value for i, value in enumerate(form.feeds)}
    constants = {f"c{i}": v for i, v in enumerate(form.constants) if v is not None}
    names = [*feeds, *(f"c{i}" if v is not None else "" for i, v in enumerate(form.constants))]
    outputs = [f"out{i}" for i in range(form.outputs)]
    node = helper.make_node(form.op, names, outputs, "op", **form.attrs)

    def declared(name: str, value: Array) -> Any:
        code = helper.np_dtype_to_tensor_dtype(value.dtype)
        shape: list[Any] = list(value.shape)
        if axis is not None and name == "in0" and axis < len(shape):
            shape[axis] = "N"
        return helper.make_tensor_value_info(name, code, shape)

    graph = helper.make_graph(
        [node],
        "op",
        [declared(n, v) for n, v in feeds.items()],
        [onnx.ValueInfoProto(name=o) for o in outputs],
        [numpy_helper.from_array(v, n) for n, v in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 8
    return made.SerializeToString(), feeds


X = real(3, 4, 5)
POSITIVE = np.abs(X) + 0.1
ODD = np.array([[1, np.nan, np.inf], [-np.inf, 0, -3]], np.float32)
UNARY = (
    Form("Relu", [X]), Form("Sigmoid", [X]), Form("Tanh", [X]), Form("Exp", [X]), Form("Abs", [X]),
    Form("Neg", [X]), Form("Sqrt", [POSITIVE]), Form("Log", [POSITIVE]), Form("Reciprocal", [X]),
    Form("Erf", [X], (9, 13)), Form("Softplus", [X]), Form("Softsign", [X]), Form("Identity", [X]),
    Form("LeakyRelu", [X]), Form("LeakyRelu", [X], attrs={"alpha": 0.3}),
    Form("Elu", [X]), Form("Elu", [X], attrs={"alpha": 0.7}), Form("Selu", [X]),
    Form("Selu", [X], attrs={"alpha": 2.0, "gamma": 3.0}),
    Form("Celu", [X], (12,)), Form("Celu", [X], (12,), attrs={"alpha": 0.5}),
    Form("HardSigmoid", [X]), Form("HardSigmoid", [3 * X], attrs={"alpha": 0.3, "beta": 0.4}),
    Form("ThresholdedRelu", [np.array([0.5, 1.0, 2.0, -1.0], np.float32)], (10,)),
    Form("ThresholdedRelu", [X], (10,), attrs={"alpha": 0.3}),
    Form("HardSwish", [3 * X], (14,)), Form("Mish", [X], (18,)),
    Form("Gelu", [X], (20,)), Form("Gelu", [X], (20,), attrs={"approximate": "tanh"}),
    *(Form(op, [X]) for op in ("Sin", "Cos", "Tan", "Atan")),
    *(Form(op, [X / 4]) for op in ("Asin", "Acos")), Form("Atanh", [X / 4], (9,)),
    *(Form(op, [X], (9,)) for op in ("Sinh", "Cosh", "Asinh")), Form("Acosh", [POSITIVE + 1], (9,)),
    Form("Sign", [X], (9, 13)), Form("Floor", [3 * X]), Form("Ceil", [3 * X]),
    Form("Round", [np.array([0.5, 1.5, -0.5, -2.5, 2.4, 1e9], np.float32)], (11, 22)),
    Form("Shrink", [X], (9,)), Form("Shrink", [X], (9,), attrs={"lambd": 0.2, "bias": 0.3}),
    Form("IsNaN", [ODD], (9, 20)), Form("IsInf", [ODD], (10, 20)),
    Form("IsInf", [ODD], (10,), attrs={"detect_negative": 0}),
    Form("Not", [X > 0]),
    Form("Cast", [X * 3], attrs={"to": onnx.TensorProto.INT64}),
    Form("Cast", [integers(1, -2, 0)], attrs={"to": onnx.TensorProto.FLOAT}),
    Form("Cast", [integers(1, -2, 0)], attrs={"to": onnx.TensorProto.BOOL}),
    Form("Dropout", [X], (7, 10)), Form("Dropout", [X], (12, 22)),
    Form("Dropout", [X], (12, 22), outputs=2),
    Form("Clip", [X], (7,), attrs={"min": -0.5, "max": 0.5}), Form("Clip", [X], (7,)),
    Form("Clip", [X], (11, 13), [np.float32(-0.5), np.float32(0.5)]),
    Form("Clip", [X], (11, 13), [None, np.float32(0.25)]),
    Form("Clip", [X], (13,), [np.float32(0.5), np.float32(-0.5)], note="crossed"),
    Form("Clip", [X, np.array(-0.25, np.float32)], (13,), note="bound at run time"),
)  # fmt: skip
BINARY = (
    *(Form(op, [X, real(4, 1)]) for op in ("Add", "Sub", "Mul", "Div")),
    *(Form(op, [integers(7, -7, 8), integers(2, 2, -3)]) for op in ("Add", "Sub", "Mul", "Div")),
    Form("Pow", [POSITIVE, real(1)]), Form("Pow", [X, integers(2)], (13,)),
    Form("Min", [X, real(4, 5), real(5)], (8, 13)), Form("Max", [X, real(4, 1)], (8, 13)),
    *(Form(op, [X, real(3, 4, 5)], (7,)) for op in ("Min", "Max", "Mean", "Sum")),
    Form("Mean", [X, real(4, 5), real(5)], (8, 13)), Form("Mean", [X], (8,)),
    Form("PRelu", [X, real(4, 1)], (7, 9, 16)), Form("PRelu", [X, real(1)], (7, 16)),
    Form("Mod", [3 * X, POSITIVE], (10, 13), attrs={"fmod": 1}),
    Form("Mod", [integers(7, -7, 8), integers(3, 3, -3)], (10, 13)),
    Form("Mod", [integers(7, -7, 8), integers(3, 3, -3)], (10,), attrs={"fmod": 1}),
    Form("Max", [X], (8,)), Form("Sum", [X, real(4, 5), real(5)], (8, 13)),
    Form("Equal", [integers(1, 2), integers(1, 3)]),
    Form("Less", [X, real(5)], (7, 9)), Form("Greater", [X, real(5)], (7, 9)),
    Form("LessOrEqual", [X, X], (12,)), Form("GreaterOrEqual", [X, X], (12, 16)),
    Form("And", [X > 0, X > 1]), Form("Or", [X > 0, X > 1]), Form("Xor", [X > 0, X > 1]),
    Form("Where", [X > 0, X, real(5)], (9, 16)),
)  # fmt: skip
LINEAR = (
    Form("MatMul", [real(3, 4), real(4, 5)]), Form("MatMul", [real(2, 3, 4), real(4, 5)]),
    Form("MatMul", [real(2, 1, 3, 4), real(5, 4, 2)]), Form("MatMul", [real(4), real(4, 2)]),
    Form("MatMul", [real(3, 4), real(4)]), Form("MatMul", [real(4), real(4)]),
    Form("Gemm", [real(3, 4), real(4, 5), real(5)]),
    Form("Gemm", [real(3, 4), real(5, 4)], (11,), attrs={"transB": 1, "alpha": 0.5}),
    Form("Gemm", [real(4, 3), real(4, 5), real(3, 1)], attrs={"transA": 1, "beta": 2.0}),
    Form("Softmax", [X], (7, 11), attrs={"axis": 1}), Form("Softmax", [X], (7, 11)),
    Form("Softmax", [X], (7, 11), attrs={"axis": 0}),
    Form("Softmax", [X], (11,), attrs={"axis": 2}),
    Form("Softmax", [X], (13,)), Form("Softmax", [X], (13,), attrs={"axis": 0}),
    Form("LogSoftmax", [X], (7,)), Form("LogSoftmax", [X], (13,), attrs={"axis": 1}),
)  # fmt: skip
LAYOUT = (
    Form("Transpose", [X]), Form("Transpose", [X], attrs={"perm": [1, 0, 2]}),
    Form("Reshape", [X], constants=[integers(0, -1)]),
    Form("Reshape", [X], constants=[integers(-1, 2, 2)]),
    Form("Reshape", [real(0, 4)], (14,), [integers(4, 0)], {"allowzero": 1}),
    Form("Flatten", [X]), Form("Flatten", [X], attrs={"axis": 2}),
    Form("Flatten", [X], (11,), attrs={"axis": -1}), Form("Flatten", [X], attrs={"axis": 0}),
    Form("Squeeze", [real(3, 1, 4, 1)], (7, 11), attrs={"axes": [1]}),
    Form("Squeeze", [real(3, 1, 4, 1)], (13, 21), [integers(-1, 1)]),
    Form("Unsqueeze", [X], (7,), attrs={"axes": [0, 2]}),
    Form("Unsqueeze", [X], (13,), [integers(-1, 0)]),
    Form("Concat", [X, X, X], attrs={"axis": 1}), Form("Concat", [X], (11,), attrs={"axis": -1}),
    Form("Split", [X], (7, 11), attrs={"axis": 1}, outputs=2),
    Form("Split", [X], (7, 11), attrs={"axis": 1, "split": [1, 3]}, outputs=2),
    Form("Split", [X], (13, 17), [integers(1, 3)], {"axis": 1}, outputs=2),
    Form("Split", [X], (18,), attrs={"axis": 2, "num_outputs": 2}, outputs=2),
    Form("Slice", [X], (7, 9), attrs={"starts": [1], "ends": [3]}),
    Form("Slice", [X], (7,), attrs={"starts": [-2, 0], "ends": [1000, -1], "axes": [2, 1]}),
    Form("Slice", [X], (10, 13), [integers(1, 0), integers(3, 4), integers(2, 1)]),
    Form("Slice", [X], (13,), [integers(-1), integers(-100), integers(1), integers(-2)]),
    Form("Slice", [X], (13,), [integers(0), integers(2**63 - 1), integers(-1), integers(2)]),
    Form("Slice", [X], (13,), [integers(3), integers(1), integers(1)], note="empty"),
    Form("Gather", [X], constants=[integers(0, 2)], attrs={"axis": 1}),
    Form("Gather", [X], constants=[np.array(1)]), Form("Gather", [X, integers(0, 2, 1)]),
    Form("Gather", [X], (11,), [integers(-1)], {"axis": 2}),
    Form("Gather", [X], constants=[integers([0, 1], [3, 3])], attrs={"axis": 1}),
    Form("Expand", [real(3, 1, 5)], (8, 13), [integers(2, 1, 4, 1)]),
    Form("Tile", [X], constants=[integers(1, 2, 3)]),
    Form("Shape", [X], (7,)), Form("Shape", [X], (15,), attrs={"start": 1, "end": -1}),
    Form("Size", [X], (7, 13)),
    Form("ConstantOfShape", [], (9,), [integers(2, 3)]),
    Form("ConstantOfShape", [], (9, 20), [integers(2)],
         {"value": onnx.numpy_helper.from_array(np.array([7], np.int64))}),
    Form("Range", [], (11,), [np.int64(2), np.int64(11), np.int64(3)]),
    Form("Range", [], (11,), [np.float32(1), np.float32(-0.1), np.float32(-0.3)]),
    Form("Constant", [], (7, 11), attrs={"value": onnx.numpy_helper.from_array(X)}),
    Form("Constant", [], (12, 13), attrs={"value_floats": [1.5, 2.5]}),
    Form("Constant", [], (12,), attrs={"value_int": 5}),
    Form("Constant", [], (12,), attrs={"value_ints": [5, 6]}),
    Form("Constant", [], (12,), attrs={"value_float": 0.1}),
)  # fmt: skip

IMAGE, SIGNAL = real(2, 4, 9, 7), real(2, 6, 11)


def _conv(x: Array, w: Array, bias: bool = True, **attrs: Any) -> Form:
    constants: list[Array | None] = [w, real(w.shape[0])] if bias else [w]
    return Form("Conv", [x], (7, 11, 22), constants, attrs, note=f"{x.shape} {w.shape}")


def _transposed(x: Array, w: Array, units: int = 0, **attrs: Any) -> Form:
    constants: list[Array | None] = [w, real(units)] if units else [w]
    return Form("ConvTranspose", [x], (7, 11, 22), constants, attrs, note=f"{x.shape} {w.shape}")


def _pool(op: str, x: Array, opsets: tuple[int, ...], **attrs: Any) -> Form:
    return Form(op, [x], opsets, attrs=attrs)


CONV = (
    _conv(SIGNAL, real(5, 6, 3)), _conv(SIGNAL, real(5, 6, 3), False, pads=[1, 2]),
    _conv(SIGNAL, real(5, 6, 3), strides=[2], dilations=[2], pads=[4, 0]),
    _conv(SIGNAL, real(6, 1, 4), group=6, pads=[0, 3]), _conv(SIGNAL, real(4, 3, 1), group=2),
    _conv(SIGNAL, real(5, 6, 4), auto_pad="SAME_UPPER", strides=[3]),
    _conv(SIGNAL, real(5, 6, 4), auto_pad="SAME_LOWER"),
    _conv(SIGNAL, real(5, 6, 4), auto_pad="VALID", kernel_shape=[4]),
    _conv(IMAGE, real(3, 4, 3, 3), pads=[1, 1, 1, 1]), _conv(IMAGE, real(3, 4, 1, 1)),
    _conv(IMAGE, real(3, 4, 2, 3), strides=[2, 1], dilations=[3, 2], pads=[0, 1, 2, 3]),
    _conv(IMAGE, real(8, 1, 3, 2), group=4, strides=[1, 2], pads=[2, 0, 0, 1]),
    _conv(IMAGE, real(3, 4, 3, 2), auto_pad="SAME_UPPER", strides=[2, 2]),
    _conv(IMAGE, real(3, 4, 3, 2), auto_pad="SAME_LOWER", strides=[2, 3]),
    _conv(real(1, 2, 4, 5, 6), real(3, 2, 2, 3, 2), pads=[1, 0, 1, 0, 1, 0]),
    _transposed(SIGNAL, real(6, 5, 3), 5), _transposed(SIGNAL, real(6, 2, 3), group=2, strides=[2]),
    _transposed(SIGNAL, real(6, 5, 4), strides=[3], pads=[2, 1], output_padding=[2]),
    _transposed(SIGNAL, real(6, 5, 3), dilations=[2], pads=[1, 0]),
    _transposed(SIGNAL, real(6, 5, 3), strides=[2], output_shape=[23], output_padding=[1]),
    _transposed(SIGNAL, real(6, 5, 3), 5, strides=[3], output_shape=[34]),
    _transposed(SIGNAL, real(6, 5, 4), strides=[3], auto_pad="SAME_UPPER"),
    _transposed(IMAGE, real(4, 3, 3, 3), 3, strides=[1, 2], pads=[1, 1, 1, 1]),
    _transposed(IMAGE, real(4, 1, 3, 5), 4, group=4, strides=[2, 3], dilations=[1, 2]),
    _transposed(IMAGE, real(4, 2, 1, 5), group=2, strides=[1, 2], pads=[0, 2, 0, 2],
                output_padding=[0, 1]),
    _pool("MaxPool", SIGNAL, (7, 8, 12), kernel_shape=[3]),
    _pool("MaxPool", SIGNAL, (12,), kernel_shape=[3], strides=[2], pads=[1, 2], dilations=[2]),
    _pool("MaxPool", SIGNAL, (12, 22), kernel_shape=[2], strides=[2], ceil_mode=1),
    _pool("MaxPool", SIGNAL, (12,), kernel_shape=[3], strides=[2], auto_pad="SAME_UPPER"),
    _pool("MaxPool", IMAGE, (8, 12), kernel_shape=[2, 3], strides=[2, 3], pads=[1, 0, 0, 2]),
    _pool("MaxPool", IMAGE, (12,), kernel_shape=[2, 2], strides=[2, 3], ceil_mode=1),
    _pool("MaxPool", IMAGE, (12,), kernel_shape=[2, 3], strides=[2, 3], auto_pad="SAME_LOWER"),
    _pool("AveragePool", SIGNAL, (7, 11, 19), kernel_shape=[3], strides=[2], pads=[1, 2]),
    _pool("AveragePool", SIGNAL, (7, 19), kernel_shape=[3], pads=[1, 1], count_include_pad=1),
    _pool("AveragePool", SIGNAL, (19,), kernel_shape=[3], dilations=[2], pads=[2, 1]),
    _pool("AveragePool", IMAGE, (7,), kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
    _pool("AveragePool", IMAGE, (19,), kernel_shape=[2, 2], strides=[2, 3], ceil_mode=1),
    _pool("AveragePool", IMAGE, (19,), kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0],
          ceil_mode=1, count_include_pad=1),
    _pool("LpPool", SIGNAL, (7, 11, 18), kernel_shape=[3], strides=[2], pads=[1, 2]),
    _pool("LpPool", IMAGE, (11,), kernel_shape=[3, 2], p=1),
    _pool("LpPool", IMAGE, (18,), kernel_shape=[2, 2], p=3, dilations=[2, 1]),
    Form("GlobalAveragePool", [IMAGE], (7, 22)), Form("GlobalMaxPool", [IMAGE], (7, 22)),
    Form("GlobalAveragePool", [SIGNAL], (7,)), Form("GlobalLpPool", [IMAGE], (7,)),
    Form("GlobalLpPool", [SIGNAL], (7,), attrs={"p": 1}),
    Form("BatchNormalization", [IMAGE], (7, 9, 15), [real(4), real(4), real(4), real(4) ** 2]),
    Form("BatchNormalization", [SIGNAL], (14,), [real(6), real(6), real(6), real(6) ** 2],
         {"epsilon": 0.25}),
    Form("BatchNormalization", [real(3, 5)], (15,), [real(5), real(5), real(5), real(5) ** 2]),
    Form("Conv", [SIGNAL, real(5, 6, 3), real(5)], (11,), note="weights at run time"),
    Form("BatchNormalization", [SIGNAL, real(6), real(6), real(6), real(6) ** 2], (15,),
         note="parameters at run time"),
)  # fmt: skip

REDUCTIONS = (
    *(
        form
        for op in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp")
        for form in (
            Form(f"Reduce{op}", [X], (7, 11)),
            Form(f"Reduce{op}", [X], (7, 11), attrs={"axes": [1], "keepdims": 0}),
            Form(f"Reduce{op}", [X], (11,), attrs={"axes": [-1, 1]}),
            Form(f"Reduce{op}", [X], (18, 21), [integers(-1)]),
            Form(f"Reduce{op}", [X], (18,), [integers(2, 0)], {"keepdims": 0}),
            Form(f"Reduce{op}", [X], (18,), attrs={"noop_with_empty_axes": 1}),
        )
    ),
    Form("ReduceLogSum", [POSITIVE], (7, 11), attrs={"axes": [1]}),
    Form("ReduceLogSum", [POSITIVE], (18,), [integers(-1)]),
    Form("ReduceSum", [X], (13, 21), [integers(1)], {"keepdims": 0}),
    Form("ReduceSum", [integers([1, 2], [3, 4])], (13,), [integers(1)]),
    Form("ReduceMax", [integers([1, 2], [3, 4])], (18,), [integers(0)]),
    Form("ReduceProd", [integers([1, 2], [3, 4])], (18,), [integers(0)]),
    *(Form(op, [X], (7, 11, 13), attrs={"axis": 1}) for op in ("ArgMax", "ArgMin")),
    Form("ArgMax", [X], (13,), attrs={"axis": -1, "keepdims": 0}),
    Form("ArgMin", [np.round(X)], (12, 13), attrs={"axis": 2, "select_last_index": 1}),
    Form("CumSum", [X], (11, 14), [np.int64(1)]),
    Form("CumSum", [X], (14,), [np.int64(-1)], {"exclusive": 1}),
    Form("CumSum", [X], (14,), [np.int64(2)], {"reverse": 1, "exclusive": 1}),
)  # fmt: skip
NORMS = (
    Form("LayerNormalization", [X, real(5), real(5)], (17,)),
    Form("LayerNormalization", [X, real(5)], (17,), attrs={"epsilon": 0.1}),
    Form("LayerNormalization", [X, real(4, 5)], (17,), attrs={"axis": 1}, outputs=3),
    Form("RMSNormalization", [X, real(5)], (23,)),
    Form("InstanceNormalization", [X, real(4), real(4)], (7, 22)),
    Form("InstanceNormalization", [real(2, 3, 4, 5), real(3), real(3)], attrs={"epsilon": 0.1}),
    Form("GroupNormalization", [X], (18,), [real(2), real(2)], {"num_groups": 2}),
    Form("GroupNormalization", [X], (21,), [real(4), real(4)], {"num_groups": 2}),
    Form("LpNormalization", [X]), Form("LpNormalization", [X], attrs={"axis": 1, "p": 1}),
    Form("MeanVarianceNormalization", [real(2, 3, 4, 5)], (9, 13)),
    Form("MeanVarianceNormalization", [X], (13,), attrs={"axes": [1, 2]}),
)  # fmt: skip
INDEXING = (
    Form("ReverseSequence", [X], (10,), [integers(4, 4, 4)], {"batch_axis": 0, "time_axis": 1}),
    Form("GatherElements", [X, integers([[0, 2], [1, -1]])], (11, 13), attrs={"axis": 1}),
    Form("GatherND", [X, integers([0, 1], [2, -1])], (11, 13)),
    Form("GatherND", [X, integers([0], [2], [1])], (12, 13), attrs={"batch_dims": 1}),
    Form("ScatterND", [X, integers([0, 1], [2, 3]), real(2, 5)], (11, 13)),
    Form("ScatterND", [X], (13,), [integers([1], [0]), real(2, 4, 5)]),
    Form("ScatterND", [X, integers([1], [1]), real(2, 4, 5)], (16, 18), attrs={"reduction": "add"}),
    Form("ScatterND", [X, integers([1], [1]), real(2, 4, 5)], (18,), attrs={"reduction": "max"}),
    Form("ScatterElements", [X, integers([[0, 2], [1, -1]]), real(1, 2, 2)], (11, 13),
         attrs={"axis": 1}),
    Form("ScatterElements", [X, integers([[0, 0], [1, -1]]), real(1, 2, 2)], (16, 18),
         attrs={"axis": 2, "reduction": "mul"}),
    Form("Scatter", [X, integers([[0, 2], [1, 0]]), real(1, 2, 2)], (9,), attrs={"axis": 1}),
    Form("Pad", [X], (7,), attrs={"pads": [0, 1, 2, 1, 0, 0], "value": 0.5}),
    Form("Pad", [X], (7,), attrs={"pads": [0, 1, 2, 0, 0, 1], "mode": "reflect"}),
    Form("Pad", [X], (7,), attrs={"pads": [0, 1, 2, 0, 5, 1], "mode": "edge"}),
    Form("Pad", [X], (7,), attrs={"pads": [0, -1, 2, 0, 0, -1]}),
    Form("Pad", [X], (11, 13), [integers(0, 1, 2, 1, 0, 0), np.float32(-1.5)]),
    Form("Pad", [X], (11,), [integers(0, 2, 3, 0, 3, 4)], {"mode": "reflect"}),
    Form("Pad", [X], (13,), [integers(0, 0, -2, 0, 1, -1)]),
    Form("Pad", [X], (18, 21), [integers(1, 2), np.float32(2.5), integers(-1)]),
    Form("Pad", [X], (18,), [integers(1, 2, 0, 1), None, integers(2, 0)], {"mode": "edge"}),
    Form("Pad", [X], (19, 21), [integers(0, 1, 2, 0, 3, 1)], {"mode": "wrap"}),
)  # fmt: skip

FORMS = (*UNARY, *BINARY, *LINEAR, *LAYOUT, *CONV, *REDUCTIONS, *NORMS, *INDEXING)

NEWEST_WITNESSED = 22
"""Newest opset that the pinned onnxruntime computes in full."""

NOT_WITNESSED = {("GlobalLpPool", 22)}
"""Operators and opsets that it has no implementation of."""


def versions(op: str) -> list[int]:
    """Opsets from 7 on in which an operator changed, and 7 or the first it is in."""
    history = onnx.defs.get_all_schemas_with_history()
    since = {
        s.since_version
        for s in history
        if s.domain == "" and s.name == op and not s.deprecated
        if (op, s.since_version) not in NOT_WITNESSED
    }
    first = max((v for v in since if v <= 7), default=0)
    later = [v for v in since if 7 < v <= NEWEST_WITNESSED]
    return sorted([*([7] if first else []), *later])


def said(op: str, opset: int) -> tuple[list[str], int]:
    """What a model can say with an operator: its attributes, and how many operands it takes."""
    schema = onnx.defs.get_schema(op, opset, "")
    return sorted(schema.attributes), len(schema.inputs)


def opsets_of(form: Form) -> list[int]:
    """The opsets of a form, and all newer ones in which its operator says the same things."""
    known, first = [said(form.op, opset) for opset in form.opsets], min(form.opsets)
    newer = [v for v in versions(form.op) if v > first and said(form.op, v) in known]
    return sorted({*form.opsets, *newer})
