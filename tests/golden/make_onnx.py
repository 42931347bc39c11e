"""Make the golden files of ONNX: ``python tests/golden/make_onnx.py`` with onnx and onnxruntime.

Expected values are those of ``onnx_reference.py``. The same seeds give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from common import Array, Folder, drawn
from onnx import TensorProto, helper, numpy_helper
from onnx_reference import GATES, run

FOLDER = Folder(
    "onnx",
    {
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
    },
)
STEPS, BATCH, INPUTS, HIDDEN = 6, 3, 3, 4
DIRECTIONS = ("forward", "reverse", "bidirectional")
NAMES = ("X", "W", "R", "B", "lens", "h0", "c0", "P")
LATE_CLIP = "onnxruntime does not clip before h()"
NO_LAYOUT = "onnxruntime refuses layout=1"

ALL = [
    ["Relu", "LeakyRelu"], ["Softsign", "Softplus"], ["HardSigmoid", "Elu"],
    ["ScaledTanh", "Affine"], ["ThresholdedRelu", "Sigmoid"],
]  # fmt: skip


def ask(
    name: str,
    op: str,
    opset: int,
    what: str,
    *,
    extras: str = "B",
    lens: Sequence[int] | None = None,
    why: str = "",
    dims: tuple[int | str, int | str] = ("time", "batch"),
    steps: int = STEPS,
    seed: int = 0,
    outputs: Sequence[int] | None = None,
    **attrs: Any,
) -> None:
    """One recurrent node; `extras` names the optional operands it gets."""
    directions = 2 if attrs.get("direction") == "bidirectional" else 1
    rows, layout = GATES[op] * HIDDEN, attrs.get("layout", 0)
    seed += 1000 * (len(FOLDER.rows) + 1)
    shapes = {
        "X": (steps, BATCH, INPUTS), "W": (directions, rows, INPUTS),
        "R": (directions, rows, HIDDEN), "B": (directions, 2 * rows),
        "h0": (directions, BATCH, HIDDEN), "c0": (directions, BATCH, HIDDEN),
        "P": (directions, 3 * HIDDEN),
    }  # fmt: skip
    given = {"X", "W", "R", *extras.split()} | ({"lens"} if lens is not None else set())
    values: dict[str, Array] = {}
    for i, key in enumerate(NAMES):
        if key == "lens" and lens is not None:
            values[key] = np.array(lens, np.int32)
        elif key in given:
            scale = 1.0 if key in ("X", "h0", "c0") else 0.5
            values[key] = drawn(seed + i, *shapes[key], scale=scale)
    if layout:
        for key in {"X", "h0", "c0"} & values.keys():
            values[key] = np.ascontiguousarray(values[key].transpose(1, 0, 2))
    fed = [key for key in ("X", "lens", "h0", "c0") if key in values]
    exact = run(op, attrs, [values.get(key) for key in NAMES])
    wanted = range(len(exact)) if outputs is None else outputs
    content = model(op, opset, attrs, values, fed, wanted, dims)
    witness = why or asked(content, {key: values[key] for key in fed})
    exact = [exact[i] for i in wanted]
    if not isinstance(witness, str):
        for one, y in zip(witness, exact, strict=True):
            assert np.abs(one - y).max() < 1e-5 * max(1.0, np.abs(y).max()), name
    FOLDER.add(f"{name}.onnx", content, what, [values[k] for k in fed], exact, witness, steps=steps)


def model(
    op: str,
    opset: int,
    attrs: Mapping[str, Any],
    values: Mapping[str, Array],
    fed: Sequence[str],
    wanted: Sequence[int],
    dims: tuple[int | str, int | str],
) -> bytes:
    """The model file, with the weights as initializers."""
    last = max(NAMES.index(key) for key in values)
    inputs = [key if key in values else "" for key in NAMES[: last + 1]]
    outputs = ["Y", "Y_h", "Y_c"]
    names = [outputs[i] if i in wanted else "" for i in range(max(wanted) + 1)]
    node = helper.make_node(op, inputs, names, "layer", hidden_size=HIDDEN, **attrs)
    kinds = {"lens": TensorProto.INT32}
    lead = list(dims)[::-1] if attrs.get("layout") else list(dims)
    shapes: dict[str, list[int | str]] = {"X": [*lead, INPUTS], "lens": [dims[1]]}
    declared = [
        helper.make_tensor_value_info(
            key, kinds.get(key, TensorProto.FLOAT), shapes.get(key, list(values[key].shape))
        )
        for key in fed
    ]
    graph = helper.make_graph(
        [node],
        "layer",
        declared,
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names if n],
        [numpy_helper.from_array(v, key) for key, v in values.items() if key not in fed],
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 22 else 10
    )
    return bytes(made.SerializeToString(deterministic=True))


def asked(content: bytes, feeds: Mapping[str, Array]) -> list[Array]:
    """What onnxruntime computes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))


def basis() -> None:
    """Each operator in each of its versions and directions, with the usual operands."""
    for op in ("RNN", "GRU", "LSTM"):
        states = "h0 c0" if op == "LSTM" else "h0"
        for opset in (7, 14, 22):
            for direction in DIRECTIONS:
                name = f"{op.lower()}_{opset}_{direction}"
                extras, lens = {
                    7: (f"B {states}", None), 14: ("B", (6, 2, 4)), 22: (f"B {states}", (1, 6, 3)),
                }[opset]  # fmt: skip
                what = f"{op} {direction}, opset {opset}, {extras}{', lengths' if lens else ''}"
                ask(name, op, opset, what, extras=extras, lens=lens, direction=direction)


def _functions(op: str, a: str, b: str) -> list[str]:
    """Activations of one direction; unbounded gates would let the state grow with time."""
    bounded = ("HardSigmoid", "Sigmoid", *(("Softsign", "ScaledTanh") if op == "LSTM" else ()))
    gate = a if a in bounded else "Sigmoid"
    return {"RNN": [a], "GRU": [gate, b], "LSTM": [gate, a, b]}[op]


def options() -> None:
    """One option at a time, and the pairs that meet in one place of an equation."""
    both = {"direction": "bidirectional"}
    for op in ("RNN", "GRU", "LSTM"):
        low, late = op.lower(), {"why": LATE_CLIP} if op == "LSTM" else {}
        ask(f"{low}_no_bias", op, 14, f"{op} without B", extras="", **both)
        ask(f"{low}_clip", op, 14, f"{op} with clip", clip=0.6, **both, **late)
        states = "h0 c0" if op == "LSTM" else "h0"
        ask(f"{low}_layout", op, 14, f"{op}, batch first", extras=f"B {states}", layout=1,
            why=NO_LAYOUT, **both)  # fmt: skip
        ask(f"{low}_layout_22", op, 22, f"{op}, batch first, lengths, reverse", layout=1,
            lens=(2, 6, 5), direction="reverse", why=NO_LAYOUT)  # fmt: skip
        ask(f"{low}_fixed", op, 14, f"{op}, sizes declared as numbers", dims=(STEPS, BATCH))
        ask(f"{low}_only_final", op, 14, f"{op}, final state alone", outputs=[1], lens=(6, 1, 2))
        ask(f"{low}_long", op, 14, f"{op}, 80 steps", steps=80, **both)
        for i, pair in enumerate(ALL):
            names = [n for a, b in (pair, pair[::-1]) for n in _functions(op, a, b)]
            attrs: dict[str, Any] = {"activations": names}
            takes = [n for n in names if n in ("ScaledTanh", "Affine", "ThresholdedRelu")]
            if takes:
                attrs["activation_alpha"] = [0.5 - 0.05 * k for k in range(len(takes))]
                betas = [0.3 + 0.05 * k for k, n in enumerate(takes) if n != "ThresholdedRelu"]
                attrs |= {"activation_beta": betas} if betas else {}
            elif op == "GRU" and "HardSigmoid" in names:
                attrs["activation_alpha"], attrs["activation_beta"] = [0.25, 0.9], [0.4]
            ask(f"{low}_{'_'.join(pair).lower()}", op, 14, f"{op} with {', '.join(names)}",
                seed=i, **attrs, **both)  # fmt: skip
    for before in (0, 1):
        for direction in DIRECTIONS:
            ask(f"gru_linear_before_reset_{before}_{direction}", "GRU", 22,
                f"GRU, linear_before_reset={before}", extras="B h0", lens=(3, 6, 1),
                linear_before_reset=before, direction=direction)  # fmt: skip
    ask("gru_linear_before_reset_clip", "GRU", 14, "GRU, clip and linear_before_reset", clip=0.5,
        linear_before_reset=1, **both)  # fmt: skip
    for direction in DIRECTIONS:
        ask(f"lstm_peepholes_{direction}", "LSTM", 14, "LSTM with peepholes", extras="B P",
            direction=direction)  # fmt: skip
        ask(f"lstm_input_forget_{direction}", "LSTM", 14, "LSTM with coupled gates",
            input_forget=1, direction=direction)  # fmt: skip
    ask("lstm_everything", "LSTM", 22, "peepholes, coupled gates, clip, lengths, states",
        extras="B P h0 c0", lens=(4, 6, 2), input_forget=1, clip=0.9, why=LATE_CLIP,
        activations=["HardSigmoid", "Softsign", "Relu"] * 2, **both)  # fmt: skip
    ask("lstm_empty_row", "LSTM", 14, "a row of length 0 hands its initial state on",
        extras="B h0 c0", lens=(0, 6, 2), why="onnxruntime returns zeros for it")  # fmt: skip
    ask("gru_lower_case", "GRU", 14, "activations in lower case",
        activations=["softsign", "elu"])  # fmt: skip


def main() -> None:
    basis()
    options()
    FOLDER.close()


if __name__ == "__main__":
    main()
