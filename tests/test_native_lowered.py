"""Weights of fewer bytes in ``.rnne`` files: read as they lie, proven, mapped; and exported."""

from __future__ import annotations

import contextlib
import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from rnnengine.graph import Graph, LoweredMatrix, Packing, as_lowered
from rnnengine.graph.lowered import COMPUTE_TYPES, from_codes
from rnnengine.importers import load_graph
from rnnengine.importers.native import KEY, pack
from rnnengine.importers.safetensors import parse
from rnnengine.ops import evaluate
from test_lower import Loaded, network, written
from test_native import ODD, places

Array = np.ndarray[Any, Any]
X = np.random.default_rng(4).standard_normal((1, 10, 9)).astype(np.float32)


def lowered(compute_type: str) -> Graph:
    return Loaded(network(), compute_type=compute_type, keep="block.lstm").graph


def same(one: LoweredMatrix, other: LoweredMatrix) -> bool:
    pairs = zip(one.blocks, other.blocks, strict=True)
    return (one.shape, one.packing) == (other.shape, other.packing) and all(
        a.compute_type == b.compute_type
        and all(
            (p is None and q is None) or (p is not None and q is not None and p.dtype == q.dtype
                                          and p.tobytes() == q.tobytes())
            for p, q in ((a.codes, b.codes), (a.scales, b.scales), (a.zeros, b.zeros))
        )
        for a, b in pairs
    )  # fmt: skip


def described(content: bytes) -> Any:
    return json.loads(parse(content, "f").metadata[KEY])


def changed(content: bytes, change: Callable[[Any], None]) -> bytes:
    header = parse(content, "f")
    entries = json.loads(content[8 : header.data])
    description = json.loads(header.metadata[KEY])
    change(description)
    entries["__metadata__"][KEY] = json.dumps(description)
    text = json.dumps(entries).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return len(text).to_bytes(8, "little") + text + content[header.data :]


@pytest.mark.parametrize("compute_type", COMPUTE_TYPES)
def test_weights_come_back_as_they_were(compute_type: str) -> None:
    graph = lowered(compute_type)
    content = pack(graph)
    assert described(content)["format"] == 3
    again = load_graph(content)
    assert again.choices == graph.choices
    assert list(again.constants) == list(graph.constants)
    for name, value in graph.constants.items():
        kept, found = as_lowered(value), as_lowered(again.constants[name])
        assert (kept is None) == (found is None)
        if kept is not None and found is not None:
            assert same(kept, found)
        else:
            np.testing.assert_array_equal(np.asarray(value), np.asarray(again.constants[name]))
    assert pack(again) == content
    assert evaluate(again, {"x": X})["y"].tobytes() == evaluate(graph, {"x": X})["y"].tobytes()


def test_zero_points_come_back() -> None:
    rng = np.random.default_rng(0)
    graph = written("steps")
    q = rng.integers(-128, 128, (1, 72, 10), np.int8)
    zeros = np.where(np.arange(72) < 48, 0, 5)[None]  # the second block alone has zero points
    for gates in ((3,), (2, 1)):
        w = from_codes(q, Packing(gates), "int8", rng.uniform(0.01, 1, (1, 72)), zeros)
        constants = {**graph.constants, "w": w, "r": graph.constants["r"]}
        again = load_graph(pack(graph.with_(constants=constants)))  # type: ignore[arg-type]
        found = as_lowered(again.constants["w"])
        assert found is not None and same(found, w.packed_as(Packing((3,))))


def test_a_model_in_float32_is_written_as_before() -> None:
    assert described(pack(Loaded(network()).graph))["format"] == 2


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("compute_type", ["bfloat16", "float16", "int8"])
def test_models_are_saved_and_loaded(compute_type: str, mapped: bool, tmp_path: Path) -> None:
    model = rn.Model(network(), compute_type=compute_type, keep="head")
    path = tmp_path / "m.rnne"
    rn.save(model, path)
    again = rn.load(path, mmap=mapped, verify=True)
    assert again.run(X).tobytes() == model.run(X).tobytes()
    assert (again.compute_type, again.choices) == (compute_type, model.choices)
    assert path.stat().st_size < (0.75 if compute_type != "int8" else 0.55) * len(
        pack(rn.Model(network()).portable_graph())
    )
    with pytest.raises(rn.UnsupportedModelError, match=f"are stored in {compute_type}; float32"):
        rn.load(path, compute_type="float32")
    shown = rn.inspect(path)
    assert shown.choices == model.choices
    assert "  computed   head: Gemm in float32 (kept)" in str(shown)


@pytest.mark.parametrize("compute_type", ["bfloat16", "int8"])
def test_a_mapped_file_is_not_copied(compute_type: str, tmp_path: Path) -> None:
    path = tmp_path / "m.rnne"
    rn.save(rn.Model(network(64), compute_type=compute_type), path)
    model = rn.load(path, mmap=True)
    model.run(X)
    lines = Path("/proc/self/smaps").read_text().splitlines()
    spans = [line.split()[0] for line in lines if line.endswith(str(path))]
    ranges = [tuple(int(n, 16) for n in span.split("-")) for span in spans]
    addresses = {
        block.codes.ctypes.data
        for value in model.graph.constants.values()
        if (kept := as_lowered(value)) is not None
        for block in kept.blocks
    }
    assert len(addresses) == 9
    assert all(any(a <= at < b for a, b in ranges) and at % 64 == 0 for at in addresses)
    used = {c.ctypes.data for c in model._form.compiled.constants}
    recurrent = {
        block.codes.ctypes.data
        for node in model.graph.nodes if node.op in ("LSTM", "GRU")
        for name in node.inputs[1:] if (kept := as_lowered(model.graph.constants.get(name or "")))
        for block in kept.blocks
    }  # fmt: skip
    assert recurrent <= used, "the program reads the mapping itself"


def _first(said: Any, compute_type: str) -> Any:
    return next(v for v in said.values() if len(v) == 8 and v[5] == compute_type and v[2] == [3])


WRONG: dict[str, tuple[Callable[[Any], None], str]] = {
    "layout": (lambda p: p.__setitem__(0, "i4x8"), "its layout is 'i4x8' for 'int8'; this version"),
    "type": (lambda p: p.__setitem__(5, "int4"), "its layout is 'i8x4' for 'int4'"),
    "types": (lambda p: p.__setitem__(5, "bfloat16"), "its layout is 'i8x4' for 'bfloat16'"),
    "no type": (lambda p: p.__setitem__(5, None), "its layout is"),
    "rows": (lambda p: p[1].__setitem__(1, p[1][1] + 48), "int8.* is not the packed form of int8"),
    "columns": (lambda p: p[1].__setitem__(2, p[1][2] + 4), "is not the packed form"),
    "many": (lambda p: p[1].__setitem__(2, 10**15), "is not the packed form"),
    "negative": (lambda p: p[1].__setitem__(1, -72), "is said to be"),
    "gates": (lambda p: p.__setitem__(2, [5]), "is not the packed form"),
    "no gates": (lambda p: p.__setitem__(2, []), "is said to be"),
    "turned": (lambda p: p.__setitem__(3, True), "is not the packed form"),
    "kernel": (lambda p: p.__setitem__(4, 1), "is said to be"),
    "no scales": (lambda p: p.__setitem__(6, None), "its scales are none; expected float32"),
    "strange scales": (lambda p: p.__setitem__(6, "cb"), "its scales are float32"),
    "own scales": (lambda p: p.__setitem__(6, "gw.int8"), "cannot be its scales or zeros"),
    "ghost": (lambda p: p.__setitem__(7, "ghost"), "'ghost' is not in the file"),
    "zeros": (lambda p: p.__setitem__(7, "cb"), "its zeros are float32"),
    "number": (lambda p: p.__setitem__(6, 3), "cannot be its scales or zeros"),
    "short": (lambda p: p.pop(), "is damaged"),
    "long": (lambda p: p.append(None), "is damaged"),
}


@pytest.mark.parametrize("what", WRONG)
def test_tensors_are_held_against_their_description(what: str) -> None:
    change, message = WRONG[what]
    content = pack(lowered("int8"))
    with pytest.raises((rn.ModelFormatError, rn.UnsupportedModelError), match=message):
        rn.load(changed(content, lambda d: change(_first(d["packed"], "int8"))))


def _bytes_of(content: bytes, name: str) -> tuple[int, int]:
    header = parse(content, "f")
    place = header.tensors[name]
    return header.data + place.start, header.data + place.end


@pytest.mark.parametrize(
    ("compute_type", "tensor", "where", "value", "message"),
    [
        ("int8", "gw.int8", -1, b"\x01", "its pad units are not zero"),
        ("int8", "cw.int8", 4 * 12, b"\x01", "its pad units are not zero"),
        ("int8", "gw.int8.scale", -4, b"\x00\x00\x80\x3f", "of its pad units are not zero"),
        ("int8", "gw.int8.scale", 0, b"\x00\x00\xc0\x7f", "a scale or zero point is outside"),
        ("int8", "gw.int8.scale", 0, b"\x00\x00\x80\xbf", "a scale or zero point is outside"),
        ("int8", "gw.int8.scale", 0, b"\x00\x00\x00\x00", "a scale or zero point is outside"),
        ("int8", "gw.int8.scale", 0, b"\xff\xff\x7f\x7f", "a scale or zero point is outside"),
        ("bfloat16", "gw.bfloat16", 0, b"\xc0\x7f", "its weights are not all finite"),
        ("bfloat16", "gw.bfloat16", 0, b"\x01\x00", "a weight that counts as 0 is not stored"),
        ("float16", "gw.float16", 0, b"\x00\x7c", "its weights are not all finite"),
        ("float16", "gw.float16", 0, b"\x00\x80", "a weight that counts as 0 is not stored"),
    ],
)
def test_numbers_are_proven(
    compute_type: str, tensor: str, where: int, value: bytes, message: str
) -> None:
    content = bytearray(pack(lowered(compute_type)))
    begin, end = _bytes_of(bytes(content), tensor)
    at = begin + where if where >= 0 else end + where
    content[at : at + len(value)] = value
    with pytest.raises(rn.ModelFormatError, match=message):
        rn.load(bytes(content))


def test_choices_are_words() -> None:
    content = pack(lowered("bfloat16"))
    for wrong in ([["a", "b", "c"]], [["a", "b", "c", 4]], "abcd", 7):
        with pytest.raises(rn.ModelFormatError, match="is damaged"):
            rn.load(changed(content, lambda d, wrong=wrong: d.update(choices=wrong)))
    rn.load(changed(content, lambda d: d.pop("choices")))


def test_lowered_constants_used_otherwise_are_numbers() -> None:
    """What a file says of a tensor need not be what its graph does with it."""
    content = pack(lowered("bfloat16"))

    def as_sum(description: Any) -> None:
        nodes = description["graph"]["nodes"]
        at = next(i for i, n in enumerate(nodes) if n[0] == "MatMul")
        weights = nodes[at][2][1]
        nodes.insert(at, ["Add", "twice", [weights, weights], ["doubled"], {}])
        nodes[at + 1][2][1] = "doubled"

    again = rn.load(changed(content, as_sum))
    kept = {as_lowered(again.graph.constants[n.inputs[1] or ""]) is not None
            for n in again.graph.nodes if n.op == "MatMul"}  # fmt: skip
    assert kept == {False}


def test_an_exported_model_is_in_float32() -> None:
    onnx = pytest.importorskip("onnx")
    import io

    from rnnengine.exporting import onnx_content

    graph = Loaded(written("steps"), compute_type="int8").graph
    content = onnx_content(graph)
    said = onnx.load(io.BytesIO(content))
    assert said.doc_string.startswith("The weights are those of a model computed in int8")
    assert {t.data_type for t in said.graph.initializer if t.dims} <= {1, 7}
    x = X.transpose(2, 0, 1)
    np.testing.assert_allclose(
        rn.load(content).run(x), evaluate(graph, {"x": x})["y"], rtol=0, atol=2e-6
    )


def _small(compute_type: str) -> bytes:
    return pack(Loaded(written("steps"), compute_type=compute_type).graph)


@pytest.mark.parametrize("compute_type", ["bfloat16", "int8"])
def test_any_change_of_the_description_is_refused_or_means_something(compute_type: str) -> None:
    """Never another exception than those of the engine, and never a crash while it runs."""
    content = _small(compute_type)
    original = described(content)
    where = [w for w in places(original) if w[0] in ("packed", "choices", "format", "graph")]
    draw = random.Random(0)
    refused = 0
    for _ in range(600):
        changed_to = copy.deepcopy(original)
        *way, last = draw.choice(where)
        target = changed_to
        for key in way:
            target = target[key]
        target[last] = copy.deepcopy(draw.choice((*ODD, "i8x4", "bf16x2", "int8", [3], 72, 10)))
        try:
            model = rn.load(changed(content, lambda d, new=changed_to: d.update(new)))
            shape = [s if isinstance(s, int) else 2 for s in model.inputs[0].shape]
            if np.prod(shape, dtype=float) < 1e6:
                model.run(np.zeros(shape, model.inputs[0].dtype))
        except (rn.RNNEngineError, TypeError):
            refused += 1
    assert refused > 300


@pytest.mark.parametrize("compute_type", ["bfloat16", "int8"])
def test_any_changed_byte_is_refused_or_means_something(compute_type: str) -> None:
    content = _small(compute_type)
    draw = random.Random(1)
    for _ in range(300):
        bits = bytearray(content)
        for _ in range(draw.choice((1, 3))):
            bits[draw.randrange(len(bits))] = draw.randrange(256)
        with contextlib.suppress(rn.RNNEngineError):
            rn.load(bytes(bits)).run(np.ones((3, 1, 10), np.float32))
