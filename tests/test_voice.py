"""The synthetic voice-activity detector: rates behind nested Ifs, an LSTM step, a stream."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from engine import bits
from rnnengine.bench.voice import RATES, signal, vad_bytes

Array = np.ndarray[Any, Any]

CHUNKS = 600
CELLS = ("LSTM", "LSTMCell")


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """The file with an LSTM node, and that with its step written out."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    return {cell: vad_bytes(cell) for cell in CELLS}


@pytest.fixture(scope="module")
def expected(files: dict[str, bytes]) -> dict[int, tuple[Array, Array]]:
    """What onnxruntime gives for each rate, its state carried: probabilities, the last state."""
    import onnxruntime

    session = onnxruntime.InferenceSession(files["LSTM"], providers=["CPUExecutionProvider"])
    answers = {}
    for rate in RATES:
        state, found = np.zeros((2, 1, 128), np.float32), []
        for chunk in signal(rate, CHUNKS):
            feeds = {"x": chunk[None], "state": state, "sr": np.array(rate)}
            probability, state = session.run(None, feeds)
            found.append(probability)
        answers[rate] = np.concatenate(found), state
    return answers


def _operators(content: bytes) -> list[str]:
    """Operators of an ONNX model, those of branches included."""
    import onnx

    def walk(graph: Any) -> Any:
        for node in graph.node:
            yield node.op_type
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    yield from walk(attribute.g)

    return list(walk(onnx.load_from_string(content).graph))


def _streamed(model: rn.Model, rate: int) -> tuple[Array, Array]:
    stream = model.stream()
    assert set(stream.state) == {"state"}
    steps = [stream.step(chunk[None]).copy() for chunk in signal(rate, CHUNKS)]
    return np.concatenate(steps), stream.state["state"]


def test_the_files_are_what_deployed_ones_are(files: dict[str, bytes]) -> None:
    """Nested Ifs, weights as Constants in branches; the second file has no recurrent node."""
    import onnx

    for cell, content in files.items():
        found = _operators(content)
        assert found.count("If") == 4
        assert found.count("Conv") == 2 * 6
        assert found.count("LSTM") == (2 if cell == "LSTM" else 0)
        assert not onnx.load_from_string(content).graph.initializer


@pytest.mark.parametrize("rate", RATES)
def test_vad_streams_as_onnxruntime_computes(
    files: dict[str, bytes], expected: dict[int, tuple[Array, Array]], rate: int, isa: str
) -> None:
    model = rn.load(files["LSTM"], constants={"sr": rate})
    assert model.isa == isa
    operators = [node.op for node in model.graph.nodes]
    assert "If" not in operators
    assert operators.count("LSTM") == 1
    probabilities, state = _streamed(model, rate)
    wanted, last = expected[rate]
    assert wanted.std() > 0.05  # the answers say something
    np.testing.assert_allclose(probabilities, wanted, rtol=0, atol=1e-5)
    np.testing.assert_allclose(state, last, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rate", RATES)
def test_a_cell_written_out_has_the_bits_of_the_layer(files: dict[str, bytes], rate: int) -> None:
    models = {cell: rn.load(files[cell], constants={"sr": rate}) for cell in CELLS}
    assert not models["LSTM"].fused
    assert [fusion.op for fusion in models["LSTMCell"].fused] == ["LSTM"]
    (layer, layer_state), (cell, cell_state) = (_streamed(models[c], rate) for c in CELLS)
    assert np.array_equal(bits(layer), bits(cell))
    assert np.array_equal(bits(layer_state), bits(cell_state))


def test_another_rate_is_silence(files: dict[str, bytes]) -> None:
    """The last branch of the nested Ifs, which has no layers at all."""
    model = rn.load(files["LSTM"], constants={"sr": 44100})
    rng = np.random.default_rng(0)
    state = rng.standard_normal((2, 1, 128), dtype=np.float32)
    result = model.run({"x": np.ones((1, 576), np.float32), "state": state})
    assert result["probability"] == 0
    assert np.array_equal(bits(result["next"]), bits(state))


def test_a_rate_left_open_is_refused_by_name(files: dict[str, bytes]) -> None:
    with pytest.raises(rn.UnsupportedModelError, match=r"If.*constants"):
        rn.load(files["LSTM"])
