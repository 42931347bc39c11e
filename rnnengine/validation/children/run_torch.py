"""The job in PyTorch, in float32 and in float64: ``steps`` lists layers of torch.nn or operators.

With ``tensors`` the weights come from ``file`` by ``torch.load(weights_only=True)``, under the
names of the job; otherwise, or where torch refuses the file, from the job's own arrays.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


class Refused(Exception):
    """The framework cannot do the job."""


def _found(content: Any, names: set[str], prefixes: tuple[str, ...]) -> dict[str, Any] | None:
    """The dictionary, however nested, that has all the names behind one of the prefixes."""
    if not isinstance(content, dict):
        return None
    for prefix in prefixes:
        if all(prefix + name in content for name in names):
            return {name: content[prefix + name] for name in names}
    inner = (_found(value, names, prefixes) for value in content.values())
    return next((found for found in inner if found is not None), None)


class Answerer:
    """The network at float32 and float64."""

    def __init__(self, job: dict[str, Any], weights: dict[str, Any]) -> None:
        import torch

        torch.set_num_threads(1)
        self.notes: list[str] = []
        self.version = f"torch {torch.__version__}"
        self._job = job
        self._weights = {name: torch.from_numpy(value.copy()) for name, value in weights.items()}
        if job.get("file") is not None:
            self._weights.update(self._loaded(job["file"], set(self._weights)))

    def _loaded(self, file: str, names: set[str]) -> dict[str, Any]:
        import torch

        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
            for part in (self._job.get("key") or "").split("."):
                content = content[part] if part else content
        except Exception as error:  # of the unpickler, or of the archive
            self.notes.append(
                "torch.load(weights_only=True) refused the file; the reference has the weights as "
                f"rnnengine read them ({type(error).__name__})"
            )
            return {}
        found = _found(content, names, ("", "module.", "_orig_mod.", "model."))
        if found is None:
            self.notes.append(
                "torch.load gave no dictionary with the names of the weights; the reference has "
                "them as rnnengine read them"
            )
        return found or {}

    def __call__(self, i: int, feeds: dict[str, Any]) -> list[dict[str, Any]]:
        """Outputs by name, in float32 and in float64."""
        import torch

        with torch.no_grad():
            return [self._answer(i, feeds, kind) for kind in (torch.float32, torch.float64)]

    def _answer(self, i: int, feeds: dict[str, Any], kind: Any) -> dict[str, Any]:
        import torch

        def cast(value: Any) -> Any:
            return value.to(kind) if value.is_floating_point() else value

        values = {name: cast(value) for name, value in self._weights.items()}
        values.update((k, cast(torch.from_numpy(v.copy()))) for k, v in feeds.items())
        nodes = self._job["nodes"][i] if "nodes" in self._job else self._job["steps"]
        for node in nodes:
            operands = [None if n is None else values[n] for n in node["inputs"]]
            function = LAYERS.get(node["op"]) or OPERATORS.get(node["op"])
            if function is None:
                raise Refused(f"no operator {node['op']} here")
            results = function(node["attrs"], operands)
            named = zip(node["outputs"], results, strict=False)
            values.update((n, v) for n, v in named if n is not None)
        return {name: values[source].numpy() for name, source in self._job["outputs"].items()}


def _recurrent(kind: str, words: dict[str, Any], operands: list[Any]) -> list[Any]:
    """A layer of torch.nn; operands are x, h0, c0, then parameters in the order of ``names``."""
    import torch

    x, h0, c0 = operands[:3]
    options = {k: v for k, v in words.items() if k != "names"}
    layer = getattr(torch.nn, kind)(x.shape[-1], **options).to(x.dtype)
    parameters = dict(layer.named_parameters())
    if set(parameters) != set(words["names"]):
        raise Refused(f"{kind} has parameters {sorted(parameters)}, the job {words['names']}")
    for name, value in zip(words["names"], operands[3:], strict=True):
        if parameters[name].shape != value.shape:
            raise Refused(f"{kind}.{name} has shape {tuple(parameters[name].shape)}")
        parameters[name].copy_(value)
    state = None if h0 is None else (h0, c0) if kind == "LSTM" else h0
    y, final = layer(x, state)
    return [y, *(final if kind == "LSTM" else [final])]


def _canonical(kind: str, attrs: dict[str, Any], operands: list[Any]) -> list[Any]:
    """A recurrent node of a graph, y [T, D, B, P], by the layer of torch.nn."""
    x, w, r, b_w, b_r, lengths, h0, c0, peephole, proj, mask = [*operands, *[None] * 11][:11]
    both = attrs["direction"] == "bidirectional"
    if any(v is not None for v in (lengths, peephole, mask)):
        raise Refused(f"{kind} of torch.nn has no lengths, peepholes or masks")
    names: list[str] = []
    values: list[Any] = []
    zero = x.new_zeros(w.shape[1])
    for d, end in enumerate(("_l0", "_l0_reverse")[: w.shape[0]]):
        named = {"weight_ih": w[d], "weight_hh": r[d]}
        named["bias_ih"] = zero if b_w is None else b_w[d]
        named["bias_hh"] = zero if b_r is None else b_r[d]
        if proj is not None:
            named["weight_hr"] = proj[d]
        names += [name + end for name in named]
        values += named.values()
    backwards = attrs["direction"] == "reverse"
    x = x.flip(0) if backwards else x
    if kind == "LSTM" and (h0 is None) != (c0 is None):
        rows = (w.shape[0], x.shape[1])
        h0 = x.new_zeros(*rows, r.shape[2]) if h0 is None else h0
        c0 = x.new_zeros(*rows, attrs["hidden_size"]) if c0 is None else c0
    options = {"hidden_size": attrs["hidden_size"], "bidirectional": both, "names": names}
    if proj is not None:
        options["proj_size"] = proj.shape[1]
    if kind == "RNN":
        options["nonlinearity"] = attrs["nonlinearity"]
    y, *final = _recurrent(kind, options, [x, h0, c0, *values])
    y = y.flip(0) if backwards else y
    y = y.reshape(*y.shape[:2], w.shape[0], -1).permute(0, 2, 1, 3)
    return [y, *final]


def _slice(attrs: dict[str, Any], operands: list[Any]) -> list[Any]:
    import torch

    x = operands[0]
    rows = zip(attrs["axes"], attrs["starts"], attrs["sizes"], attrs["steps"], strict=True)
    for axis, start, size, step in rows:
        x = x.index_select(axis, start + step * torch.arange(size))
    return [x]


def _clip(attrs: dict[str, Any], operands: list[Any]) -> list[Any]:
    bounds = [attrs.get("min"), attrs.get("max")]
    for i, value in enumerate(operands[1:3]):
        bounds[i] = value
    x = operands[0]
    x = x if bounds[0] is None else x.clamp(min=bounds[0])
    return [x if bounds[1] is None else x.clamp(max=bounds[1])]


def _gather(attrs: dict[str, Any], operands: list[Any]) -> list[Any]:
    x, indices = operands
    axis = attrs.get("axis", 0)
    flat = x.index_select(axis, indices.reshape(-1).long() % max(1, x.shape[axis]))
    return [flat.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])]


def _concat(attrs: dict[str, Any], operands: list[Any]) -> list[Any]:
    import torch

    return [torch.cat(operands, attrs["axis"])]


def _squeeze(attrs: dict[str, Any], operands: list[Any]) -> list[Any]:
    return [operands[0].squeeze(tuple(attrs["axes"]))]


def _unsqueeze(attrs: dict[str, Any], operands: list[Any]) -> list[Any]:
    x = operands[0]
    for axis in sorted(attrs["axes"]):
        x = x.unsqueeze(axis)
    return [x]


def _gemm(attrs: dict[str, Any], operands: list[Any]) -> list[Any]:
    a, b, c = [*operands, None][:3]
    a = a.T if attrs.get("transA") else a
    b = b.T if attrs.get("transB") else b
    y = attrs.get("alpha", 1.0) * (a @ b)
    return [y if c is None else y + attrs.get("beta", 1.0) * c]


def _softmax(attrs: dict[str, Any], operands: list[Any]) -> list[Any]:
    return [operands[0].softmax(attrs.get("axis", -1))]


def _log_softmax(attrs: dict[str, Any], operands: list[Any]) -> list[Any]:
    return [operands[0].log_softmax(attrs.get("axis", -1))]


def _linear(_: dict[str, Any], operands: list[Any]) -> list[Any]:
    import torch

    return [torch.nn.functional.linear(*operands)]


def _embedding(_: dict[str, Any], operands: list[Any]) -> list[Any]:
    import torch

    ids, table = operands
    return [torch.nn.functional.embedding(ids.long(), table)]


def _functional(name: str, *words: str) -> Callable[[dict[str, Any], list[Any]], list[Any]]:
    """A function of torch.nn.functional with attributes of these names, in its order."""

    def call(attrs: dict[str, Any], operands: list[Any]) -> list[Any]:
        import torch

        given = [attrs[word] for word in words if word in attrs]
        return [getattr(torch.nn.functional, name)(*operands, *given)]

    return call


def _gelu(attrs: dict[str, Any], operands: list[Any]) -> list[Any]:
    import torch

    kind = attrs.get("approximate", "none")
    return [torch.nn.functional.gelu(operands[0], approximate=kind)]


def _hard_sigmoid(attrs: dict[str, Any], operands: list[Any]) -> list[Any]:
    return [(attrs.get("alpha", 0.2) * operands[0] + attrs.get("beta", 0.5)).clamp(0.0, 1.0)]


def _plain(name: str) -> Callable[[dict[str, Any], list[Any]], list[Any]]:
    """A function of torch or torch.nn.functional that takes tensors alone."""

    def call(_: dict[str, Any], operands: list[Any]) -> list[Any]:
        import torch

        function = getattr(torch, name, None) or getattr(torch.nn.functional, name)
        return [function(*operands)]

    return call


LAYERS: dict[str, Callable[[dict[str, Any], list[Any]], list[Any]]] = {
    **{f"nn.{k}": functools.partial(_recurrent, k) for k in ("LSTM", "GRU", "RNN")},
    "nn.Linear": _linear,
    "nn.Embedding": _embedding,
}
OPERATORS: dict[str, Callable[[dict[str, Any], list[Any]], list[Any]]] = {
    **{k: functools.partial(_canonical, k) for k in ("LSTM", "GRU", "RNN")},
    **{
        op: _plain(name)
        for op, name in {
            "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Neg": "neg", "Abs": "abs",
            "Sqrt": "sqrt", "Exp": "exp", "Log": "log", "Erf": "erf", "Relu": "relu",
            "Tanh": "tanh", "Sigmoid": "sigmoid", "Softplus": "softplus", "Softsign": "softsign",
            "MatMul": "matmul", "Reciprocal": "reciprocal", "Pow": "pow",
        }.items()
    },
    "LeakyRelu": _functional("leaky_relu", "alpha"), "Elu": _functional("elu", "alpha"),
    "Selu": _functional("selu"), "Celu": _functional("celu", "alpha"), "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid, "HardSwish": _functional("hardswish"),
    "Swish": _functional("silu"), "Mish": _functional("mish"),
    "Identity": lambda _, operands: [operands[0]],
    "Transpose": lambda attrs, operands: [operands[0].permute(*attrs["perm"])],
    "Reshape": lambda attrs, operands: [operands[0].reshape(attrs["shape"])],
    "Expand": lambda attrs, operands: [operands[0].expand(attrs["shape"])],
    "Tile": lambda attrs, operands: [operands[0].repeat(attrs["repeats"])],
    "Concat": _concat,
    "Slice": _slice, "Clip": _clip, "Gather": _gather, "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze, "Gemm": _gemm, "Softmax": _softmax, "LogSoftmax": _log_softmax,
}  # fmt: skip
