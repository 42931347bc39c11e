"""Packed weights of ``.rnne`` files: used as they lie, shared by mapping, proven before use."""

from __future__ import annotations

import io
import json
import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
import rnnengine.compiler.pool
import rnnengine.graph.packed
from rnnengine.graph import PackedMatrix, Packing, as_packed
from rnnengine.graph.packed import from_panels, to_panels
from rnnengine.importers.native import KEY, pack
from rnnengine.importers.safetensors import parse
from rnnengine.ops import evaluate

Array = np.ndarray[Any, Any]
DATA = Path(__file__).parent / "data"


def arrays(rng: np.random.Generator, **shapes: tuple[int, ...]) -> dict[str, Array]:
    return {k: rng.standard_normal(s).astype(np.float32) / 4 for k, s in shapes.items()}


def network(net: rn.Sequential, shapes: dict[str, tuple[int, ...]]) -> rn.Model:
    file = io.BytesIO()
    np.savez(file, **arrays(np.random.default_rng(3), **shapes))  # type: ignore[arg-type]
    return rn.load(file.getvalue(), architecture=net)


def gru(hidden: int = 30, inputs: int = 20) -> rn.Model:
    shapes: dict[str, tuple[int, ...]] = {}
    for end in ("", "_reverse"):
        shapes[f"0.weight_ih_l0{end}"] = (3 * hidden, inputs)
        shapes[f"0.weight_hh_l0{end}"] = (3 * hidden, hidden)
        shapes[f"0.bias_ih_l0{end}"] = shapes[f"0.bias_hh_l0{end}"] = (3 * hidden,)
    shapes |= {"1.weight": (29, 2 * hidden), "1.bias": (29,)}
    first = rn.GRU(inputs, hidden, batch_first=True, bidirectional=True)
    return network(rn.Sequential(first, rn.Linear(2 * hidden, 29)), shapes)


def lstm(hidden: int = 31, inputs: int = 20, proj: int = 13) -> rn.Model:
    shapes: dict[str, tuple[int, ...]] = {
        "weight_ih_l0": (4 * hidden, inputs), "weight_hh_l0": (4 * hidden, proj),
        "weight_hr_l0": (proj, hidden), "bias_ih_l0": (4 * hidden,), "bias_hh_l0": (4 * hidden,),
    }  # fmt: skip
    layer = rn.LSTM(inputs, hidden, batch_first=True, proj_size=proj)
    return network(rn.Sequential(layer), shapes)


def keras_gru(hidden: int = 32, inputs: int = 9) -> rn.Model:
    """A GRU whose reset gate comes first, so that its recurrent matrix is cut in two."""
    onnx_models = pytest.importorskip("onnx_models")
    return rn.load(onnx_models.layer("GRU", hidden, inputs))


MODELS: dict[str, Callable[[], rn.Model]] = {"gru": gru, "lstm": lstm, "split": keras_gru}


def feed(model: rn.Model) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    sizes = {i.name: [s if isinstance(s, int) else 3 for s in i.shape] for i in model.inputs}
    return {k: rng.standard_normal(s).astype(np.float32) for k, s in sizes.items()}


def outputs(model: rn.Model) -> list[bytes]:
    found = model.run(feed(model))
    return [v.tobytes() for v in (found.values() if isinstance(found, dict) else [found])]


def described(content: bytes) -> Any:
    return json.loads(parse(content, "f").metadata[KEY])


def changed(content: bytes, change: Callable[[Any], None]) -> bytes:
    header = parse(content, "f")
    entries = json.loads(content[8 : header.data])
    description = json.loads(header.metadata[KEY])
    change(description)
    entries["__metadata__"][KEY] = json.dumps(description)
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + content[header.data :]


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize(("gates", "units", "k"), [(1, 1, 1), (4, 16, 3), (3, 17, 5), (2, 40, 1)])
def test_packing_is_undone_exactly(directions: int, gates: int, units: int, k: int) -> None:
    from rnnengine._c import core

    rng = np.random.default_rng(0)
    matrices = rng.standard_normal((directions, gates * units, k)).astype(np.float32)
    block = to_panels(matrices, gates)
    kernels = [core.pack(m.reshape(gates, units, k)) for m in matrices]
    assert block.tobytes() == np.concatenate(kernels).tobytes()
    assert from_panels(block, directions, gates, units, k).tobytes() == matrices.tobytes()


def test_packing_flushes_what_the_kernels_would_not_see() -> None:
    from rnnengine._c import core

    tiny = np.finfo(np.float32).tiny
    odd = np.array([tiny, -tiny, tiny / 2, -tiny / 2, 0.0, -0.0, 1e-45, np.inf, -np.inf, np.nan],
                   np.float32).reshape(1, 10, 1)  # fmt: skip
    assert to_panels(odd, 1).tobytes() == core.pack(odd).tobytes()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("mapped", [False, True])
def test_loading_packs_no_weights(
    name: str, mapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MODELS[name]()
    path = tmp_path / "m.rnne"
    rn.save(model, path)
    said = described(path.read_bytes())["packed"]
    assert len(said) >= 2
    assert name != "split" or [2, 1] in [gates for _, _, gates, _ in said.values()]
    packed: list[int] = []
    original = rnnengine.compiler.pool._packed

    def counted(matrices: Array) -> Array:
        packed.append(matrices.size)
        return original(matrices)

    monkeypatch.setattr(rnnengine.compiler.pool, "_packed", counted)
    again = rn.load(path, mmap=mapped)
    assert outputs(again) == outputs(model)
    assert max(packed, default=0) <= 4 * 2 * 32, "only biases are packed"
    for key, value in model.graph.constants.items():
        np.testing.assert_array_equal(np.asarray(again.graph.constants[key]), value)
    assert pack(again.portable_graph()) == pack(model.portable_graph())
    assert path.stat().st_size < 1.3 * sum(v.nbytes for v in model.graph.constants.values()) + 8000


@pytest.mark.parametrize("name", MODELS)
def test_a_reader_that_packs_differently_repacks(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MODELS[name]()
    content = pack(model.portable_graph())
    again = rn.load(content)
    assert any(as_packed(v) for v in again.graph.constants.values())
    monkeypatch.setattr(PackedMatrix, "block", lambda self, gates: None)
    assert outputs(rn.load(content)) == outputs(model)


def test_the_oracle_and_the_exporter_read_packed_weights() -> None:
    model = gru()
    again = rn.load(pack(model.portable_graph()))
    feeds = feed(model)
    name = model.outputs[0].name
    np.testing.assert_array_equal(
        evaluate(again.graph, feeds)[name], evaluate(model.graph, feeds)[name]
    )
    np.testing.assert_allclose(
        evaluate(again.graph, feeds)[name], again.run(feeds), rtol=0, atol=2e-6
    )


def test_a_mapped_file_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "m.rnne"
    rn.save(lstm(160, 160, 64), path)
    model = rn.load(path, mmap=True)
    model.run(feed(model))
    lines = Path("/proc/self/smaps").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.endswith(str(path)))
    begin, end = (int(n, 16) for n in lines[at].split()[0].split("-"))
    fields = {line.split(":")[0]: line.split() for line in lines[at + 1 : at + 24]}
    assert fields["Private_Dirty"][1] == "0"
    blocks = [
        block
        for value in model.graph.constants.values()
        if (kept := as_packed(value))
        for block in kept.blocks
    ]
    addresses = {block.ctypes.data for block in blocks}
    assert len(addresses) == 3
    assert all(begin <= a < end and a % 64 == 0 for a in addresses)
    used = {c.ctypes.data for c in model._form.compiled.constants}
    assert addresses <= used, "the program reads the mapping itself"


def test_a_mapped_model_survives_that_its_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "m.rnne"
    model = lstm()
    rn.save(model, path)
    mapped = rn.load(path, mmap=True)
    rn.save(gru(), path, overwrite=True)
    assert outputs(mapped) == outputs(model)
    path.unlink()
    assert outputs(mapped) == outputs(model)


def test_a_copy_does_not_follow_its_file(tmp_path: Path) -> None:
    path = tmp_path / "m.rnne"
    model = lstm()
    rn.save(model, path)
    copied = rn.load(path)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[-4096:] = bytes(4096)
    assert outputs(copied) == outputs(model)
    with pytest.raises(ValueError, match="read-only"):
        next(v for v in copied.graph.constants.values() if as_packed(v) is None)[...] = 0


def test_only_rnne_files_are_mapped(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, a=np.zeros(3))
    with pytest.raises(rn.UnsupportedModelError, match=r"w\.npz: mmap=True is for"):
        rn.load(path, mmap=True)
    with pytest.raises(rn.UnsupportedModelError, match="needs the path of a file, got bytes"):
        rn.load(pack(lstm().portable_graph()), mmap=True)
    path.write_bytes(b"")
    with pytest.raises(rn.RNNEngineError):
        rn.load(path, mmap=True)


def test_a_file_can_come_through_a_pipe(tmp_path: Path) -> None:
    model = lstm()
    rn.save(model, tmp_path / "m.rnne")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = subprocess.Popen(["cp", tmp_path / "m.rnne", pipe])
    assert outputs(rn.load(pipe)) == outputs(model)
    assert writer.wait() == 0


def test_files_of_the_first_format_load() -> None:
    stored = np.load(DATA / "format1.npz")
    model = rn.load(DATA / "format1.rnne", verify=True)
    assert described((DATA / "format1.rnne").read_bytes())["format"] == 1
    np.testing.assert_allclose(model.run(stored["x"]), stored["y"], rtol=0, atol=2e-6)
    again = rn.load(pack(model.portable_graph()))
    assert again.run(stored["x"]).tobytes() == model.run(stored["x"]).tobytes()


WRONG: dict[str, tuple[Callable[[Any], None], str]] = {
    "layout": (lambda p: p.__setitem__(0, "panels32"), "its layout is 'panels32'; this version"),
    "no layout": (lambda p: p.__setitem__(0, None), "its layout is"),
    "rank": (lambda p: p[1].append(1), "is not the packed form of a constant of shape"),
    "rows": (lambda p: p[1].__setitem__(1, p[1][1] + 8), "is not the packed form"),
    "columns": (lambda p: p[1].__setitem__(2, p[1][2] - 1), "is not the packed form"),
    "many": (lambda p: p[1].__setitem__(2, 10**15), "is not the packed form"),
    "negative": (lambda p: p[1].__setitem__(1, -124), "is said to be"),
    "real": (lambda p: p[1].__setitem__(1, 124.0), "is said to be"),
    "gates": (lambda p: p.__setitem__(2, [5]), "is not the packed form"),
    "no gates": (lambda p: p.__setitem__(2, []), "is said to be"),
    "zero gates": (lambda p: p.__setitem__(2, [4, 0]), "is said to be"),
    "turned": (lambda p: p.__setitem__(3, True), "is not the packed form"),
    "no turn": (lambda p: p.__setitem__(3, 1), "is said to be"),
    "short": (lambda p: p.pop(), "is damaged"),
}


@pytest.mark.parametrize("what", WRONG)
def test_packed_tensors_are_held_against_their_description(what: str) -> None:
    change, message = WRONG[what]
    content = pack(lstm().portable_graph())
    name = next(k for k, v in described(content)["packed"].items() if v[2] == [4])
    with pytest.raises((rn.ModelFormatError, rn.UnsupportedModelError), match=message) as caught:
        rn.load(changed(content, lambda d: change(d["packed"][name])))
    assert what == "short" or name in str(caught.value)


def test_a_packed_tensor_must_be_there_and_padded_with_zeros() -> None:
    content = pack(lstm().portable_graph())
    with pytest.raises(rn.ModelFormatError, match="packed tensor 'ghost' is not in the file"):
        rn.load(changed(content, lambda d: d["packed"].update(ghost=["panels16", [1], [1], False])))
    with pytest.raises(rn.ModelFormatError, match="damaged"):
        rn.load(changed(content, lambda d: d.pop("packed")))
    header = parse(content, "f")
    for name in described(content)["packed"]:
        broken = bytearray(content)
        broken[header.data + header.tensors[name].end - 1] = 64
        with pytest.raises(rn.ModelFormatError, match=rf"{name}.*its pad units are not zero"):
            rn.load(bytes(broken))


def test_packed_constants_used_otherwise_are_unpacked() -> None:
    """What a file says of a tensor need not be what its graph does with it."""
    model = gru()
    content = pack(model.portable_graph())
    said = described(content)["packed"]
    linear = next(k for k, v in said.items() if v[3] or v[2] == [1])

    def as_sum(description: Any) -> None:
        nodes = description["graph"]["nodes"]
        at = next(i for i, n in enumerate(nodes) if linear in n[2])
        product = nodes[at][3][0]
        nodes.insert(at, ["Add", "twice", [linear, linear], ["doubled"], {}])
        nodes[at + 1][2] = ["doubled" if n == linear else n for n in nodes[at + 1][2]]
        assert product in nodes[at + 1][3]

    again = rn.load(changed(content, as_sum))
    assert not as_packed(again.graph.constants.get(linear))
    double = {k: np.asarray(v) * (2 if k == linear else 1)
              for k, v in model.graph.constants.items()}  # fmt: skip
    expected = rn.Model(model.graph.with_(constants=double))
    assert outputs(again) == outputs(expected)


def test_a_packed_constant_answers_as_its_array() -> None:
    rng = np.random.default_rng(1)
    plain = rng.standard_normal((30, 7)).astype(np.float32)
    packing = Packing((2, 1))
    parts = plain[:20], plain[20:]
    blocks = tuple(to_panels(p[None], g) for p, g in zip(parts, (2, 1), strict=True))
    kept = PackedMatrix((30, 7), packing, blocks)
    assert (kept.shape, kept.ndim, kept.size, kept.dtype) == ((30, 7), 2, 210, np.float32)
    assert len(kept) == 30
    np.testing.assert_array_equal(np.asarray(kept), plain)
    np.testing.assert_array_equal(kept[3:9, ::2], plain[3:9, ::2])
    np.testing.assert_array_equal(np.asarray(kept.T), plain.T)
    np.testing.assert_array_equal(kept.sum(axis=0), plain.sum(axis=0))
    assert kept.astype(np.float32) is kept
    assert kept.astype(np.float64).dtype == np.float64
    assert as_packed(kept.rows(0, 20)) and not as_packed(kept.rows(1, 20))
    for start, count in ((0, 20), (20, 10), (1, 20)):
        np.testing.assert_array_equal(
            np.asarray(kept.rows(start, count)), plain[start : start + count]
        )


def test_two_processes_share_the_pages_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "m.rnne"
    rn.save(lstm(200, 200, 100), path)
    script = """
import sys
import numpy as np, rnnengine as rn
model = rn.load(sys.argv[1], mmap=True)
model.run(np.zeros((1, 2, 200), np.float32))
print("ready", flush=True)
sys.stdin.read()
"""
    paths = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-c", script, str(path)]
    first, second = (
        subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": paths}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for _ in range(2)
    )  # fmt: skip
    try:
        assert first.stdout and second.stdout
        assert first.stdout.readline() == second.stdout.readline() == "ready\n"
        lines = Path(f"/proc/{first.pid}/smaps").read_text().splitlines()
        at = next(i for i, line in enumerate(lines) if line.endswith(str(path)))
        fields = (line.split() for line in lines[at + 1 : at + 18] if line.endswith(" kB"))
        sizes = {name.rstrip(":"): int(size) for name, size, _ in fields}
        assert sizes["Rss"] > 300
        assert sizes["Private_Clean"] + sizes["Private_Dirty"] == 0
        assert sizes["Shared_Clean"] == sizes["Rss"]
    finally:
        for process in (first, second):
            process.communicate("")
