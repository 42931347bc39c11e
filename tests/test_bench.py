"""The benchmark runs, agrees with its peer and writes its record; no test asks how fast."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


def _bench(folder: Path, *words: str) -> dict[str, Any]:
    """Run the benchmark in a folder; return its record."""
    record = folder / "record.json"
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "bench.py"), *words, "--json", str(record)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    assert written["versions"]["rnnengine"]
    return written


@pytest.mark.slow
def test_layer_benchmark_writes_a_record(tmp_path: Path) -> None:
    from rnnengine.bench.tables import markdown

    options = ["--cells", "GRU", "--hidden", "32", "--steps", "1", "100", "--rounds", "2"]
    written = _bench(tmp_path, "layer", *options)
    assert [row["steps"] for row in written["results"]] == [1, 100]
    assert all(row["max_abs_difference"] <= 1e-5 for row in written["results"])
    assert "GRU H=32 T=100" in markdown(written)


@pytest.mark.slow
def test_layer_benchmark_of_compute_types_writes_a_record(tmp_path: Path) -> None:
    from rnnengine.bench.tables import markdown

    options = ["--cells", "LSTM", "--hidden", "32", "--steps", "1", "5", "--rounds", "1"]
    options += ["--compute-type", "int8", "auto", "--peers", "onnxruntime, int8"]
    written = _bench(tmp_path, "layer", *options)
    names = {"rnnengine", "rnnengine, int8", "rnnengine, auto", "onnxruntime, int8"}
    assert all(set(row["timings"]) == names for row in written["results"])
    apart = written["results"][0]["max_abs_difference"]
    assert 0 < apart["rnnengine, int8"] < 2e-2
    assert "| LSTM H=32 T=5, us |" in markdown(written)


@pytest.mark.slow
def test_model_benchmark_writes_a_record(tmp_path: Path) -> None:
    """A file without state of its own: a run of one step."""
    digits = ROOT / "examples" / "digits" / "digits.onnx"
    (row,) = _bench(tmp_path, "models", str(digits), "--rounds", "2")["results"]
    assert (row["name"], row["call"]) == ("digits", "run")
    assert row["relative_difference"] <= 1e-5
    assert set(row["timings"]) == {"rnnengine", "onnxruntime"}
    roof = row["roof"]
    assert 0 < roof["arithmetic_share"] < 10
    assert 0 < roof["bandwidth_share"] < 10


def test_work_of_the_voice_activity_detector() -> None:
    """Counted by hand: spectra, four convolutions, an LSTM step, the last layer."""
    pytest.importorskip("torch")
    from rnnengine.bench.models import model_case
    from rnnengine.bench.voice import vad_bytes

    case = model_case("vad", vad_bytes(), {"sr": 16000})
    assert [(name, output) for name, output, _ in case.states] == [("state", "next")]
    assert case.compared == ("probability",)
    spectra, lstm = 258 * 256, 4 * 128 * (128 + 128)
    convolutions = [129 * 128 * 3, 128 * 64 * 3, 64 * 64 * 3, 64 * 128 * 3, 128]
    positions = [4, 2, 1, 1, 1]
    products = 4 * spectra + lstm
    products += sum(n * size for n, size in zip(positions, convolutions, strict=True))
    assert case.work.multiply_adds == products
    biases = 128 + 64 + 64 + 128 + 1 + 2 * 4 * 128
    assert case.work.weight_bytes == 4 * (spectra + lstm + sum(convolutions) + biases)
    assert case.work.working_set == case.work.weight_bytes


def test_work_over_time_and_of_tables() -> None:
    """Recurrent weights are read in every step; of an embedding, rows alone."""
    import rnnengine as rn
    from rnnengine.bench.work import Work, work_of

    rng = np.random.default_rng(0)
    shapes = {"0.weight": (50, 6), "1.weight_ih_l0": (12, 6), "1.weight_hh_l0": (12, 4)}
    arrays = {n: rng.random(s, dtype=np.float32) for n, s in shapes.items()}
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    net = rn.Sequential(rn.Embedding(50, 6), rn.GRU(6, 4, bias=False, batch_first=True))
    model = rn.load(file.getvalue(), architecture=net)
    sizes = {s: n for s, n in zip(model.inputs[0].shape, (3, 7), strict=True) if isinstance(s, str)}
    found = work_of(model.graph, sizes)
    biases = found.working_set - 4 * 12 * 10
    assert biases in (0, 4 * 2 * 12)  # the graph may spell them out
    assert found == Work(3 * 7 * 120, found.working_set + 4 * 6 * 48, found.working_set)


def test_caches_are_read_as_the_system_lists_them(tmp_path: Path) -> None:
    from rnnengine.bench.machine import Cache, caches

    listed = [
        ("1", "Data", "48K", "0,32"),
        ("1", "Instruction", "32K", "0"),
        ("2", "Unified", "2048K", "0"),
        ("3", "Unified", "32M", "0-3,8-11"),
    ]
    for number, (level, kind, size, cores) in enumerate(listed):
        folder = tmp_path / f"index{number}"
        folder.mkdir()
        for name, text in zip(
            ("level", "type", "size", "shared_cpu_list"), (level, kind, size, cores), strict=True
        ):
            (folder / name).write_text(text + "\n")
    assert caches(tmp_path) == [Cache(1, 48 << 10, 2), Cache(2, 2 << 20, 1), Cache(3, 32 << 20, 8)]
    assert caches(tmp_path / "none") == []


def test_roofs_and_what_threads_cost_are_measured() -> None:
    from rnnengine.bench.machine import measure
    from rnnengine.bench.tables import markdown

    most = min(2, os.cpu_count() or 1)
    record = json.loads(json.dumps(measure(1, most, 1 << 20)))
    assert {row["cores"] for row in record["bandwidth"]} == set(range(1, most + 1))
    assert all(row["gb_per_s"] > 0 for row in record["bandwidth"])
    assert all(row["gflop_per_s"] > 0 for row in record["fma"])
    assert [row["threads"] for row in record["threads"]] == list(range(2, most + 1))
    assert "| FMA, GFLOP/s |" in markdown(record)


def test_threads_that_meet_are_counted() -> None:
    from rnnengine._c import core

    assert core.meet(1, 10) == 1
    assert core.meet(3, 10) == 3


def test_a_turn_ends_when_no_thread_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a call leaves running, as the pools of other engines do, is waited for.

    Counted in processor time, of which a loaded machine gives little at a time.
    """
    from rnnengine.bench import worker

    def compute() -> None:  # one call that needs nothing of Python
        hashlib.pbkdf2_hmac("sha256", b"", b"", 300_000)

    monkeypatch.setattr(worker, "MOST_IDLE_SECONDS", 60)
    started = time.process_time()
    thread = threading.Thread(target=compute)
    thread.start()
    while time.process_time() - started < 0.01 and thread.is_alive():
        time.sleep(0.001)
    assert worker.settle()
    settled = time.process_time()
    thread.join()
    after, whole = time.process_time() - settled, time.process_time() - started
    assert after < 0.2 * whole, (after, whole)


def test_a_fresh_process_gives_the_result_of_onnxruntime() -> None:
    from rnnengine.bench.start import measure
    from rnnengine.bench.tables import markdown

    record = json.loads(json.dumps(measure(1)))
    assert set(record["results"]) == {"rnnengine", "onnxruntime", "onnxruntime, .ort"}
    assert all(row["total"] > 0 for row in record["results"].values())
    assert "| rnnengine |" in markdown(record)


@pytest.mark.slow
def test_steadiness_is_recorded() -> None:
    from rnnengine.bench.steady import measure
    from rnnengine.bench.tables import markdown

    record = json.loads(json.dumps(measure(2000, 1, ["GRU"], [1, 10])))
    assert record["tail_us"]["steps"] == 2000
    assert record["tail_us"]["p50"] <= record["tail_us"]["p99.9"] <= record["tail_us"]["max"]
    assert [row["name"] for row in record["odd"]] == ["GRU H=128 T=1", "GRU H=128 T=100"]
    assert [row["steps"] for row in record["growth"]] == [1, 10]
    assert "| GRU H=128 T=100 |" in markdown(record)


def _low_row(hidden: int, grid: str, **times: float) -> dict[str, Any]:
    names = {"float32": "rnnengine", "ort": "onnxruntime, int8"}
    timings = {names.get(k, f"rnnengine, {k}"): {"median_us": us} for k, us in times.items()}
    return {"name": f"LSTM H={hidden}", "hidden": hidden, "grid": grid, "timings": timings}


def test_compute_types_are_held_to_their_bars() -> None:
    """Each bar sees the cases of its part and sizes alone, and names those below it."""
    from rnnengine.bench.low import judge

    rows = [
        _low_row(64, "step", float32=4.0, int8=4.0, ort=5.0, auto=3.9),
        _low_row(128, "step", float32=8.0, int8=3.9, ort=8.0, auto=8.2),
        _low_row(256, "step", float32=30.0, int8=9.0, bfloat16=20.0, auto=31.6),
        _low_row(512, "sequence", float32=900.0, int8=380.0, int8_fast=250.0, ort=300.0),
        _low_row(512, "batch", float32=900.0, int8=500.0, int8_fast=290.0),
    ]
    said = judge(rows)
    assert [text for text in said if "under it" in text] == [
        "  under it: LSTM H=256: 1.50x",  # bfloat16, 1.6x asked
        "  under it: LSTM H=256: 0.95x",  # auto, slower than float32
        "  under it: LSTM H=64: 1.25x",  # int8 against onnxruntime, 1.5x asked
    ]
    assert sum(text.endswith(": met") for text in said) == 7
    assert not judge([row | {"grid": ""} for row in rows])


def test_errors_of_compute_types_are_held_to_their_bars() -> None:
    """The better of two peers counts, where a layer has both."""
    from rnnengine.bench.accuracy import judge
    from rnnengine.bench.tables import markdown

    def row(name: str, **rms: float) -> dict[str, Any]:
        names = {"ort": "onnxruntime, int8", "torch": "torch, int8"}
        return {"name": name, "rms": {names.get(k, f"rnnengine, {k}"): v for k, v in rms.items()}}

    rows = [
        row("a", int8=1e-3, int8_fast=3e-3, ort=2e-3, torch=9e-3),
        row("b", int8=2e-3, int8_fast=2e-3, torch=4e-3),
    ]
    assert [text.rpartition(": ")[2] for text in judge(rows)] == ["met", "MISSED", "met"]
    plain = {"cell": "GRU", "input": 3, "hidden": 4, "directions": 1}
    machine = {"machine": {"processor": "x"}, "cpu": {"isa": "y"}, "date": "z"}
    found = {"results": [r | plain for r in rows], "tasks": {"int8": {"phonemes": 99.5}}} | machine
    page = markdown(found | {"benchmark": "accuracy", "versions": {"onnxruntime": 1, "torch": 2}})
    assert "| a | GRU | 3, 4 | 1.0e-03 | 3.0e-03 | 2.0e-03 | 9.0e-03 |" in page
    assert "% the same | 99.5 | 99 |" in page
    assert "labels" not in page  # of a model that was not there
    said = judge([*rows, row("c", int8=3e-3, ort=2e-3, torch=9e-3)])
    assert said[1] == "  over it: c: 1.50"
    assert said[0].endswith("MISSED")


def test_the_int8_of_onnxruntime_is_what_its_own_tool_makes(tmp_path: Path) -> None:
    """The same numbers as its quantize_dynamic with a scale for each row gives, bit for bit."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    from rnnengine.bench.cases import LayerCase
    from rnnengine.bench.onnx_form import onnx_bytes
    from rnnengine.bench.peers.onnxruntime_ import session_of

    case = LayerCase("LSTM", 20, 7, directions=2)
    plain, made = tmp_path / "plain.onnx", tmp_path / "made.onnx"
    plain.write_bytes(onnx_bytes(case, "fixed"))
    quantization.quantize_dynamic(
        plain, made, per_channel=True, weight_type=quantization.QuantType.QInt8
    )
    contents = (made.read_bytes(), onnx_bytes(case, "fixed", int8=True), plain.read_bytes())
    theirs, ours, exact = (session_of(c, 1).run(["y"], {"x": case.input()})[0] for c in contents)
    assert np.array_equal(theirs, ours)
    assert 1e-4 < np.abs(ours - exact).max() < 5e-2


@pytest.mark.parametrize("engine", ["onnxruntime, int8", "torch, int8"])
@pytest.mark.parametrize("steps", [1, 6])
def test_low_peers_compute_the_layer(engine: str, steps: int) -> None:
    from rnnengine.bench.cases import LayerCase
    from rnnengine.bench.peers import ENGINES, takes

    pytest.importorskip(engine.partition(",")[0])
    for cell in ("LSTM", "GRU"):
        case = LayerCase(cell, 24, steps, batch=2 if steps > 1 else 1)
        if takes(engine, case):
            found, exact = (ENGINES[name](case).output for name in (engine, "rnnengine"))
            assert found.shape == exact.shape
            assert 1e-5 < np.abs(found - exact).max() < 5e-2
    assert not takes(engine, LayerCase("RNN", 24, steps))


def test_layers_of_trained_models_are_taken_out_whole() -> None:
    """In float64 each layer computes what it computes inside its model."""
    import rnnengine as rn
    from rnnengine.bench.accuracy import exact
    from rnnengine.bench.trained import trained_layers
    from rnnengine.ops import evaluate

    pytest.importorskip("onnx")
    model = rn.load(ROOT / "examples" / "models" / "deepar.onnx")
    with np.load(ROOT / "examples" / "models" / "deepar.npz") as file:
        feeds = {info.name: file[f"x.{info.name}"] for info in model.inputs}
    first, second = trained_layers("deepar", model, [feeds], most_rows=3)
    assert (first.cell, first.hidden, first.widths(), first.batch) == ("LSTM", 20, [3], 3)
    # The float32 inputs of the second layer are the first one's output in float64, rounded.
    np.testing.assert_allclose(exact(first), second.x, rtol=0, atol=1e-6)
    node = [n for n in model.graph.nodes if n.op == "LSTM"][-1]
    sizes = model.graph.with_(outputs=(str(node.outputs[0]),))
    (whole,) = evaluate(sizes, feeds).values()
    np.testing.assert_allclose(exact(second), whole[:, 0], rtol=0, atol=1e-6)
    rows = [*second.rows()]
    joined = np.concatenate([exact(row) for row in rows], axis=1)
    np.testing.assert_allclose(joined, exact(second), rtol=0, atol=1e-12)


def test_states_that_go_on_make_one_sequence() -> None:
    """Three calls of a decoder that carry its state, against three rows that do not."""
    import rnnengine as rn
    from rnnengine.bench.accuracy import exact
    from rnnengine.bench.trained import trained_layers

    pytest.importorskip("onnx")
    model = rn.load(ROOT / "examples" / "models" / "dot_decoder.onnx")
    with np.load(ROOT / "examples" / "models" / "dot_decoder.npz") as file:
        feeds = {info.name: file[f"x.{info.name}"] for info in model.inputs}
    calls, now = [], feeds
    for _ in range(3):
        calls.append(now)
        found = model.run(now)
        now = {**now, **{name: found[f"{name}_next"] for name in ("fed", "h", "c")}}
    (layer,) = trained_layers("dot", model, calls)
    assert layer.input().shape == (3, 3, 32)
    np.testing.assert_allclose(exact(layer)[-1], found["h_next"][0], rtol=0, atol=1e-5)
    (apart,) = trained_layers("dot", model, [feeds, feeds])
    assert apart.input().shape == (1, 6, 32)
    assert apart.initial()["c"].shape == (1, 6, 24)


def test_odd_numbers_are_what_they_are_called() -> None:
    from rnnengine.bench.steady import OddCase

    tiny = np.finfo(np.float32).tiny

    def subnormal(array: Any) -> Any:
        return (array != 0) & (np.abs(array) < tiny)

    assert not subnormal(OddCase("GRU", 8, 3).input()).any()
    assert subnormal(OddCase("GRU", 8, 3, kind="denormal inputs").input()).all()
    weights = OddCase("GRU", 8, 3, kind="denormal weights").weights()
    assert subnormal(weights["W"]).mean() == subnormal(weights["R"]).mean() == 0.5
    decayed = OddCase("GRU", 8, 3, kind="decayed states")
    assert not decayed.input().any()
    assert not decayed.weights()["B"].any()


def test_threads_are_held_against_one_thread(tmp_path: Path) -> None:
    from rnnengine.bench.cases import LayerCase
    from rnnengine.bench.scaling import slower, spread
    from rnnengine.bench.tables import markdown

    cases = [LayerCase("RNN", 16, 5, threads=2, grid="threads"), LayerCase("RNN", 16, 5)]
    assert [case.threads for case in spread(cases, (1, 2))] == [1, 2]
    options = ["--cells", "RNN", "--hidden", "16", "--steps", "5", "--rounds", "1"]
    record = _bench(tmp_path, "threads", *options, "--threads", "2", "--peers", "onnxruntime")
    (row,) = record["results"]
    assert row["speedup"] > 0
    assert f"| {row['name']} |" in markdown(record)
    row["speedup"] = 0.5
    assert slower(record) == [f"{row['name']}: 2.00x of one thread's time"]
    row["speedup"] = 1.0
    assert slower(record) == []
