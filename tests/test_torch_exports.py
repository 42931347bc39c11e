"""What torch's two exporters write today, of whole modules: loaded, recovered, at any batch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from rnnengine.importers import load_graph
from rnnengine.passes.fold import fold
from rnnengine.passes.recover import recover

torch = pytest.importorskip("torch", reason="torch is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from golden.make_exports import export  # noqa: E402
from torch_exports import MODULES, STEPS, Exported  # noqa: E402

Array = np.ndarray[Any, Any]
RECURRENT = ("LSTM", "GRU", "RNN")
BATCH = 32
TOLERANCE = 1e-5
CASES = [
    (name, dynamo)
    for name, module in MODULES.items()
    for dynamo in (False, True)
    if module.dynamo or not dynamo
]


def arrays(module: Exported, rng: np.random.Generator, batch: int) -> list[Array]:
    """Inputs for a batch; the second input of integers are lengths, falling."""
    found: list[Array] = []
    for shape, axis in zip(module.shapes, module.axes, strict=True):
        sizes = [batch if i == axis else size for i, size in enumerate(shape)]
        if len(shape) == 1:
            lengths = np.sort(rng.integers(1, STEPS + 1, batch))[::-1].astype(np.int64)
            lengths[0] = STEPS
            found.append(lengths)
        elif module.tokens:
            found.append(rng.integers(0, 11, sizes))
        else:
            found.append(rng.standard_normal(sizes).astype(np.float32))
    return found


def run(model: rn.Model, inputs: list[Array]) -> list[Array]:
    feeds = {info.name: value for info, value in zip(model.inputs, inputs, strict=True)}
    result = model.run(feeds)
    found = result if isinstance(result, dict) else {model.outputs[0].name: result}
    return [found[info.name] for info in model.outputs]


@pytest.mark.parametrize(("name", "dynamo"), CASES, ids=[f"{n}-{d}" for n, d in CASES])
def test_export(name: str, dynamo: bool, rng: np.random.Generator) -> None:
    module = MODULES[name]
    torch.manual_seed(1)
    made = module.make()
    content = export(made, tuple(map(torch.from_numpy, arrays(module, rng, 1))), dynamo=dynamo)

    imported = load_graph(content)
    rewritten = recover(fold(imported))
    found = Counter(node.op for node in rewritten.nodes if node.op in RECURRENT)
    assert found == module.nodes
    written = Counter(n.op for n in imported.nodes if n.op in RECURRENT)
    loaded = rn.load(content)
    fused = Counter(f.op for f in loaded.fused if f.op in RECURRENT)
    assert found == written + fused

    inputs = arrays(module, rng, 1)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    for got, wanted in zip(
        run(loaded, inputs), session.run(None, dict(zip(names, inputs, strict=True))), strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE)

    many = arrays(module, rng, BATCH)
    with torch.no_grad():
        expected = leaves(made(*map(torch.from_numpy, many)))
    freed = run(rn.load(content, batch="dynamic"), many)
    for got, wanted in zip(freed, expected, strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), rtol=0, atol=TOLERANCE)


def leaves(value: Any) -> list[Any]:
    """Tensors of nested tuples, in order."""
    if isinstance(value, tuple):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]
