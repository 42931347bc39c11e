"""Whole trained networks by every way to open them, against the frameworks they come from."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from example_models import HERE, PARTS, answers, close, outputs, part, recorded, source, whole

Array = np.ndarray[Any, Any]

pytestmark = pytest.mark.filterwarnings("ignore")

FILES = [*PARTS, "classifier"]
SUFFIX = {"classifier": ".keras"}


def path_of(name: str) -> Any:
    return HERE / f"{name}{SUFFIX.get(name, '.onnx')}"


@pytest.mark.parametrize("name", FILES)
def test_files(name: str, isa: str) -> None:
    """The committed file, its float64 values, and what its framework computed in float32."""
    pytest.importorskip("pyfive" if name in SUFFIX else "onnx")
    found = outputs(rn.load(path_of(name)), recorded(name, "x"))
    close(found, list(recorded(name, "y").values()))
    for ours, theirs in zip(found, recorded(name, "w").values(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_files_are_small() -> None:
    assert max(path.stat().st_size for path in HERE.iterdir() if path.is_file()) <= 50_000


def other_inputs(name: str) -> dict[str, Array]:
    """Inputs of another batch and length than those recorded."""
    rng = np.random.default_rng(5)
    if name == "crnn":
        return {"image": source("data").lines(rng, 2, 3)[0][..., :-3]}  # no multiple of four
    made: dict[str, Array] = {}
    for key, value in recorded(name, "x").items():
        batch = 1 if key in ("h", "c") else 0
        shape = [5 if i == batch else n + 2 * (n > 3 and 0 < i < value.ndim - 1) for i, n in
                 enumerate(value.shape)]  # fmt: skip
        if key in ("tokens", "valid"):
            shape = [5, value.shape[1] + 2]
        if value.dtype == np.int64:
            made[key] = rng.integers(1, 12, shape)
        elif value.dtype == np.bool_:
            made[key] = rng.random(shape) < 0.7
            made[key][:, 0] = True
        else:
            made[key] = (0.5 * rng.standard_normal(shape)).astype(np.float32)
    return made


@pytest.mark.parametrize("name", PARTS)
def test_live_modules_and_exported_programs(name: str) -> None:
    """Sizes of a live module stay open; a .pt2 file has those it was exported with."""
    torch = pytest.importorskip("torch")
    module, wide = part(name), part(name, wide=True)
    inputs = recorded(name, "x")
    tensors = tuple(torch.from_numpy(x) for x in inputs.values())
    exact = list(recorded(name, "y").values())
    live = rn.from_torch(module, tensors)
    close(outputs(live, inputs), exact)
    # PyTorch limits the width to images that leave a column; the importer then keeps the example's.
    other = {"image": inputs["image"][:2]} if name == "crnn" else other_inputs(name)
    close(outputs(live, other), answers(wide, other))
    file = io.BytesIO()
    torch.export.save(torch.export.export(module, tensors), file)
    close(outputs(rn.load(file.getvalue()), inputs), exact)


@pytest.mark.parametrize("name", PARTS)
def test_onnx_files_at_other_sizes(name: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    other = other_inputs(name)
    close(outputs(rn.load(path_of(name)), other), answers(part(name, wide=True), other))


@pytest.mark.parametrize("name", ["additive_decoder", "dot_decoder", "forecaster"])
def test_files_of_the_older_exporter(name: str) -> None:
    """The committed files but one come from the newer one; sizes are written down here."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    inputs = recorded(name, "x")
    file = io.BytesIO()
    tensors = tuple(torch.from_numpy(x) for x in inputs.values())
    torch.onnx.export(part(name), tensors, file, dynamo=False)
    model = rn.load(file.getvalue())
    close(outputs(model, inputs), list(recorded(name, "y").values()))


def residual_forecaster() -> Any:
    """The forecaster in the engine's words."""
    y = rn.Linear(4, 20, name="entry")(rn.Input(("batch", "time", 4), name="series"))
    for block in ("blocks.0", "blocks.1"):
        normal = rn.LayerNorm(20, name=f"{block}.norm1")(y)
        run = rn.GRU(20, 20, batch_first=True, name=f"{block}.gru")(normal)
        y = rn.Add()(y, rn.Linear(20, 20, name=f"{block}.mix")(run))
        normal = rn.LayerNorm(20, name=f"{block}.norm2")(y)
        wide = rn.GELU()(rn.Linear(20, 32, name=f"{block}.up")(normal))
        y = rn.Add()(y, rn.Linear(32, 20, name=f"{block}.down")(wide))
    return rn.Linear(20, 6, name="head")(rn.LayerNorm(20, name="norm")(y))


def dot_encoder() -> Any:
    tokens = rn.Input(("batch", "source"), "int32", name="tokens")
    words = rn.Embedding(12, 8, name="embedding")(tokens)
    memory = rn.LSTM(8, 24, batch_first=True, name="lstm")(words)
    return {"memory": memory, "h": memory.h_n, "c": memory.c_n}


def test_weights_and_a_description() -> None:
    """A checkpoint has no graph: the engine's words say it."""
    for weights, name, words in (
        ("forecaster.pt", "forecaster", {"architecture": residual_forecaster()}),
        ("dot.pt", "dot_encoder", {"architecture": dot_encoder(), "prefix": "encoder"}),
    ):
        model = rn.load(HERE / weights, **words)
        close(outputs(model, recorded(name, "x")), list(recorded(name, "y").values()))

    last, known = (rn.Input(("batch", "time", n), name=s) for n, s in ((1, "last"), (2, "known")))
    y = rn.LSTM(3, 20, num_layers=2, batch_first=True, name="lstm")(rn.Concatenate()(last, known))
    spread = rn.Softplus()(rn.Linear(20, 1, name="deviation")(y))
    both = {"mean": rn.Linear(20, 1, name="mean")(y), "deviation": spread}
    mean, deviation = outputs(
        rn.load(HERE / "deepar.pt", architecture=both), recorded("deepar", "x")
    )
    close([mean, deviation + np.float32(1e-3)], list(recorded("deepar", "y").values()))


def test_weights_of_keras_and_a_description() -> None:
    pytest.importorskip("pyfive")
    network = rn.Sequential(
        rn.Embedding(20, 8, name="embedding"),
        rn.Conv1D(12, 3, padding="same", activation="relu", name="conv"),
        rn.LSTM(units=10, bidirectional=True, return_sequences=False, name="both"),
        rn.Dense(4, "softmax", name="classes"),
    )
    model = rn.load(HERE / "classifier.weights.h5", architecture=network)
    close(outputs(model, recorded("classifier", "x")), list(recorded("classifier", "y").values()))


def test_the_classifier_against_keras() -> None:
    """Other words than those recorded, of other lengths."""
    keras = pytest.importorskip("keras")
    pytest.importorskip("pyfive")
    theirs, ours = keras.saving.load_model(path_of("classifier")), rn.load(path_of("classifier"))
    for length in (8, 16, 31):
        x, classes = source("data").words(np.random.default_rng(length), 20, length)
        found = ours.run(x)
        np.testing.assert_allclose(found, theirs.predict(x, verbose=0), rtol=0, atol=1e-5)
    assert np.mean(found.argmax(-1) == classes) > 0.8


def test_the_recurrent_part_of_the_line_reader_alone() -> None:
    """The words have no convolution over images; its recurrent layers are one of the checkpoint."""
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((9, 2, 24)).astype(np.float32)
    with torch.no_grad():
        y, (h, c) = part("crnn", wide=True).rnn(torch.from_numpy(x).double())
    found = outputs(rn.load(HERE / "crnn.pt", layer="rnn"), {"x": x})
    close(found, [y.numpy(), h.numpy(), c.numpy()])


@pytest.mark.parametrize("name", ["additive", "dot"])
def test_encoders_of_rows_of_different_lengths(name: str) -> None:
    """``lengths=`` is PyTorch's packed sequence: the states of a row are those of its last word."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    tokens, lengths, _ = source("data").sentences(np.random.default_rng(3), 6, 9)
    with torch.no_grad():
        encoder = part(f"{name}_encoder", wide=True)
        exact = [y.numpy() for y in encoder(torch.from_numpy(tokens), torch.from_numpy(lengths))]
    model = rn.load(path_of(f"{name}_encoder"))
    close(outputs(model, {"tokens": tokens}, lengths=lengths), exact)


def test_translation_with_attention() -> None:
    """Encoder over padded rows, decoder as a stream, the best word fed back: word for word."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    rng = np.random.default_rng(4)
    tokens, lengths, answers_ = source("data").sentences(rng, 20, 7)
    valid = tokens != 0
    for name, of in (("additive", "AdditiveTranslator"), ("dot", "DotTranslator")):
        encoder, decoder = (rn.load(path_of(f"{name}_{s}")) for s in ("encoder", "decoder"))
        memory, *states = encoder.run(tokens, lengths=lengths).values()
        stream = decoder.stream(batch=20)
        names = ["state"] if name == "additive" else ["h", "c"]
        assert set(stream.state) >= set(names)
        stream.state = {**stream.state, **dict(zip(names, states, strict=True))}
        word, logits = np.ones(20, np.int64), []
        for _ in range(8):
            logits.append(
                stream.step({"token": word, "memory": memory, "valid": valid})["logits"]
                if name == "additive"
                else stream.step({"token": word, "memory": memory, "valid": valid})
            )
            word = logits[-1].argmax(-1)
        words = np.stack(logits, 1).argmax(-1)
        fed = np.concatenate([np.ones((20, 1), np.int64), words[:, :-1]], 1)
        with torch.no_grad():
            given = (torch.from_numpy(v) for v in (tokens, lengths, fed))
            exact = whole(name, of, wide=True)(*given).numpy()
        # Eight steps, each on the attention of the last: the bound of one, eight times.
        scale = max(1.0, float(np.abs(exact).max()))
        np.testing.assert_allclose(np.stack(logits, 1), exact, rtol=0, atol=1e-5 * scale)
        assert np.array_equal(words, exact.argmax(-1))
        meant = answers_[:, 1:]
        assert np.mean(words[meant != 0] == meant[meant != 0]) > 0.8


def test_a_decoder_ignores_what_is_not_valid() -> None:
    """Bits of a row do not depend on how far its memory is padded, nor with what."""
    pytest.importorskip("onnx")
    for name in ("additive_decoder", "dot_decoder"):
        model, inputs = rn.load(path_of(name)), recorded(name, "x")
        wider = dict(inputs)
        wider["memory"] = np.pad(inputs["memory"], ((0, 0), (0, 4), (0, 0)), constant_values=3)
        wider["valid"] = np.pad(inputs["valid"], ((0, 0), (0, 4)))
        for ours, padded in zip(outputs(model, inputs), outputs(model, wider), strict=True):
            np.testing.assert_allclose(padded[:, : ours.shape[1]], ours, rtol=0, atol=1e-6)


def test_sampling_from_the_forecast() -> None:
    """A hundred futures of two series: values fed back, the draws the same on both sides."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    module = part("deepar", wide=True)
    model = rn.load(path_of("deepar"))
    series = source("data").loads(np.random.default_rng(6), 2, 60).repeat(50, axis=0)
    value, known = series[..., :1].copy(), series[..., 2:].copy()
    draws = np.random.default_rng(7).standard_normal((12, 100, 1))

    stream = model.stream(batch=100)
    stream.step({"last": value[:, :46], "known": known[:, 1:47]})
    last = value[:, 46]
    ours = []
    for t, draw in enumerate(draws, 47):
        found = stream.step({"last": last, "known": known[:, t]})
        last = (found["mean"] + found["deviation"] * draw).astype(np.float32)
        ours.append(last)

    with torch.no_grad():
        feed = torch.from_numpy(known).double()
        past = torch.from_numpy(value).double()
        _, state = module.lstm(torch.cat([past[:, :46], feed[:, 1:47]], -1))
        now = past[:, 46:47]
        theirs = []
        for t, draw in enumerate(draws, 47):
            y, state = module.lstm(torch.cat([now, feed[:, t : t + 1]], -1), state)
            spread = torch.nn.functional.softplus(module.deviation(y)) + 1e-3
            now = module.mean(y) + spread * torch.from_numpy(draw)[:, None]
            theirs.append(now[:, 0].numpy())
    scale = max(1.0, float(np.abs(theirs).max()))
    np.testing.assert_allclose(np.stack(ours), np.stack(theirs), rtol=0, atol=1e-5 * scale)
    assert len(np.unique(ours[-1])) > 90


def test_lines_are_read(isa: str) -> None:
    """Best paths of lines of several widths, as PyTorch finds them; most are the digits drawn."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    module, model = part("crnn", wide=True), rn.load(path_of("crnn"))
    rng, right = np.random.default_rng(8), 0
    for digits in (2, 4, 5):
        images, labels = source("data").lines(rng, 10, digits)
        scores = model.run(images)
        with torch.no_grad():
            exact = module(torch.from_numpy(images).double()).numpy()
        close([scores], [exact])
        assert np.array_equal(scores.argmax(-1), exact.argmax(-1))
        for best, line in zip(scores.argmax(-1).T, labels, strict=True):
            changed = np.append(True, best[1:] != best[:-1])
            right += best[changed & (best != 0)].tolist() == (line + 1).tolist()
    assert right >= 27
