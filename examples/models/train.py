"""Train the models of this folder a little and write their files.

Run ``python examples/models/train.py``, or with the names of some of them; it needs torch, onnx,
onnxscript and keras, and takes a minute or two. Data is synthetic (``data.py``) and every seed is
fixed: the same versions on the same kind of machine give the same numbers.

Each model has its weights (``.pt`` or ``.keras``), its ONNX files, and for each of these an
``.npz`` with inputs ``x.<name>``, outputs ``y.<name>`` in float64 on the weights in the file, and
``w.<name>`` as the framework computes them in float32.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import os
import platform
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from examples.models import data, networks  # noqa: E402

SEED = 20261121
Array = npt.NDArray[Any]
Loss = Callable[[np.random.Generator], Tensor]


def fit(module: nn.Module, loss: Loss, steps: int, rate: float) -> None:
    """Minimise a loss that draws its own batch, with one thread so that sums have one order."""
    rng = np.random.default_rng(SEED)
    optimizer = torch.optim.Adam(module.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    module.train()
    for step in range(steps):
        optimizer.zero_grad()
        value = loss(rng)
        value.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % max(steps // 5, 1) == 0:
            print(f"  step {step + 1:4d}  loss {value.item():.4f}", flush=True)
    module.eval()


def fed(values: Mapping[str, Array], wide: bool) -> tuple[Tensor, ...]:
    """Inputs as tensors, floats in float64 where asked."""
    tensors = (torch.from_numpy(value) for value in values.values())
    return tuple(t.double() if wide and t.is_floating_point() else t for t in tensors)


def numbers(module: nn.Module, inputs: Mapping[str, Array], *, wide: bool) -> list[Array]:
    """Outputs of a module for arrays, in float64 or as the framework computes them."""
    with torch.no_grad():
        found = (copy.deepcopy(module).double() if wide else module)(*fed(inputs, wide))
    return [y.numpy() for y in ([found] if isinstance(found, Tensor) else found)]


def record(
    name: str, inputs: Mapping[str, Array], exact: Mapping[str, Array], witness: Mapping[str, Array]
) -> None:
    """Write inputs and expected outputs of one file."""
    arrays = {f"x.{key}": value for key, value in inputs.items()}
    arrays |= {f"y.{key}": value for key, value in exact.items()}
    arrays |= {f"w.{key}": value for key, value in witness.items()}
    save: Any = np.savez_compressed  # its stub takes the names for its own options
    save(HERE / f"{name}.npz", **arrays)


def exported(
    module: nn.Module,
    inputs: Mapping[str, Array],
    outputs: tuple[str, ...],
    free: Mapping[str, Mapping[int, str]],
    *,
    dynamo: bool,
) -> Any:
    """The ONNX model of one of torch's two exporters."""
    names = {"input_names": list(inputs), "output_names": list(outputs)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not dynamo:
            file = io.BytesIO()
            axes = {key: dict(value) for key, value in free.items()} | {
                key: {i: f"{key}_{i}" for i in range(2)} for key in outputs
            }
            torch.onnx.export(
                module, fed(inputs, False), file, dynamo=False, dynamic_axes=axes, **names
            )
            return onnx.load_from_string(file.getvalue())
        sizes = {size: torch.export.Dim(size) for axes in free.values() for size in axes.values()}
        shapes = tuple({axis: sizes[s] for axis, s in free.get(key, {}).items()} for key in inputs)
        return torch.onnx.export(
            module,
            fed(inputs, False),
            dynamo=True,
            verbose=False,
            dynamic_shapes=shapes,
            **names,
        ).model_proto


def write(
    name: str,
    module: nn.Module,
    inputs: Mapping[str, Array],
    outputs: tuple[str, ...],
    free: Mapping[str, Mapping[int, str]],
    *,
    dynamo: bool = True,
) -> None:
    """Write a module as ONNX, its free sizes named, with expected outputs."""
    model = exported(module, inputs, outputs, free, dynamo=dynamo)
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
    exact, witness = (numbers(module, inputs, wide=wide) for wide in (True, False))
    record(
        name,
        inputs,
        dict(zip(outputs, exact, strict=True)),
        dict(zip(outputs, witness, strict=True)),
    )


def save(name: str, module: nn.Module) -> None:
    """Write the weights."""
    torch.save(module.state_dict(), HERE / f"{name}.pt")


def crnn() -> dict[str, float]:
    """The line reader: digits of short lines, by connectionist temporal classification."""
    module = networks.CRNN()

    def loss(rng: np.random.Generator) -> Tensor:
        images, labels = data.lines(rng, 32, int(rng.integers(1, 5)))
        scores = module(torch.from_numpy(images))
        steps = torch.full((len(images),), len(scores))
        lengths = torch.full((len(images),), labels.shape[1])
        return F.ctc_loss(scores, torch.from_numpy(labels + 1), steps, lengths)

    fit(module, loss, 2000, 8e-3)
    save("crnn", module)
    images, labels = data.lines(np.random.default_rng(SEED + 1), 200, 4)
    (scores,) = numbers(module, {"image": images}, wide=False)
    right = [
        greedy(row) == list(line) for row, line in zip(scores.swapaxes(0, 1), labels, strict=True)
    ]
    # The newer exporter takes no recurrent layer over a number of steps that it divides.
    free = {"image": {0: "batch", 3: "width"}}
    write("crnn", module, {"image": images[:4]}, ("scores",), free, dynamo=False)
    return {"lines read without error": float(np.mean(right))}


def greedy(scores: Array) -> list[int]:
    """Digits of the best path [T, 11]: repetitions count once, the blank 0 not at all."""
    best = scores.argmax(axis=-1)
    return [
        int(c) - 1 for c, before in zip(best, [0, *best[:-1]], strict=True) if c not in (0, before)
    ]


def translate(module: nn.Module, steps: int) -> dict[str, float]:
    """Train a translator to write sentences backwards; return how many words are right."""

    def scores(rng: np.random.Generator, count: int, longest: int) -> tuple[Tensor, Tensor]:
        tokens, lengths, answers = (
            torch.from_numpy(v) for v in data.sentences(rng, count, longest)
        )
        return module(tokens, lengths, answers[:, :-1]), answers[:, 1:]

    def loss(rng: np.random.Generator) -> Tensor:
        logits, wanted = scores(rng, 64, int(rng.integers(3, 8)))
        return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=0)

    fit(module, loss, steps, 1.5e-2)
    with torch.no_grad():
        logits, wanted = scores(np.random.default_rng(SEED + 1), 200, 7)
    right = (logits.argmax(-1) == wanted)[wanted != 0]
    return {"words right after the true ones": float(right.float().mean())}


def additive() -> dict[str, float]:
    """Sequence to sequence with additive attention."""
    module = networks.AdditiveTranslator()
    card = translate(module, 500)
    save("additive", module)
    tokens, lengths, answers = data.sentences(np.random.default_rng(SEED + 2), 3, 7)
    tokens[:] = np.where(tokens, tokens, 2)  # the encoder's file is fed with whole rows
    free = {"tokens": {0: "batch", 1: "source"}}
    write("additive_encoder", module.encoder, {"tokens": tokens}, ("memory", "state"), free)
    memory, state = numbers(module.encoder, {"tokens": tokens}, wide=False)
    valid = np.arange(7) < lengths[:, None]
    inputs = {"token": answers[:, 1], "state": state, "memory": memory, "valid": valid}
    free = {"token": {0: "batch"}, "state": {0: "batch"}}
    free |= {"memory": {0: "batch", 1: "source"}, "valid": {0: "batch", 1: "source"}}
    write("additive_decoder", module.decoder, inputs, ("logits", "next", "attention"), free)
    return card


def dot() -> dict[str, float]:
    """Sequence to sequence with dot-product attention."""
    module = networks.DotTranslator()
    card = translate(module, 500)
    save("dot", module)
    tokens, lengths, answers = data.sentences(np.random.default_rng(SEED + 3), 3, 7)
    tokens[:] = np.where(tokens, tokens, 2)
    free = {"tokens": {0: "batch", 1: "source"}}
    write("dot_encoder", module.encoder, {"tokens": tokens}, ("memory", "h", "c"), free)
    memory, h, c = numbers(module.encoder, {"tokens": tokens}, wide=False)
    valid = np.arange(7) < lengths[:, None]
    inputs = {"token": answers[:, 1], "fed": np.tanh(memory[:, 0]), "h": h, "c": c}
    inputs |= {"memory": memory, "valid": valid}
    free = {"token": {0: "batch"}, "fed": {0: "batch"}, "h": {1: "batch"}, "c": {1: "batch"}}
    free |= {"memory": {0: "batch", 1: "source"}, "valid": {0: "batch", 1: "source"}}
    write("dot_decoder", module.decoder, inputs, ("logits", "fed_next", "h_next", "c_next"), free)
    return card


def forecaster() -> dict[str, float]:
    """Six hours ahead, after every hour."""
    module = networks.Forecaster()

    def scores(rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        series = data.loads(rng, count, 54)
        ahead = np.lib.stride_tricks.sliding_window_view(series[:, 1:, 0], 6, axis=1)
        return module(torch.from_numpy(series[:, :48])), torch.from_numpy(ahead[:, :48].copy())

    fit(module, lambda rng: F.l1_loss(*scores(rng, 32)), 250, 1e-2)
    save("forecaster", module)
    with torch.no_grad():
        found, wanted = scores(np.random.default_rng(SEED + 1), 100)
    series = data.loads(np.random.default_rng(SEED + 2), 3, 48)
    free = {"series": {0: "batch", 1: "time"}}
    write("forecaster", module, {"series": series}, ("forecast",), free)
    return {"mean absolute error": float(F.l1_loss(found[:, 24:], wanted[:, 24:]))}


def deepar() -> dict[str, float]:
    """The distribution of the next hour's load."""
    module = networks.DeepAR()

    def loss(rng: np.random.Generator, count: int = 32) -> Tensor:
        series = torch.from_numpy(data.loads(rng, count, 49))
        value, known = series[..., :1], series[..., 2:]
        mean, deviation = module(value[:, :-1], known[:, 1:])
        return F.gaussian_nll_loss(mean, value[:, 1:], deviation**2)

    fit(module, loss, 250, 1e-2)
    save("deepar", module)
    with torch.no_grad():
        likelihood = -float(loss(np.random.default_rng(SEED + 1), 100))
    series = data.loads(np.random.default_rng(SEED + 2), 3, 49)
    inputs = {"last": series[:, :-1, :1].copy(), "known": series[:, 1:, 2:].copy()}
    free = {"last": {0: "batch", 1: "time"}, "known": {0: "batch", 1: "time"}}
    write("deepar", module, inputs, ("mean", "deviation"), free)
    return {"log-likelihood of an hour": likelihood}


def classifier() -> dict[str, float]:
    """Words in four classes: a Keras model of convolutions over a bidirectional LSTM."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    keras.utils.set_random_seed(SEED)
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32", name="letters"),
            keras.layers.Embedding(data.LETTERS, 8, name="embedding"),
            keras.layers.Conv1D(12, 3, padding="same", activation="relu", name="conv"),
            keras.layers.Dropout(0.1, name="dropout"),
            keras.layers.Bidirectional(keras.layers.LSTM(10), name="both"),
            keras.layers.Dense(4, activation="softmax", name="classes"),
        ],
        name="classifier",
    )
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    rng = np.random.default_rng(SEED)
    model.fit(*data.words(rng, 2048, 16), batch_size=64, epochs=8, verbose=0)
    x, classes = data.words(np.random.default_rng(SEED + 1), 300, 16)
    right = model.predict(x, verbose=0).argmax(-1) == classes
    plain = keras.Sequential.from_config(model.get_config())  # without the optimizer's numbers
    plain.set_weights(model.get_weights())
    plain.save(HERE / "classifier.keras")
    plain.save_weights(HERE / "classifier.weights.h5")
    undated(HERE / "classifier.keras")
    keras.config.set_dtype_policy("float64")
    keras.config.set_floatx("float64")
    wide = keras.Sequential.from_config(
        json.loads(json.dumps(model.get_config()).replace('"float32"', '"float64"'))
    )
    wide.set_weights(model.get_weights())
    exact = wide.predict(x[:6], verbose=0)
    assert exact.dtype == np.float64
    record(
        "classifier",
        {"letters": x[:6]},
        {"classes": exact},
        {"classes": plain.predict(x[:6], verbose=0)},
    )
    return {"words in their class": float(right.mean())}


def undated(path: Path) -> None:
    """Write an archive again without the time at which it was made."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    metadata = json.loads(members["metadata.json"])
    members["metadata.json"] = json.dumps(metadata | {"date_saved": "1980-01-01@00:00:00"}).encode()
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)


MODELS = (crnn, additive, dot, forecaster, deepar, classifier)


def main() -> None:
    """Train all models, or those that are named, and write the card."""
    parser = argparse.ArgumentParser(description="train the models of this folder")
    parser.add_argument("names", nargs="*", help="crnn, additive, ...; all by default")
    wanted = parser.parse_args().names
    path = HERE / "card.json"
    card = json.loads(path.read_text(encoding="utf-8"))["models"] if path.exists() else {}
    torch.set_num_threads(1)
    for make in MODELS:
        name = make.__name__
        if wanted and name not in wanted:
            continue
        print(name)
        torch.manual_seed(SEED)
        start = time.process_time()
        found = {key: round(value, 4) for key, value in make().items()}
        print(f"  {found} in {time.process_time() - start:.0f} s of processor time")
        card[name] = found
    packages = ("numpy", "torch", "onnx", "onnxscript", "keras")
    versions = {"python": platform.python_version()} | {name: version(name) for name in packages}
    text = json.dumps({"seed": SEED, "versions": versions, "models": card}, indent=2)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
