"""export_onnx: a model as standard ONNX, for other tools and for comparison with other engines."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Dim, Graph, Node, Size, TensorType, UndecidedError, symbol
from rnnengine.importers import gates
from rnnengine.model import Model
from rnnengine.ops import infer_types
from rnnengine.ops.elementwise import BINARY, UNARY
from rnnengine.ops.recurrent import DIRECTIONS, Activation, RecurrentAttrs
from rnnengine.ops.weights import compute_type_of
from rnnengine.saving import write_whole

if TYPE_CHECKING:
    from onnx import NodeProto, ValueInfoProto

__all__ = ["export_onnx", "onnx_content"]

Array = np.ndarray[Any, Any]

_OPSET, _IR = 20, 9
_FUNCTIONS: dict[str, tuple[str, int]] = {
    "relu": ("Relu", 0), "tanh": ("Tanh", 0), "sigmoid": ("Sigmoid", 0),
    "softsign": ("Softsign", 0), "softplus": ("Softplus", 0), "leaky_relu": ("LeakyRelu", 1),
    "elu": ("Elu", 1), "hard_sigmoid": ("HardSigmoid", 2), "affine": ("Affine", 2),
    "thresholded_relu": ("ThresholdedRelu", 1), "scaled_tanh": ("ScaledTanh", 2),
}  # fmt: skip
"""Name of each activation in the recurrent operators of ONNX, and how many parameters it has."""


def export_onnx(model: Model, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a model as an ONNX file. Needs the ``onnx`` package.

    Weights are written as float32. Those of a model with another compute type are the numbers that
    its weights stand for, so the file computes the same network, with activations in float32; its
    ``doc_string`` names the compute type.

    Parameters
    ----------
    model : Model
    path : path
    overwrite : bool
        Whether a file that is there may be replaced.

    Raises
    ------
    UnsupportedModelError
        Naming the node that standard ONNX has no words for.
    FileExistsError
        The path exists, and ``overwrite`` is false.
    """
    write_whole(path, onnx_content(model.graph), overwrite=overwrite)


def onnx_content(graph: Graph) -> bytes:
    """Return a settled graph as the content of an ONNX file."""
    from onnx import helper, numpy_helper

    writer = _Writer(graph)
    for node in graph.nodes:
        writer.node(node)
    inputs = [_declared(v.name, v.type) for v in graph.inputs]
    outputs = [_declared(name, writer.types[name]) for name in graph.outputs]
    used = {name for node in writer.nodes for name in node.input} | set(graph.outputs)
    kept = [
        numpy_helper.from_array(np.asarray(v), k) for k, v in writer.constants.items() if k in used
    ]
    made = helper.make_graph(writer.nodes, graph.name or "graph", inputs, outputs, kept)
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="rnnengine"
    )
    model.ir_version = _IR
    compute_type = compute_type_of(graph)
    if compute_type != "float32":
        model.doc_string = (
            f"The weights are those of a model computed in {compute_type}, as float32 numbers."
        )
    return bytes(model.SerializeToString())


def _declared(name: str, kind: TensorType) -> ValueInfoProto:
    from onnx import helper

    code = helper.np_dtype_to_tensor_dtype(kind.dtype)
    shape = [size if isinstance(size, int) else str(size) for size in kind.shape]
    return helper.make_tensor_value_info(name, code, shape)


class _Writer:
    """Nodes and constants of the ONNX graph."""

    def __init__(self, graph: Graph) -> None:
        self.types = infer_types(graph)
        self.constants: dict[str, Array] = dict(graph.constants)
        self.nodes: list[NodeProto] = []
        self._inputs = graph.inputs
        self._taken = {*self.types, *(node.name for node in graph.nodes)}
        self._symbols: dict[str, str] = {}

    def fresh(self, base: str) -> str:
        """Return a name that nothing has yet."""
        name, count = base, 1
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name

    def constant(self, base: str, value: Array) -> str:
        """Add a constant; return its name."""
        name = self.fresh(base)
        self.constants[name] = value
        return name

    def emit(
        self,
        op: str,
        name: str,
        inputs: Sequence[str | None],
        outputs: Sequence[str | None],
        **attrs: Any,
    ) -> None:
        """Append a node."""
        from onnx import helper

        operands = [n or "" for n in inputs]
        while operands and not operands[-1]:
            operands.pop()
        self.nodes.append(
            helper.make_node(op, operands, [n or "" for n in outputs], name=name, **attrs)
        )

    def made(self, op: str, base: str, inputs: Sequence[str], **attrs: Any) -> str:
        """Append a node with one new output; return the output."""
        output = self.fresh(base)
        self.emit(op, output, inputs, [output], **attrs)
        return output

    def sizes(self, base: str, sizes: Sequence[Size]) -> str:
        """Return the name of an int64 vector; open sizes are computed from the inputs' shapes."""
        if all(isinstance(s, int) for s in sizes):
            return self.constant(base, np.array([int(s) for s in sizes], np.int64))
        parts = [self._size(base, s) for s in sizes]
        return parts[0] if len(parts) == 1 else self.made("Concat", base, parts, axis=0)

    def _size(self, base: str, size: Size) -> str:
        if not isinstance(size, Dim):
            return self.constant(f"{base}.size", np.array([size], np.int64))
        terms: list[str] = []
        for monomial, factor in size.terms:
            factors = [self._symbol(name) for name, power in monomial for _ in range(power)]
            if factor != 1 or not factors:
                factors.append(self.constant(f"{base}.factor", np.array([factor], np.int64)))
            terms.append(self._folded("Mul", base, factors))
        return self._folded("Add", base, terms)

    def _folded(self, op: str, base: str, names: Sequence[str]) -> str:
        total = names[0]
        for name in names[1:]:
            total = self.made(op, f"{base}.{op.lower()}", [total, name])
        return total

    def _symbol(self, name: str) -> str:
        """The value of an open size, from the shape of an input that has it."""
        if name not in self._symbols:
            wanted = symbol(name)
            place = next(
                ((v.name, i) for v in self._inputs for i, s in enumerate(v.type.shape)
                 if s == wanted), None,
            )  # fmt: skip
            if place is None:
                raise UnsupportedModelError(f"export: no input has the size {name!r} on an axis")
            value, axis = place
            self._symbols[name] = self.made(
                "Shape", f"size.{name}", [value], start=axis, end=axis + 1
            )
        return self._symbols[name]

    def node(self, node: Node) -> None:
        """Write one node of the graph."""
        where = f"export: node {node.name!r} ({node.op})"
        if node.op in ("LSTM", "GRU", "RNN"):
            self._recurrent(node, where)
        elif node.op == "Swish":
            gate = self.made("Sigmoid", f"{node.name}.gate", [str(node.inputs[0])])
            self.emit("Mul", node.name, [node.inputs[0], gate], node.outputs)
        elif node.op in _SAME:
            self.emit(node.op, node.name, node.inputs, node.outputs, **node.attrs)
        elif node.op in _OPERANDS:
            try:
                operands, attrs = _OPERANDS[node.op](self, node)
            except UndecidedError as error:
                raise UnsupportedModelError(f"{where}: {error}") from None
            self.emit(node.op, node.name, [*node.inputs[:1], *operands], node.outputs, **attrs)
        else:
            raise UnsupportedModelError(f"{where}: standard ONNX has no such operator here")

    def _recurrent(self, node: Node, where: str) -> None:
        attrs = RecurrentAttrs.read(node.op, node.attrs)
        x, w, r, b_w, b_r, lengths, h0, c0, peephole, proj = [*node.inputs, *[None] * 10][:10]
        beyond = {
            "a projection": proj is not None,
            "cell_clip": attrs.cell_clip is not None,
            "proj_clip": attrs.proj_clip is not None,
            f"coupling {attrs.coupling!r}": attrs.coupling not in (None, "f=1-i"),
            "a clip that spares h": attrs.clip is not None
            and attrs.clip_before_h != (node.op == "LSTM"),
        }
        for what, there in beyond.items():
            if there:
                raise UnsupportedModelError(f"{where}: it has {what}; ONNX has no word for it")
        order = [gates.CANONICAL[node.op].index(g) for g in gates.ONNX[node.op]]
        size = attrs.hidden_size

        def rows(name: str | None, what: str, places: Sequence[int]) -> Array | None:
            if name is not None and name not in self.constants:
                raise UnsupportedModelError(f"{where}: its {what} is computed; must be constant")
            if name is None:
                return None
            value = self.constants[name]
            return np.concatenate([value[:, g * size : (g + 1) * size] for g in places], axis=1)

        weights = [rows(w, "W", order), rows(r, "R", order)]
        names: list[str | None] = [
            self.constant(f"{node.name}.{k}", v)
            for k, v in zip("WR", weights, strict=True)
            if v is not None
        ]
        bias = self._bias(node.name, rows(b_w, "b_w", order), rows(b_r, "b_r", order))
        operands = [x, *names, bias, lengths, h0]
        if node.op == "LSTM":
            places = [
                gates.CANONICAL["LSTM.peephole"].index(g) for g in gates.ONNX["LSTM.peephole"]
            ]
            extra = rows(peephole, "peephole", places)
            stored = None if extra is None else self.constant(f"{node.name}.P", extra)
            operands += [c0, stored]
        self.emit(node.op, node.name, operands, node.outputs, **_words(node.op, attrs, where))

    def _bias(self, name: str, b_w: Array | None, b_r: Array | None) -> str | None:
        given = b_w if b_w is not None else b_r
        if given is None:
            return None
        both = [np.zeros_like(given) if b is None else b for b in (b_w, b_r)]
        return self.constant(f"{name}.B", np.concatenate(both, axis=1))


def _words(op: str, attrs: RecurrentAttrs, where: str) -> dict[str, Any]:
    """Attributes of a recurrent operator in ONNX."""
    words: dict[str, Any] = {"hidden_size": attrs.hidden_size, "direction": attrs.direction}
    count = len(DIRECTIONS[attrs.direction])
    default = RecurrentAttrs.read(op, {"hidden_size": 1}).activations * count
    if attrs.activations != default:
        functions = [_function(a, where) for row in attrs.activations for a in row]
        words["activations"] = [name for name, _ in functions]
        for i, key in enumerate(("activation_alpha", "activation_beta")):
            values = [given[i] for _, given in functions if len(given) > i]
            if values:
                words[key] = values
    if attrs.clip is not None:
        words["clip"] = attrs.clip
    if attrs.coupling is not None:
        words["input_forget"] = 1
    if attrs.reset_after:
        words["linear_before_reset"] = 1
    return words


def _function(activation: Activation, where: str) -> tuple[str, tuple[float, ...]]:
    if activation.name == "identity":
        return "Affine", (1.0, 0.0)
    if activation.name not in _FUNCTIONS:
        raise UnsupportedModelError(
            f"{where}: activation {activation}; ONNX has {', '.join(_FUNCTIONS)}"
        )
    name, count = _FUNCTIONS[activation.name]
    return name, (activation.alpha, activation.beta)[:count]


_Operands = tuple[list[str | None], Mapping[str, Any]]


def _reshape(out: _Writer, node: Node) -> _Operands:
    return [out.sizes(f"{node.name}.shape", node.attrs["shape"])], {"allowzero": 1}


def _expand(out: _Writer, node: Node) -> _Operands:
    return [out.sizes(f"{node.name}.shape", node.attrs["shape"])], {}


def _tile(out: _Writer, node: Node) -> _Operands:
    return [out.sizes(f"{node.name}.repeats", node.attrs["repeats"])], {}


def _axes(out: _Writer, node: Node) -> _Operands:
    return [out.sizes(f"{node.name}.axes", node.attrs["axes"])], {}


def _slice(out: _Writer, node: Node) -> _Operands:
    """An end before element 0 must be said as a far one, since -1 would mean the last element."""
    starts, steps = node.attrs["starts"], node.attrs["steps"]
    sizes = node.attrs["sizes"]
    ends = [a + n * s for a, n, s in zip(starts, sizes, steps, strict=True)]
    ends = [-(2**63) if isinstance(e, int) and e < 0 else e for e in ends]
    words = {"starts": starts, "ends": ends, "axes": node.attrs["axes"], "steps": steps}
    return [out.sizes(f"{node.name}.{word}", values) for word, values in words.items()], {}


def _clip(out: _Writer, node: Node) -> _Operands:
    dtype = out.types[str(node.inputs[0])].dtype
    if "min" not in node.attrs and "max" not in node.attrs:
        return list(node.inputs[1:]), {}
    bounds = {word: node.attrs.get(word) for word in ("min", "max")}
    return [
        None if v is None else out.constant(f"{node.name}.{word}", np.array(v, dtype))
        for word, v in bounds.items()
    ], {}


def _cast(_: _Writer, node: Node) -> _Operands:
    from onnx import helper

    return [], {"to": helper.np_dtype_to_tensor_dtype(node.attrs["to"])}


_OPERANDS: dict[str, Callable[[_Writer, Node], _Operands]] = {
    "Reshape": _reshape, "Expand": _expand, "Tile": _tile, "Squeeze": _axes, "Unsqueeze": _axes,
    "Slice": _slice, "Clip": _clip, "Cast": _cast,
}  # fmt: skip
"""Operators of which ONNX takes operands where a settled graph has attributes."""

_SAME = (
    {*UNARY, *BINARY, "MatMul", "Gemm", "Softmax", "LogSoftmax", "Transpose", "Concat", "Gather"}
    | {"Identity"}
) - {"Swish"}
"""Operators that a settled graph says as ONNX does."""
