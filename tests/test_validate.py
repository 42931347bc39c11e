"""validate: the engine against float64 and against frameworks in a child process."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from rnnengine.graph import Graph
from rnnengine.validation.measures import contract, measure, sensitivity
from rnnengine.validation.samples import generated, roles_of

Array = np.ndarray[Any, Any]


def npz(arrays: dict[str, Array]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.fixture
def weights() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    shapes = {
        "enc.weight_ih_l0": (12, 3), "enc.weight_hh_l0": (12, 4),
        "enc.bias_ih_l0": (12,), "enc.bias_hh_l0": (12,),
        "out.weight": (2, 4), "out.bias": (2,),
    }  # fmt: skip
    return {k: rng.standard_normal(s).astype("f4") for k, s in shapes.items()}


def net(**words: Any) -> rn.Sequential:
    return rn.Sequential(
        rn.GRU(3, 4, batch_first=True, name="enc", **words), rn.Linear(4, 2, name="out"),
        rn.Softmax(),
    )  # fmt: skip


def test_a_torch_checkpoint_against_torch(weights: dict[str, Array], tmp_path: Path) -> None:
    """torch.load and torch.nn know nothing of the importer, and compute in float64 too."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "m.pt"
    inner = {f"module.{k}": torch.from_numpy(v) for k, v in weights.items()}
    torch.save({"state_dict": inner, "epoch": 3}, path)
    found = rn.validate(path, architecture=net())
    assert found.passed, str(found)
    assert found.reference.startswith("torch 2")
    assert found.notes == ()
    names = [s.name for s in found.samples]
    assert names == [
        "usual", "one row", "five rows", "one step", "long", "zeros", "large", "tiny", "gaps",
        "no steps",
    ]  # fmt: skip
    (long,) = (s for s in found.samples if s.name == "long")
    (output,) = long.outputs
    assert output.engine.allowed == pytest.approx(1e-5)
    assert len(output.engine.over_time) == 64
    assert output.reference_float64 is not None
    assert output.reference_float64.max_abs < 1e-12 < output.reference.max_abs  # type: ignore[union-attr]
    (empty,) = (s for s in found.samples if s.name == "no steps")
    assert "larger than 0" in empty.skipped
    said = json.loads(json.dumps(found.as_dict()))
    assert said["passed"] is True
    assert len(said["samples"]) == len(names)


def test_what_torch_has_no_layer_for_is_said(weights: dict[str, Array]) -> None:
    pytest.importorskip("torch")
    with pytest.raises(rn.FrameworkError, match="reset_after=False"):
        rn.validate(npz(weights), "torch", architecture=net(reset_after=False))
    found = rn.validate(npz(weights), architecture=net(reset_after=False))
    assert found.passed
    assert found.reference == ""
    assert "reset_after=False" in found.notes[0]


def test_the_export_is_the_round_trip_for_other_models(weights: dict[str, Array]) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = rn.load(npz(weights), architecture=net())
    found = rn.validate(model, "onnxruntime")
    assert found.passed, str(found)
    assert found.reference.startswith("onnxruntime 1")
    empty = found.samples[-1]  # onnxruntime ends its process on a GRU without steps
    assert (empty.name, empty.passed) == ("no steps", True)
    # The graph of a model that came without its file, in torch, node by node.
    assert rn.validate(model, "torch").passed


@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")
@pytest.mark.filterwarnings("ignore::UserWarning:keras")
def test_keras_files(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    layers = keras.layers
    keras.utils.set_random_seed(0)
    chain = [
        keras.Input((None,), dtype="int32"), layers.Embedding(9, 3, mask_zero=True),
        layers.Bidirectional(layers.LSTM(4, return_sequences=True)), layers.GRU(3),
    ]  # fmt: skip
    path = tmp_path / "m.keras"
    keras.Sequential(chain).save(path)
    found = rn.validate(path, inputs=[{rn.load(path).inputs[0].name: [[1, 2, 0], [8, 0, 0]]}])
    assert found.passed, str(found)
    assert found.reference.startswith("keras 3")
    assert found.samples[-1].shapes == {rn.load(path).inputs[0].name: (2, 3)}
    with pytest.raises(rn.FrameworkError, match="opens Keras models"):
        rn.validate(rn.load(path), "keras")


def test_expected_outputs(weights: dict[str, Array]) -> None:
    model = rn.load(npz(weights), architecture=net())
    x = np.random.default_rng(1).standard_normal((2, 5, 3)).astype("f4")
    y = model.run(x)
    assert rn.validate(model, inputs={"input": x}, expected={"output": y}).passed
    y[1, 3, 0] += 1e-3
    found = rn.validate(model, inputs={"input": x}, expected={"output": y})
    assert not found.passed
    (output,) = found.samples[0].outputs
    assert output.engine.passed
    assert output.reference is not None
    assert output.reference.worst == (1, 3, 0)
    assert np.argmax(output.reference.over_time) == 3
    assert "FAILED" in str(found)
    for wrong in ({"z": y}, {}):
        with pytest.raises(rn.ShapeError, match="the model's outputs are output"):
            rn.validate(model, inputs={"input": x}, expected=wrong)
    with pytest.raises(rn.ShapeError, match="one set of inputs"):
        rn.validate(model, expected={"output": y})
    with pytest.raises(rn.ShapeError, match="the model takes input"):
        rn.validate(model, inputs={"x": x})


def test_an_engine_that_computes_something_else_fails(
    weights: dict[str, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is judged by float64, whatever the reference says."""
    model = rn.load(npz(weights), architecture=net())
    other = rn.load(
        npz({**weights, "out.bias": weights["out.bias"] + np.float32([1e-4, 0])}),
        architecture=net(),
    )
    monkeypatch.setattr(type(other), "imported_graph", lambda self, sizes: model._source.imported)
    found = rn.validate(other, python=None, against=None)
    assert not found.passed
    assert not any(o.engine.passed for s in found.samples for o in s.outputs if s.name == "usual")
    assert "engine and float64 differ most" in str(found)


def test_frameworks_that_cannot_be_asked(weights: dict[str, Array], tmp_path: Path) -> None:
    content, words = npz(weights), {"architecture": net()}
    with pytest.raises(rn.FrameworkError, match="accepted: torch, keras"):
        rn.validate(content, "caffe", **words)
    with pytest.raises(rn.FrameworkError, match="cannot be started"):
        rn.validate(content, "torch", python=tmp_path / "absent", **words)
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(rn.FrameworkError, match="torch is not installed for "):
        rn.validate(content, "torch", python=bare, **words)
    pytest.importorskip("torch")
    with pytest.raises(rn.FrameworkError, match="did not answer within"):
        rn.validate(content, "torch", timeout=0.05, **words)


def test_torch_unpickles_nothing(tmp_path: Path) -> None:
    """A file whose pickle would run code: the importer reads its weights, torch refuses it."""
    torch = pytest.importorskip("torch")
    layer = torch.nn.GRU(3, 4)
    torch.save(layer, tmp_path / "whole.pt")
    found = rn.validate(tmp_path / "whole.pt", "torch", layer="")
    assert found.passed, str(found)
    assert "refused the file" in found.notes[0]


def test_roles_and_samples(weights: dict[str, Array]) -> None:
    arrays = {"table.weight": np.zeros((7, 3), "f4"), **weights}
    graph: Graph = rn.load(
        npz(arrays),
        architecture=rn.Sequential(rn.Embedding(7, 3, name="table"), *net().layers),
    ).graph
    roles = roles_of(graph)
    assert (roles.time, roles.batch, dict(roles.below)) == ({"time"}, {"batch"}, {"input": 7})
    samples = {s.name: s for s in generated(graph)}
    assert samples["large"].feeds["input"].max() == 6
    assert samples["gaps"].feeds["input"].shape == (3, 7)
    assert not samples["gaps"].feeds["input"][0, :2].any()
    assert {s.steps for s in samples.values()} == {0, 1, 4, 5, 6, 7, 64}
    again = generated(graph, seed=1)
    assert any((a.feeds["input"] != b.feeds["input"]).any()
               for a, b in zip(samples.values(), again, strict=True))  # fmt: skip


def test_measures() -> None:
    expected = np.array([[1.0, 2.0], [np.inf, np.nan]])
    got = np.array([[1.0, 2.5], [np.inf, np.nan]])
    errors = measure(got, expected, 0.1, 1)
    assert (errors.max_abs, errors.worst, errors.over_time) == (0.5, (0, 1), (0.0, 0.5))
    assert errors.max_rel == pytest.approx(0.25)
    assert errors.rms == pytest.approx(0.25)
    assert not errors.passed
    assert measure(np.full((2, 2), np.nan), expected, 0.1, None).max_abs == np.inf
    assert measure(got[:1], expected, 0.1, None).max_abs == np.inf
    assert measure(got[:0], expected[:0], 0.0, 0).passed
    assert contract(np.array([0.5, -3.0, np.inf]), 50) == pytest.approx(6e-6)
    assert contract(np.array([0.5]), 51) == pytest.approx(1e-5)
    assert contract(np.array([5]), 1) == 0


def test_models_that_are_compiled_for_given_sizes(tmp_path: Path) -> None:
    """They are validated from their file; no other file can hold them for all sizes."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper = onnx.helper
    numbers = {"axis": [1], "two": [2], "zero": [0]}
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "axis"], ["t"]),
        helper.make_node("Div", ["t", "two"], ["half"]),
        helper.make_node("Slice", ["x", "zero", "half", "axis"], ["y"]),
    ]  # fmt: skip
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [info("x", 1, ["b", "t", 3])], [info("y", 1, ["b", None, 3])],
        [onnx.numpy_helper.from_array(np.array(v), k) for k, v in numbers.items()],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 9
    content = proto.SerializeToString()
    found = rn.validate(content)
    assert found.passed, str(found)
    assert found.reference.startswith("onnxruntime")
    model = rn.load(content)
    with pytest.raises(rn.FrameworkError, match="pass the file it was made from"):
        rn.validate(model, "onnxruntime")
    assert rn.validate(model, "onnxruntime", source=content).passed
    with pytest.raises(rn.UnsupportedModelError, match="keep the file"):
        rn.save(model, tmp_path / "m.rnne")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")
@pytest.mark.filterwarnings("ignore::UserWarning:keras")
def test_keras_is_given_no_file_with_code_in_it(tmp_path: Path) -> None:
    """The layers that the caller replaced hold code, which Keras would run."""
    keras = pytest.importorskip("keras")
    layers = keras.layers
    net = keras.Sequential([keras.Input((None, 3)), layers.Lambda(lambda x: 2 * x), layers.GRU(4)])
    net.save(tmp_path / "m.h5")

    def twice(layer: rn.LayerCall, x: rn.Value) -> rn.Value:
        result: rn.Value = layer.op("Mul", x, 2.0)
        return result

    path, words = tmp_path / "m.h5", {"replacements": {"Lambda": twice}}
    assert rn.validate(path, **words).passed
    with pytest.raises(rn.FrameworkError, match="would run the code"):
        rn.validate(path, "keras", **words)
    with pytest.raises(rn.UnsupportedModelError, match="Lambda"):
        rn.validate(rn.load(path, **words), "keras", source=path)


def test_freed_sizes(weights: dict[str, Array]) -> None:
    """Sizes that the file fixes are run at others, which its own framework refuses."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, info = onnx.helper, onnx.helper.make_tensor_value_info
    zrn = {k: np.concatenate([np.split(weights[f"enc.{k}_l0"], 3)[i] for i in (1, 0, 2)])
           for k in ("weight_ih", "weight_hh")}  # fmt: skip
    node = helper.make_node("GRU", ["x", "W", "R"], ["y"], hidden_size=4)
    graph = helper.make_graph(
        [node], "g", [info("x", 1, [6, 1, 3])], [info("y", 1, [6, 1, 1, 4])],
        [onnx.numpy_helper.from_array(v[None], k) for k, v in zip("WR", zrn.values(), strict=True)],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 9
    content = proto.SerializeToString()
    fixed = rn.validate(content)
    assert {s.shapes["x"] for s in fixed.samples} == {(6, 1, 3)}
    freed = rn.validate(content, batch="dynamic", time="dynamic")
    assert fixed.passed
    assert freed.passed, str(freed)
    assert {s.shapes["x"][1] for s in freed.samples} == {1, 2, 3, 5}


def test_what_is_not_finite_excuses_nothing() -> None:
    """An exponent a little off 2 has no value for negative numbers."""
    pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Pow", ["x", "two"], ["y"]), helper.make_node("Sqrt", ["x"], ["z"])],
        "g", [info("x", 1, ["n"])], [info("y", 1, ["n"]), info("z", 1, ["n"])],
        [numpy_helper.from_array(np.array(2, "f4"), "two")],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 9
    imported = rn.load(proto.SerializeToString()).imported_graph({})
    feeds = {"x": np.array([-3.0, 2.0])}
    exact = {"y": np.array([9.0, 4.0]), "z": np.array([0.0, 2.0**0.5])}
    moved = sensitivity(imported, feeds, exact)
    assert 1e-7 < moved["y"] < 2e-6
    assert moved["z"] == 0.0


GOLDEN = Path(__file__).parent / "golden" / "quantised"


@pytest.mark.parametrize("compute_type", [None, "float32", "int8_fast"])
@pytest.mark.parametrize("name", ["lstm_dynamic", "matmulinteger_int8_rows", "gru_dynamic_rows"])
def test_files_that_were_quantised_before(name: str, compute_type: str | None) -> None:
    """onnxruntime rounds the activations of these to 8 bits, which is no fault of the engine."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = GOLDEN / f"{name}.onnx"
    model = rn.load(path, compute_type=compute_type)
    found = rn.validate(model, source=path, against="onnxruntime")
    assert found.passed, found
    errors = [o.reference.max_abs for s in found.samples for o in s.outputs if o.reference]
    assert max(errors) > 1e-3, "it does round"


def test_a_wrong_scale_is_more_than_the_rounding_of_activations() -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = GOLDEN / "lstm_rows.onnx"
    content = onnx.load(path)
    (scale,) = [t for t in content.graph.initializer if t.name == "Ws"]
    values = onnx.numpy_helper.to_array(scale)
    scale.CopyFrom(onnx.numpy_helper.from_array(values[:, ::-1].copy(), "Ws"))
    model = rn.load(content.SerializeToString(), compute_type="float32")
    assert not rn.validate(model, source=path, against="onnxruntime").passed
