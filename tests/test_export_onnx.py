"""Models written as ONNX: the same bits when read again, and other engines take them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from cases import case
from engine import load, run, same_bits
from rnnengine.cli import DONE, REFUSED, WRONG_USE, main
from rnnengine.exporting import onnx_content

onnx = pytest.importorskip("onnx")
Array = np.ndarray[Any, Any]


def checked(model: rn.Model) -> bytes:
    content = onnx_content(model.graph)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    return content


def network() -> rn.Model:
    rng = np.random.default_rng(0)
    shapes = {"rnn.weight_ih_l0": (12, 3), "rnn.weight_hh_l0": (12, 4), "rnn.bias_ih_l0": (12,),
              "rnn.bias_hh_l0": (12,), "rnn.weight_ih_l1": (12, 8), "rnn.weight_hh_l1": (12, 4),
              "rnn.bias_ih_l1": (12,), "rnn.bias_hh_l1": (12,), "out.weight": (2, 8)}  # fmt: skip
    shapes |= {f"{k}_reverse": v for k, v in shapes.items() if k.startswith("rnn")}
    file = io.BytesIO()
    np.savez(file, **{k: rng.standard_normal(s).astype("f4") for k, s in shapes.items()})
    net = rn.Sequential(
        rn.GRU(3, 4, num_layers=2, bidirectional=True, batch_first=True), rn.SiLU(),
        rn.Linear(8, 2, bias=False), rn.Softmax(),
    )  # fmt: skip
    return rn.load(file.getvalue(), architecture=net)


def test_generated_cases_come_back_with_the_same_bits() -> None:
    exported = 0
    for seed in range(150):
        drawn = case(seed)
        model = load(drawn, "scalar")
        try:
            content = checked(model)
        except rn.UnsupportedModelError:
            continue
        exported += 1
        assert same_bits(run(rn.load(content), drawn.feeds), run(model, drawn.feeds)), str(drawn)
    assert exported >= 50


def test_onnxruntime_computes_what_we_compute() -> None:
    ort = pytest.importorskip("onnxruntime")
    model = network()
    content = checked(model)
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    for shape in ((1, 1, 3), (2, 7, 3)):
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        ours = model.run(x)
        np.testing.assert_allclose(session.run(None, {"input": x})[0], ours, rtol=0, atol=2e-6)
        np.testing.assert_array_equal(rn.load(content).run(x), ours)


@pytest.mark.zoo
def test_published_models_come_back_with_the_same_bits(zoo: Path) -> None:
    exported = 0
    for path in sorted(zoo.glob("**/*.onnx")):
        try:
            model = rn.load(path)
            content = checked(model)
        except rn.RNNEngineError:
            continue
        exported += 1
        rng = np.random.default_rng(0)
        feeds = {
            i.name: rng.standard_normal([s if isinstance(s, int) else 2 for s in i.shape]).astype(
                i.dtype
            )
            for i in model.inputs
        }
        assert same_bits(run(rn.load(content), feeds), run(model, feeds)), path
    assert exported >= 14


def test_what_onnx_cannot_say_is_refused() -> None:
    rng = np.random.default_rng(0)
    shapes = {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 2), "weight_hr_l0": (2, 4)}
    file = io.BytesIO()
    np.savez(file, **{k: rng.standard_normal(s).astype("f4") for k, s in shapes.items()})
    with pytest.raises(rn.UnsupportedModelError, match="a projection; ONNX has no word"):
        onnx_content(rn.load(file.getvalue(), layer="").graph)
    net = rn.LSTM(3, 4, proj_size=2, bias=False, activation="mish")
    with pytest.raises(rn.UnsupportedModelError, match="export: node 'lstm'"):
        onnx_content(rn.load(file.getvalue(), architecture=net).graph)


def test_the_command(tmp_path: Path) -> None:
    rn.save(network(), tmp_path / "m.rnne")
    words = ["export-onnx", str(tmp_path / "m.rnne"), "-o", str(tmp_path / "m.onnx")]
    assert main(words) == DONE
    assert main(words) == WRONG_USE
    assert main([*words, "--force"]) == DONE
    (tmp_path / "bad").write_bytes(b"nothing")
    assert main(["export-onnx", str(tmp_path / "bad"), "-o", str(tmp_path / "x")]) == REFUSED
    x = np.ones((2, 5, 3), np.float32)
    np.testing.assert_array_equal(rn.load(tmp_path / "m.onnx").run(x), network().run(x))
