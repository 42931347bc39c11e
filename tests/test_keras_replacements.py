"""Lambda and custom layers: refused by name, or computed by what the caller says they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from keras_models import built, feed, saved
from rnnengine.errors import RNNEngineError, UnsupportedModelError
from rnnengine.graph import Graph
from rnnengine.model import Model
from rnnengine.ops import evaluate

pytest.importorskip("pyfive", reason="pyfive is not installed")
pytest.importorskip("h5py", reason="h5py is not installed")
keras = pytest.importorskip("keras", reason="keras is not installed")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:keras"),
    pytest.mark.filterwarnings("ignore::UserWarning:keras"),
]

CONTAINERS = ("keras", "h5", "weights.h5")


@keras.saving.register_keras_serializable(package="mine")
class WeightedAverage(keras.layers.Layer):
    """Sum over time of x softmax(x w), as textgenrnn has it: masked steps weigh nothing."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, shape: Any) -> None:
        self.w = self.add_weight(shape=(shape[-1], 1), name="w")

    def call(self, x: Any, mask: Any = None) -> Any:
        logits = keras.ops.matmul(x, self.w)
        parts = keras.ops.exp(logits - keras.ops.max(logits, axis=1, keepdims=True))
        if mask is not None:
            parts = parts * keras.ops.cast(mask, "float32")[..., None]
        total = keras.ops.sum(parts, axis=1, keepdims=True) + 1e-7
        return keras.ops.sum(x * parts / total, axis=1)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002
        return None

    def compute_output_shape(self, shape: Any) -> Any:
        return (shape[0], shape[-1])


@keras.saving.register_keras_serializable(package="mine")
class Scaled(keras.layers.Layer):
    """A projection and a gain, in two layers inside and a weight of its own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = keras.layers.Dense(3, name="inner")

    def build(self, shape: Any) -> None:
        self.gain = self.add_weight(shape=(3,), name="gain")
        self.inner.build(shape)

    def call(self, x: Any) -> Any:
        return self.inner(x) * self.gain


def weighted_average(layer: rn.LayerCall, x: rn.Value) -> rn.Value:
    (w,) = layer.weights
    logits = layer.op("MatMul", x, w)
    top = layer.op("ReduceMax", logits, axes=(1,), keepdims=True)
    parts = layer.op("Exp", layer.op("Sub", logits, top))
    if x.mask is not None:
        keep = layer.op("Unsqueeze", layer.op("Cast", x.mask, to=np.float32), axes=(2,))
        parts = layer.op("Mul", parts, keep)
    total = layer.op("Add", layer.op("ReduceSum", parts, axes=(1,), keepdims=True), 1e-7)
    share = layer.op("Div", layer.op("Mul", x, parts), total)
    result: rn.Value = layer.op("ReduceSum", share, axes=[1], keepdims=False)
    return result


def scaled(layer: rn.LayerCall, x: rn.Value) -> rn.Value:
    assert layer.config["trainable"] is True
    gain, kernel, bias = layer.weights
    product = layer.op("Add", layer.op("MatMul", x, kernel), bias)
    return layer.op("Mul", product, gain).masked(x.mask)  # type: ignore[no-any-return]


def agree(graph: Graph, net: Any, feeds: dict[str, Any]) -> None:
    want = net.predict_on_batch(next(iter(feeds.values())))
    (got,) = evaluate(graph, feeds).values()
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(Model(graph).run(feeds), got, rtol=1e-5, atol=1e-6)


def textgenrnn() -> Any:
    """Embedding, two recurrent layers, what they saw side by side, the weighted average of that."""
    from keras import layers as k

    ids = keras.Input((None,), name="ids", dtype="int32")
    x = k.Embedding(6, 4, mask_zero=True)(ids)
    a = k.Bidirectional(k.LSTM(3, return_sequences=True))(x)
    b = k.LSTM(5, return_sequences=True)(a)
    seen = k.Concatenate()([x, a, b])
    return keras.Model(ids, k.Dense(3)(WeightedAverage(name="attention")(seen)))


@pytest.mark.parametrize("key", ["attention", "WeightedAverage", "mine>WeightedAverage"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_function_for_a_custom_layer(container: str, key: str, tmp_path: Path) -> None:
    net = built(textgenrnn)
    feeds = feed(net)
    graph = saved(net, container, tmp_path, {key: weighted_average})
    feeds["ids"][:, 3] = 2
    agree(graph, net, feeds)
    assert "attention.reducesum" in {n.outputs[0] for n in graph.nodes}


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_description_for_a_custom_layer(container: str, tmp_path: Path) -> None:
    """Dense under another name: torch's words find its weights."""
    from keras import layers as k

    @keras.saving.register_keras_serializable(package="mine")
    class Projection(k.Dense):  # type: ignore[misc, name-defined]
        pass

    x = keras.Input((None, 3), name="x")
    net = built(lambda: keras.Sequential([x, k.GRU(4, return_sequences=True), Projection(2)]))
    graph = saved(net, container, tmp_path, {"Projection": rn.Dense(2)})
    agree(graph, net, feed(net))
    with pytest.raises(UnsupportedModelError, match="Projection"):
        saved(net, container, tmp_path, None)


@pytest.mark.parametrize("container", CONTAINERS)
def test_custom_layers_in_networks(container: str, tmp_path: Path) -> None:
    """Weights of layers inside a layer, in a network inside a network."""
    from keras import layers as k

    def flat() -> Any:
        inner = keras.Sequential(
            [keras.Input((5, 3)), k.Dense(4), Scaled(name="gained"), k.Dense(2, name="after")],
            name="inner",
        )
        return keras.Sequential([keras.Input((5, 3), name="x"), inner, k.GRU(2)], name="outer")

    net = built(flat)
    graph = saved(net, container, tmp_path, {"gained": scaled})
    agree(graph, net, feed(net))


@pytest.mark.parametrize("container", ["keras", "h5"])
def test_lambda_is_never_run(container: str, tmp_path: Path) -> None:
    from keras import layers as k

    layers = [k.GRU(4), k.Lambda(lambda x: x * 2.0 + 1.0, name="twice"), k.Dense(2)]
    net = built(lambda: keras.Sequential([keras.Input((None, 3), name="x"), *layers]))
    with pytest.raises(UnsupportedModelError, match=r"layer 'twice' is of class 'Lambda'.*code.*"):
        saved(net, container, tmp_path, None)

    def twice(layer: rn.LayerCall, x: rn.Value) -> rn.Value:
        assert layer.weights == () and layer.kind == "Lambda" and layer.name == "twice"
        result: rn.Value = layer.op("Add", layer.op("Mul", x, 2.0), np.array([1.0]))
        return result

    agree(saved(net, container, tmp_path, {"twice": twice}), net, feed(net))
    model = rn.load(tmp_path / f"model.{container}", replacements={"Lambda": twice})
    assert model.run(np.zeros((2, 3, 3), np.float32)).shape == (2, 2)


def test_wrong_replacements_are_named(tmp_path: Path) -> None:
    from keras import layers as k

    layers = [k.GRU(4), k.Lambda(lambda x: x, name="odd")]
    net = built(lambda: keras.Sequential([keras.Input((None, 3), name="x"), *layers]))
    path = tmp_path / "a.keras"
    net.save(path)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"od": rn.Identity()}, "layer 'odd' is of class 'Lambda', which is not"),
        ({"odd": rn.Identity(), "Other": rn.Identity()}, "replacements names 'Other'"),
        ({"odd": rn.Linear(4, 2)}, "layer 'odd' .Lambda.*nothing fits"),
        ({"odd": rn.Add()}, "layer 'odd' .Lambda.*takes 2 to"),
        ({"odd": lambda call, x: 3}, "its replacement used 3; expected a value"),
        ({"odd": lambda call, x: call.op("Nonsense", x)}, "its replacement: .*'Nonsense'"),
        ({"odd": lambda call, x: call.op("Transpose", x, perm=7)}, "its replacement"),
        ({"odd": lambda call, x: x.masked(x)}, "returned the mask float32"),
    ]
    for given, message in wrong:
        with pytest.raises(RNNEngineError, match=message) as caught:
            rn.load(path, replacements=given)
        assert str(path) in str(caught.value)
    with pytest.raises(UnsupportedModelError, match="a file of weights takes no replacements"):
        np.savez(tmp_path / "a.npz", a=np.zeros(3))
        rn.load(tmp_path / "a.npz", replacements={"odd": rn.Identity()}, layer="x")
