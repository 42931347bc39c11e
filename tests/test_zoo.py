"""Real published models against onnxruntime and published vectors; streams bit-equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from engine import bits, run
from rnnengine.bench.sound import frames, recording, samples
from zoo_cases import BURN, NODE_TESTS

Array = np.ndarray[Any, Any]

pytestmark = pytest.mark.zoo

FRAMES = 1000


def _tensor(path: Path) -> Array:
    from onnx import TensorProto, numpy_helper

    proto = TensorProto()
    proto.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(proto)


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", NODE_TESTS)
def test_onnx_node_tests(zoo: Path, name: str, isa: str) -> None:
    """The official vectors; weights are inputs, outputs omitted, three with layout=1."""
    folder = zoo / "conformance/onnx-node-tests/opset22" / f"test_{name}"
    model = rn.load(folder / "model.onnx")
    data = folder / "test_data_set_0"
    feeds = [_tensor(p) for p in sorted(data.glob("input_*.pb"))]
    result = run(model, {info.name: v for info, v in zip(model.inputs, feeds, strict=True)})
    for info, path in zip(model.outputs, sorted(data.glob("output_*.pb")), strict=True):
        expected = _tensor(path)
        assert result[info.name].shape == expected.shape
        np.testing.assert_allclose(result[info.name], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", BURN)
def test_burn_models_against_onnxruntime(zoo: Path, name: str, isa: str) -> None:
    path = zoo / "conformance/burn-onnx" / f"{name}.onnx"
    model, session = rn.load(path), _session(path)
    rng = np.random.default_rng(0)
    for _ in range(10):
        feeds = {
            i.name: rng.standard_normal([int(s) for s in i.shape]).astype(np.float32)
            for i in model.inputs
        }
        result = run(model, feeds)
        for info, expected in zip(model.outputs, session.run(None, feeds), strict=True):
            np.testing.assert_allclose(result[info.name], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "name", [n for n in BURN if not n.endswith(("_bidirectional", "_reverse"))]
)
def test_burn_models_stream_bit_equal(zoo: Path, name: str, isa: str) -> None:
    model = rn.load(zoo / "conformance/burn-onnx" / f"{name}.onnx")
    x_info = model.inputs[0]
    x = np.random.default_rng(0).standard_normal([int(s) for s in x_info.shape]).astype(np.float32)
    starts = {i.name: np.zeros([int(s) for s in i.shape], np.float32) for i in model.inputs[1:]}
    whole = run(model, {x_info.name: x, **starts})
    stream = model.stream()
    parts = [stream.step(x[t : t + 1]) for t in range(len(x))]
    sequence = model.outputs[0].name
    frames = [p[sequence] if isinstance(p, dict) else p for p in parts]
    assert np.array_equal(bits(np.concatenate(frames)), bits(whole[sequence]))


DTLN: dict[str, tuple[str, str, dict[str, tuple[str, int | None]]]] = {
    # file: (frame input, frame output, state input -> (output, index along axis 0 or None))
    "dtln/model_1.onnx": ("input_2", "activation_2", {"input_3": ("tf_op_layer_stack_2", None)}),
    "dtln-pytorch/model_p1.onnx": (
        "mag",
        "y1",
        {
            "h1_in": ("out_state1", 0),
            "c1_in": ("out_state1", 1),
            "h2_in": ("out_state1", 2),
            "c2_in": ("out_state1", 3),
        },
    ),
}


def _magnitudes(zoo: Path) -> Array:
    """Spectra of real noisy speech, 512 samples every 128."""
    sound = recording(zoo / "gtcrn/mix.wav") / 32768
    starts = np.arange(FRAMES) * 128 % (len(sound) - 512)
    blocks = np.stack([sound[s : s + 512] for s in starts])
    return np.abs(np.fft.rfft(blocks)).astype(np.float32).reshape(FRAMES, 1, 1, 257)


@pytest.mark.parametrize("name", DTLN)
def test_dtln_over_a_thousand_frames_with_state(zoo: Path, name: str, isa: str) -> None:
    """Stream against onnxruntime with its state carried by hand, and against run likewise."""
    frame_in, frame_out, pairs = DTLN[name]
    model, session = rn.load(zoo / name), _session(zoo / name)
    shapes = {i.name: [int(s) for s in i.shape] for i in model.inputs}
    peer = {n: np.zeros(shapes[n], np.float32) for n in pairs}
    ours = {n: np.zeros(shapes[n], np.float32) for n in pairs}
    stream = model.stream()
    assert set(stream.state) == set(pairs)
    names = [o.name for o in session.get_outputs()]
    worst = 0.0
    for frame in _magnitudes(zoo):
        expected = dict(zip(names, session.run(None, {frame_in: frame, **peer}), strict=True))
        by_hand = run(model, {frame_in: frame, **ours})
        streamed = stream.step(frame)
        assert np.array_equal(bits(streamed), bits(by_hand[frame_out]))
        # A mask is at most 1; the second model returns the masked spectrum, judged by its scale.
        scale = max(1.0, float(np.abs(frame).max()))
        worst = max(worst, float(np.abs(streamed - expected[frame_out]).max()) / scale)
        for state, (output, index) in pairs.items():
            cut = slice(None) if index is None else slice(index, index + 1)
            peer[state] = expected[output][cut].reshape(shapes[state])
            ours[state] = by_hand[output][cut].reshape(shapes[state])
    assert worst <= 1e-5


def test_dtln_runs_many_frames_at_once_as_it_streams_them(zoo: Path, isa: str) -> None:
    """The TensorFlow export's time axis, fixed at 1, is freed: 1000 frames in one step."""
    model = rn.load(zoo / "dtln/model_1.onnx")
    frames = _magnitudes(zoo).reshape(1, FRAMES, 257)
    one, whole = model.stream(), model.stream()
    singles = [one.step(frames[:, t : t + 1]) for t in range(FRAMES)]
    assert np.array_equal(bits(np.concatenate(singles, axis=1)), bits(whole.step(frames)))
    assert np.array_equal(bits(one.state["input_3"]), bits(whole.state["input_3"]))


def test_gtcrn_enhances_a_recording_frame_by_frame(zoo: Path, isa: str) -> None:
    """611 frames of a speech enhancer as a stream: the authors' samples to one step of int16.

    Two of its states enter recurrent layers; the third, past frames of convolutions, is paired with
    its output by name. Layers over frequency bands start afresh in each frame.
    """
    model = rn.load(zoo / "gtcrn/gtcrn_simple.onnx")
    assert model.isa == isa
    stream = model.stream()
    assert set(stream.state) == {"conv_cache", "tra_cache", "inter_cache"}
    spectra = frames(recording(zoo / "gtcrn/mix.wav") / 32768)
    assert len(spectra) == 611
    enhanced = np.stack([stream.step(f[None, :, None, :])[0, :, 0, :] for f in spectra])
    wanted = recording(zoo / "gtcrn/enh.wav").astype(int)
    got = samples(enhanced)[: len(wanted)] * 32768
    assert np.abs(np.round(got).astype(int) - wanted).max() <= 1

    session = _session(zoo / "gtcrn/gtcrn_simple.onnx")
    feeds = {i.name: np.zeros(i.shape, np.float32) for i in session.get_inputs()}
    for frame, ours in zip(spectra, enhanced, strict=True):
        feeds["mix"] = frame[None, :, None, :]
        theirs, *caches = session.run(None, feeds)
        feeds.update(zip(("conv_cache", "tra_cache", "inter_cache"), caches, strict=True))
        np.testing.assert_allclose(ours, theirs[0, :, 0, :], rtol=0, atol=1e-4)
