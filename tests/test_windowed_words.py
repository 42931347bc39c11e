"""Convolutions, pools and normalisations of descriptions, with weights of torch and of Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from rnnengine.errors import RNNEngineError
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

Array = np.ndarray[Any, Any]


def torch_nets() -> dict[str, tuple[list[Any], list[Any]]]:
    """torch's layers, and the same words here."""
    n = torch.nn
    return {
        "conv": (
            [n.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), n.ReLU(), n.Conv1d(6, 3, 2)],
            [rn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), rn.ReLU(), rn.Conv1d(6, 3, 2)],
        ),
        "padding": (
            [n.Conv1d(4, 5, 4, padding="same", dilation=2), n.Conv1d(5, 3, 2, bias=False)],
            [rn.Conv1d(4, 5, 4, padding="same", dilation=2), rn.Conv1d(None, 3, 2, bias=False)],
        ),
        "pools": (
            [n.Conv1d(4, 3, 1), n.MaxPool1d(3, 2, padding=1), n.AvgPool1d(2), n.AvgPool1d(2, 1, 1)],
            [rn.Conv1d(4, 3, 1), rn.MaxPool1d(3, 2, 1), rn.AvgPool1d(2), rn.AvgPool1d(2, 1, 1)],
        ),
        "pads_not_counted": (
            [n.Conv1d(4, 3, 1), n.AvgPool1d(3, 1, 1, count_include_pad=False)],
            [rn.Conv1d(4, 3, 1), rn.AvgPool1d(3, 1, 1, count_include_pad=False)],
        ),
        "batch_norm": (
            [n.BatchNorm1d(4), n.Conv1d(4, 3, 3), n.BatchNorm1d(3, eps=0.1, affine=False)],
            [rn.BatchNorm1d(4), rn.Conv1d(4, 3, 3), rn.BatchNorm1d(3, 0.1, affine=False)],
        ),
        "layer_norm": (
            [n.Conv1d(4, 3, 2), n.LayerNorm((3, 11)), n.LayerNorm(11, bias=False, eps=0.1)],
            [rn.Conv1d(4, 3, 2), rn.LayerNorm((3, 11)), rn.LayerNorm(11, 0.1, True, False)],
        ),
        "no_affine": (
            [n.Conv1d(4, 3, 2), n.LayerNorm(11, elementwise_affine=False)],
            [rn.Conv1d(4, 3, 2), rn.LayerNorm(11, elementwise_affine=False)],
        ),
    }


@pytest.mark.parametrize("name", torch_nets())
def test_words_of_torch(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    theirs, ours = torch_nets()[name]
    net = torch.nn.Sequential(*theirs)
    for key, value in net.state_dict().items():
        if value.dtype.is_floating_point:
            drawn = torch.randn_like(value)
            value.copy_(drawn.abs() + 0.5 if "var" in key else drawn)
    torch.save(net.state_dict(), tmp_path / "a.pth")
    x = torch.randn(3, 4, 12)
    want = net.eval().double()(x.double()).detach().numpy()
    description = rn.Sequential(*ours)
    sized = rn.Input(("batch", 4, 12))  # strides and norms of axes that an open one would not fit
    graph = load_graph(tmp_path / "a.pth", architecture=description(sized))
    (exact,) = evaluate(graph, {"input": x.numpy()}).values()
    np.testing.assert_allclose(exact, want, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(rn.Model(graph).run(x.numpy()), want, rtol=1e-5, atol=1e-5)
    if name == "padding":
        chain = load_graph(tmp_path / "a.pth", architecture=description)
        assert str(chain.inputs[0].type) == "float32[batch, 4, time]"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")
@pytest.mark.parametrize("container", ["h5", "weights.h5"])
def test_words_of_keras(container: str, tmp_path: Path) -> None:
    """Weights alone: the words of Keras find the convolution, the norms and the layers between."""
    pytest.importorskip("pyfive", reason="pyfive is not installed")
    keras = pytest.importorskip("keras", reason="keras is not installed")
    from keras import layers as k

    from keras_models import built

    net = built(
        lambda: keras.Sequential([
            keras.Input((None, 3), name="x"),
            k.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu", name="front"),
            k.BatchNormalization(name="scaled"),
            k.LSTM(5, return_sequences=True, name="memory"),
            k.LayerNormalization(name="evened"),
            k.Conv1D(2, 1, padding="same", activation="softmax", name="out"),
        ])
    )  # fmt: skip
    path = tmp_path / f"a.{container}"
    (net.save if container == "h5" else net.save_weights)(path)
    if container == "h5":
        import h5py

        with h5py.File(path, "a") as file:
            del file.attrs["model_config"]
    described = rn.Sequential(
        rn.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu", name="front"),
        rn.BatchNormalization(name="scaled"),
        rn.LSTM(units=5, name="memory"),
        rn.LayerNormalization(name="evened"),
        rn.Conv1D(2, 1, padding="same", activation="softmax", name="out"),
    )
    model = rn.load(path, architecture=described)
    x = np.random.default_rng(1).normal(size=(2, 7, 3)).astype(np.float32)
    assert model.inputs[0].shape == ("batch", "time", 3)
    np.testing.assert_allclose(model.run(x), net.predict_on_batch(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rn.Conv1d(4, 5, 3, groups=2), "Conv1d: groups is 2; expected a divisor"),
        (lambda: rn.Conv1d(4, 5, 0), "Conv1d: kernel_size is 0; expected a positive"),
        (lambda: rn.Conv1d(4, 5, 3, padding="full"), "Conv1d: padding is 'full'; accepted"),
        (lambda: rn.MaxPool1d(2, padding="causal"), "MaxPool1d: padding is 'causal'; accepted"),
        (lambda: rn.LayerNorm((4, 0)), r"LayerNorm: normalized_shape is \(4, 0\)"),
        (lambda: rn.BatchNorm1d(-1), "BatchNorm1d: num_features is -1"),
    ],
)
def test_wrong_words_are_refused(make: Any, message: str) -> None:
    with pytest.raises(RNNEngineError, match=message):
        make()


def test_inputs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.BatchNorm1d(4).state_dict(), tmp_path / "a.pth")
    wide = rn.Input(("batch", 3, "time"))
    with pytest.raises(RNNEngineError, match=r"BatchNorm1d: its input is .* expected 4 channels"):
        rn.load(tmp_path / "a.pth", architecture=rn.BatchNorm1d(4)(wide))
    torch.save(torch.nn.Conv1d(4, 2, 3).state_dict(), tmp_path / "b.pth")
    flat = rn.Input(("batch", 4))
    with pytest.raises(RNNEngineError, match=r"Conv1d: its input is .* \[batch, channels, time\]"):
        rn.load(tmp_path / "b.pth", architecture=rn.Conv1d(4, 2, 3)(flat))


@pytest.mark.zoo
def test_dtln_from_weights_alone(zoo: Path) -> None:
    """The published noise suppressor: both halves described over its weights, against torch."""
    pytest.importorskip("pyfive", reason="pyfive is not installed")
    from rnnengine.importers.keras.checkpoint import read_checkpoint

    def half(start: str, end: str, mask: str, size: int) -> Any:
        return rn.Sequential(
            rn.LSTM(units=128, name=start),
            rn.LSTM(units=128, name=end),
            rn.Dense(size, "sigmoid", name=mask),
        )

    path = zoo / "dtln" / "model.h5"
    spectrum = rn.Input(("batch", "time", 257), name="spectrum")
    frames = rn.Input(("batch", "time", 512), name="frames")
    encoded = rn.Conv1D(256, 1, use_bias=False, name="conv1d")(frames)
    even = rn.LayerNormalization(epsilon=1e-7, name="layer_normalization")(encoded)
    kept = rn.Multiply()(half("lstm_2", "lstm_3", "dense_1", 256)(even), encoded)
    decoded = rn.Conv1D(512, 1, padding="causal", use_bias=False, name="conv1d_1")(kept)
    network = {"mask": half("lstm", "lstm_1", "dense", 257)(spectrum), "frames_out": decoded}
    model = rn.load(path, architecture=network)

    stored = read_checkpoint(path.read_bytes(), "model.h5").tensors
    t = {name: torch.from_numpy(value).double() for name, value in stored.items()}

    def lstm(x: Any, name: str) -> Any:
        net = torch.nn.LSTM(x.shape[-1], 128, batch_first=True).double()
        own = {k.rpartition(".")[2]: v for k, v in t.items() if k.startswith(f"{name}.")}
        net.load_state_dict(own)
        return net(x)[0]

    def dense(x: Any, name: str) -> Any:
        return torch.sigmoid(torch.nn.functional.linear(x, t[f"{name}.weight"], t[f"{name}.bias"]))

    rng = np.random.default_rng(3)
    feeds = {
        "spectrum": np.abs(rng.normal(size=(2, 6, 257))).astype(np.float32),
        "frames": rng.normal(size=(2, 6, 512)).astype(np.float32) * 0.1,
    }
    a, b = (torch.from_numpy(v).double() for v in feeds.values())
    want = {"mask": dense(lstm(lstm(a, "lstm"), "lstm_1"), "dense")}
    code = b @ t["conv1d.weight"][:, :, 0].T
    gain, shift = t["layer_normalization.weight"], t["layer_normalization.bias"]
    normal = torch.nn.functional.layer_norm(code, (256,), gain, shift, 1e-7)
    masked = dense(lstm(lstm(normal, "lstm_2"), "lstm_3"), "dense_1") * code
    want["frames_out"] = masked @ t["conv1d_1.weight"][:, :, 0].T
    for name, value in model.run(feeds).items():
        expected = want[name].detach().numpy()
        most = 2e-6 * max(1.0, float(np.abs(expected).max()))
        assert np.abs(value - expected).max() <= most, name
