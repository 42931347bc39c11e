"""Snapshots of streams: they go on bit for bit, elsewhere too, and only where they belong."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from onnx_models import layer
from rnnengine._c import cpu

Array = np.ndarray[Any, Any]
CELLS = ("LSTM", "GRU", "RNN")


def values(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def states(stream: rn.Stream) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in stream.state.items()}


@pytest.mark.parametrize("cell", CELLS)
def test_a_restored_stream_goes_on_bit_for_bit(cell: str) -> None:
    model = rn.load(layer(cell, 19, 7))
    x = values(12, 3, 7)
    whole = model.run(x)["y"]
    stream = model.stream(3)
    stream.step(x[:5])
    blob = stream.snapshot()
    assert stream.snapshot() == blob
    stream.step(x)
    for other in (stream, model.stream(3), stream.clone()):
        other.restore(blob)
        assert other.snapshot() == blob
        assert np.array_equal(other.step(x[5:])["y"], whole[5:])


def test_a_clone_is_a_stream_of_its_own() -> None:
    model = rn.load(layer("LSTM", 8, 4))
    x = values(9, 2, 4)
    stream = model.stream(2)
    stream.step(x[:4])
    before = states(stream)
    twin = stream.clone()
    assert states(twin) == before and twin.batch == 2
    twin.step(x[4:])
    assert states(stream) == before
    assert np.array_equal(stream.step(x[4:])["y"], model.run(x)["y"][4:])
    stream.reset()
    assert not any(np.any(v) for v in stream.state.values())
    assert any(np.any(v) for v in twin.state.values())


def test_snapshots_move_between_instruction_sets_files_and_processes(tmp_path: Path) -> None:
    content = layer("GRU", 24, 6)
    x = values(8, 1, 6)
    blobs = set()
    for isa in cpu.available():
        with cpu.use(isa):
            stream = rn.load(content).stream()
        stream.step(x)
        blobs.add(stream.snapshot())
    (blob,) = blobs
    rn.save(rn.load(content), tmp_path / "m.rnne")
    (tmp_path / "blob").write_bytes(blob)
    expected = stream.step(x)["y"]
    script = """
import sys, pathlib
import numpy as np, rnnengine as rn
stream = rn.load(sys.argv[1], mmap=True).stream()
stream.restore(pathlib.Path(sys.argv[2]).read_bytes())
x = np.load(sys.argv[3])
sys.stdout.buffer.write(stream.step(x)["y"].tobytes())
"""
    np.save(tmp_path / "x.npy", x)
    done = subprocess.run(
        [sys.executable, "-c", script, *(str(tmp_path / n) for n in ("m.rnne", "blob", "x.npy"))],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        check=True,
    )
    assert done.stdout == expected.tobytes()


def test_states_keep_their_bits() -> None:
    stream = rn.load(layer("RNN", 8, 4)).stream()
    odd = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 1e-45, 1e38, 1], np.float32)
    stream.state = {"layer.h": odd.reshape(1, 1, 8)}
    twin = stream.clone()
    twin.reset()
    twin.restore(stream.snapshot())
    assert states(twin) == states(stream) == {"layer.h": odd.tobytes()}


def test_snapshots_of_other_models_are_refused() -> None:
    model = rn.load(layer("LSTM", 8, 4))
    weights = {
        k: np.asarray(v) * np.float32(1 if v.ndim < 3 else 1.0000001)
        for k, v in model.graph.constants.items()
    }
    others = [
        rn.Model(model.graph.with_(constants=weights)),
        rn.load(layer("LSTM", 8, 5)),
        rn.load(layer("GRU", 8, 4)),
        rn.load(layer("LSTM", 9, 4)),
    ]
    stream = model.stream()
    stream.step(values(3, 1, 4))
    before = states(stream)
    for other in others:
        with pytest.raises(rn.StreamStateLost, match="of another model"):
            stream.restore(other.stream().snapshot())
        assert states(stream) == before
    with pytest.raises(rn.ShapeError, match=r"state 'layer.h': expected shape \[1, 1, 8\]"):
        stream.restore(model.stream(batch=2).snapshot())
    assert states(stream) == before


def test_what_is_no_snapshot_is_refused() -> None:
    stream = rn.load(layer("LSTM", 8, 4)).stream()
    stream.step(values(3, 1, 4))
    before, blob = states(stream), stream.snapshot()
    with pytest.raises(TypeError, match="expected the bytes of a snapshot, got dict"):
        stream.restore(stream.state)  # type: ignore[arg-type]
    stream.restore(bytearray(blob))
    newer = blob.replace(b'\\"format\\": 1', b'\\"format\\": 2')
    assert newer != blob
    with pytest.raises(rn.StreamStateLost, match="has format 2; this version reads 1"):
        stream.restore(newer)
    for wrong in (b"", b"x" * 100, blob[:-1], blob + b"\0", blob[:40]):
        with pytest.raises(rn.StreamStateLost, match="no snapshot, or a damaged one"):
            stream.restore(wrong)
    draw = random.Random(0)
    for _ in range(400):
        changed = bytearray(blob)
        at = draw.randrange(len(blob))
        changed[at] ^= 1 << draw.randrange(8)
        with pytest.raises(rn.StreamStateLost):
            stream.restore(bytes(changed))
        assert states(stream) == before


def test_a_snapshot_says_what_it_is() -> None:
    blob = rn.load(layer("LSTM", 8, 4)).stream(batch=2).snapshot()
    length = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + length])
    said = json.loads(header["__metadata__"]["rnnengine"])
    assert said["format"] == 1 and len(said["model"]) == len(said["sha256"]) == 64
    assert header["layer.h"]["shape"] == [1, 2, 8]


def test_streams_without_state_have_snapshots() -> None:
    blob = rn.load(layer("RNN", 8, 4)).stream(batch=0).snapshot()
    rn.load(layer("RNN", 8, 4)).stream(batch=0).restore(blob)
