"""Files of the engine's own: the same bits after a round trip, and nothing but typed refusals."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from cases import case
from engine import load, run, same_bits
from rnnengine.importers.native import KEY, pack, unpack
from rnnengine.importers.safetensors import parse

Array = np.ndarray[Any, Any]


def layer(hidden: int = 5, inputs: int = 3, **words: Any) -> rn.Model:
    rng = np.random.default_rng(0)
    shapes = {"weight_ih_l0": (4 * hidden, inputs), "weight_hh_l0": (4 * hidden, hidden),
              "bias_ih_l0": (4 * hidden,), "bias_hh_l0": (4 * hidden,)}  # fmt: skip
    file = io.BytesIO()
    np.savez(file, **{k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()})
    net = rn.Sequential(rn.LSTM(inputs, hidden, batch_first=True, **words), rn.Tanh())
    return rn.load(file.getvalue(), architecture=net)


def packed(model: rn.Model) -> bytes:
    return pack(model.portable_graph())


def test_generated_cases_keep_their_bits() -> None:
    from rnnengine._c import cpu

    tables = cpu.available()
    for seed in range(150):
        drawn, isa = case(seed), tables[seed % len(tables)]
        model = load(drawn, isa)
        with cpu.use(isa):
            again = rn.load(packed(model))
        assert repr(again) == repr(model), str(drawn)
        assert same_bits(run(again, drawn.feeds), run(model, drawn.feeds)), str(drawn)


def test_single_operators_keep_their_bits() -> None:
    pytest.importorskip("onnx")
    from oracle import forms

    tried = 0
    for form in forms.UNARY:
        content, feeds = forms.model(form, form.opsets[-1], 0)
        try:
            model = rn.load(content)
        except rn.UnsupportedModelError:
            continue
        assert same_bits(run(rn.load(packed(model)), feeds), run(model, feeds)), str(form)
        tried += 1
    assert tried > 10


@pytest.mark.zoo
def test_published_models_keep_their_bits_and_their_streams(zoo: Path) -> None:
    for path in sorted(zoo.glob("**/*.onnx")):
        try:
            model = rn.load(path)
        except rn.RNNEngineError:
            continue
        again = rn.load(packed(model))
        assert repr(again) == repr(model), path
        shapes = {
            i.name: (i.dtype, [s if isinstance(s, int) else 2 for s in i.shape])
            for i in model.inputs
        }
        rng = np.random.default_rng(0)
        feeds = {n: rng.standard_normal(s).astype(d) for n, (d, s) in shapes.items()}
        assert same_bits(run(again, feeds), run(model, feeds)), path


def test_streams_go_on_alike() -> None:
    model = layer()
    again = rn.load(packed(model))
    x = np.random.default_rng(1).standard_normal((2, 6, 3)).astype(np.float32)
    streams = model.stream(batch=2), again.stream(batch=2)
    for t in range(6):
        one, two = (s.step(x[:, t : t + 1]) for s in streams)
        np.testing.assert_array_equal(one, two)
    assert {k: v.tobytes() for k, v in streams[0].state.items()} == {
        k: v.tobytes() for k, v in streams[1].state.items()
    }


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    from safetensors import safe_open

    model = layer()
    path = tmp_path / "m.rnne"
    rn.save(model, path, origin={"file": "w.npz", "framework": "npz"})
    content = path.read_bytes()
    header = parse(content, "f")
    assert header.data % 64 == 0
    assert all(p.start % 64 == 0 for k, p in header.tensors.items() if not k.startswith("_pad"))
    description = json.loads(header.metadata[KEY])
    assert description["sha256"] == hashlib.sha256(content[header.data :]).hexdigest()
    assert description["origin"] == {"file": "w.npz", "framework": "npz"}
    with safe_open(path, "np") as file:
        for name, value in model.graph.constants.items():
            if name not in description["packed"]:
                np.testing.assert_array_equal(file.get_tensor(name), value)
    assert packed(model) == pack(rn.load(path).portable_graph()), "a copy of a copy is the same"


def test_saving_replaces_nothing_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "m.rnne"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        rn.save(layer(), path)
    assert path.read_bytes() == b"precious"
    rn.save(layer(), path, overwrite=True)
    rn.load(path)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert os.listdir(tmp_path) == ["m.rnne"]


def test_a_failing_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.rnne"
    path.write_bytes(b"precious")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for target in (path, tmp_path / "new.rnne"):
        with pytest.raises(OSError, match="No space"):
            rn.save(layer(), target, overwrite=True)
    assert path.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["m.rnne"]


def test_damage_of_the_data_is_seen_where_asked() -> None:
    content = bytearray(packed(layer()))
    content[-1] ^= 1
    rn.load(bytes(content))
    with pytest.raises(rn.ModelFormatError, match="data is damaged: its sha256"):
        rn.load(bytes(content), verify=True)
    rn.load(packed(layer()), verify=True)


def rewritten(content: bytes, change: Any) -> bytes:
    """The file with its description changed; ``change`` may work in place or return another."""
    header = parse(content, "f")
    entries = json.loads(content[8 : header.data])
    description = json.loads(header.metadata[KEY])
    description = change(description) or description
    entries["__metadata__"][KEY] = json.dumps(description)
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + content[header.data :]


def test_newer_formats_and_second_descriptions_are_refused() -> None:
    content = packed(layer())
    with pytest.raises(rn.UnsupportedModelError, match="format 4, written by"):
        rn.load(rewritten(content, lambda d: d.update(format=4)))
    with pytest.raises(rn.ModelFormatError, match="format is None"):
        rn.load(rewritten(content, lambda d: d.update(format=None)))
    with pytest.raises(rn.UnsupportedModelError, match="complete"):
        rn.load(content, layer="x")
    with pytest.raises(rn.UnsupportedModelError, match="operator 'Shell'"):
        rn.load(rewritten(content, lambda d: d["graph"]["nodes"][0].__setitem__(0, "Shell")))
    with pytest.raises(rn.ModelFormatError, match="not computed before"):
        rn.load(rewritten(content, lambda d: d["graph"].update(inputs=[])))


ODD = (None, True, -1, 0, 7, 10**16, 1.5, "", "x", [], {}, [1], {"tuple": [1]}, {"dim": []},
       {"dim": [[[["batch", 1]], 1]]}, {"dim": [[[["batch", 9]], 10**15]]}, {"dtype": "int64"},
       {"array": ["float32", [1], [1]]}, {"activation": ["relu", 0, 0, 0]}, {"float": "nan"},
       {"tuple": [{"tuple": [-3, 0]}, "x"]}, {"what": 1}, [[[[]]]])  # fmt: skip


def places(value: Any, trail: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if trail:
        yield trail
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(
        value, list) else ()  # fmt: skip
    for key, inner in items:
        yield from places(inner, (*trail, key))


def test_any_change_of_the_description_is_refused_or_means_something() -> None:
    """Never another exception than those of the engine, and never a crash while it runs."""
    content = packed(layer(bidirectional=False))
    original = json.loads(parse(content, "f").metadata[KEY])
    where = list(places(original))
    draw = random.Random(0)
    refused = 0
    for _ in range(1500):
        changed = copy.deepcopy(original)
        for _ in range(draw.choice((1, 1, 1, 2))):
            *trail, last = draw.choice(where)
            target: Any = changed
            try:
                for key in trail:
                    target = target[key]
                target[last] = copy.deepcopy(draw.choice(ODD))
            except (KeyError, IndexError, TypeError):
                continue
        try:
            model = rn.load(rewritten(content, lambda _, new=changed: new))
            shape = [s if isinstance(s, int) else 2 for s in model.inputs[0].shape]
            if np.prod(shape, dtype=float) < 1e6:
                model.run(np.zeros(shape, model.inputs[0].dtype))
        except (rn.RNNEngineError, TypeError):
            refused += 1
    assert refused > 1000


def test_any_changed_byte_of_the_header_is_refused_or_means_something() -> None:
    content = packed(layer())
    end = parse(content, "f").data
    draw = random.Random(0)
    for _ in range(1500):
        changed = bytearray(content)
        for _ in range(draw.choice((1, 1, 3))):
            changed[draw.randrange(end)] = draw.choice(b'{}[],:"0123456789 \x00\xff\\aFu')
        with contextlib.suppress(rn.RNNEngineError):
            rn.load(bytes(changed))
    for cut in range(0, len(content), 97):
        with pytest.raises(rn.RNNEngineError):
            rn.load(content[:cut])


def test_values_that_no_attribute_has_are_not_unpacked() -> None:
    for value in ([], {}, {"tuple": 1, "dim": 2}, {"activation": ["evil", 0, 0, 0]},
                  {"dim": [[[["b", 0]], 1]]}, {"dim": [[[], 3]]}, {"dtype": "object"},
                  {"array": ["float32", [3], [1]]}):  # fmt: skip
        with pytest.raises((TypeError, ValueError, KeyError)):
            unpack(value)
