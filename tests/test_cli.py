"""The command line, and inspect."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from rnnengine.cli import CUT_OFF, DONE, FAILED, REFUSED, WRONG_USE, main, read_architecture

Array = np.ndarray[Any, Any]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    shapes = {
        "net.enc.weight_ih_l0": (12, 3), "net.enc.weight_hh_l0": (12, 4),
        "net.enc.bias_ih_l0": (12,), "net.enc.bias_hh_l0": (12,),
        "net.out.weight": (2, 4), "net.out.bias": (2,),
    }  # fmt: skip
    path = tmp_path / "weights.bin"
    with path.open("wb") as file:
        np.savez(file, **{k: rng.standard_normal(s).astype("f4") for k, s in shapes.items()})
    return path


SPEC = [
    {"type": "GRU", "input_size": 3, "hidden_size": 4, "batch_first": True, "name": "enc"},
    {"type": "Dense", "units": 2, "activation": "softmax", "name": "out"},
]


def test_convert_writes_what_load_would_give(weights: Path, tmp_path: Path, capsys: Any) -> None:
    spec = tmp_path / "net.json"
    spec.write_text(json.dumps(SPEC))
    code = tmp_path / "net.py"
    code.write_text(
        "import rnnengine as rn\n"
        "architecture = rn.Sequential(rn.GRU(3, 4, batch_first=True), rn.Linear(4, 2), "
        "rn.Softmax())\n"
    )
    x = np.random.default_rng(1).standard_normal((2, 5, 3)).astype(np.float32)
    results = []
    for i, path in enumerate((spec, code)):
        target = tmp_path / f"m{i}.rnne"
        words = ["convert", str(weights), "-o", str(target), "--prefix", "net", "--json"]
        assert main([*words, "--architecture", str(path)]) == DONE
        report = json.loads(capsys.readouterr().out)
        assert report["bytes"] == target.stat().st_size
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        assert report["origin"] == {"file": "weights.bin", "sha256": digest, "framework": "npz"}
        assert rn.inspect(target).origin == report["origin"]
        results.append(rn.load(target, verify=True).run(x))
    direct = rn.load(weights, architecture=read_architecture(spec), prefix="net").run(x)
    for result in results:
        np.testing.assert_array_equal(result, direct)


def test_convert_fixes_constants_and_picks_layers(weights: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.rnne"
    assert main(["convert", str(weights), "-o", str(target), "--layer", "net.enc"]) == DONE
    assert [o.name for o in rn.load(target).outputs] == ["output", "h_n"]
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Mul", ["x", "k"], ["y"])
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node], "g", [info("x", 1, ["n"]), info("k", 1, [])], [info("y", 1, ["n"])]
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    assert main(["convert", str(path), "-o", str(target), "--constants", "k=2.5", "--force"]) == 0
    np.testing.assert_array_equal(rn.load(target).run(np.float32([2])), [5])
    assert rn.inspect(target).origin["framework"] == "onnx"
    assert rn.inspect(path).operators == {"Mul": 1}


def test_exit_codes(weights: Path, tmp_path: Path, capsys: Any) -> None:
    target = tmp_path / "m.rnne"
    convert = ["convert", str(weights), "-o", str(target)]
    assert main(convert) == REFUSED
    assert "weights but no graph" in capsys.readouterr().err
    assert main([*convert, "--layer", "x", "--json"]) == REFUSED
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "ModelFormatError"
    assert main(["convert", "absent", "-o", str(target)]) == WRONG_USE
    assert main([*convert, "--constants", "k"]) == WRONG_USE
    assert not target.exists()
    assert main([*convert, "--layer", "net.enc"]) == DONE
    assert main([*convert, "--layer", "net.enc"]) == WRONG_USE
    assert "--force replaces it" in capsys.readouterr().err
    assert main([*convert, "--layer", "net.enc", "--force"]) == DONE
    for wrong in ([], ["explode"], ["convert", "x"], [*convert, "--compute-type", "int3"]):
        with pytest.raises(SystemExit) as caught:
            main(wrong)
        assert caught.value.code == WRONG_USE


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{", "no JSON"),
        ("{}", "expected a list"),
        ('[{"type": "Lambda"}]', "layer 0 is"),
        ('[{"type": "Sequential"}]', "layer 0 is"),
        ('[{"type": "operator"}]', "layer 0 is"),
        ('[{"type": "LSTM", "hidden": 4}]', "unexpected keyword argument 'hidden'"),
        ('[{"type": "LSTM", "hidden_size": "4"}]', "hidden_size is '4'"),
        ('[{"type": "Add"}]', "layer 0 is"),
    ],
)
def test_specs_that_mean_nothing_are_refused(spec: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    path.write_text(spec)
    with pytest.raises(rn.UnsupportedModelError, match=message):
        read_architecture(path)


def test_inspect_says_what_is_there_and_what_is_missing(weights: Path, capsys: Any) -> None:
    found = rn.inspect(weights)
    assert found.format == "npz"
    assert found.parameters == 12 * (3 + 4 + 2) + 2 * 4 + 2
    (layer,) = found.layers
    assert str(layer) == (
        "net.enc: GRU(input_size=3, hidden_size=4, num_layers=1, bias=True, bidirectional=False)"
    )
    assert "architecture=" in found.missing
    assert found.tensors["net.out.weight"] == "float32[2, 4]"
    assert main(["inspect", str(weights)]) == DONE
    assert capsys.readouterr().out.strip() == str(found)
    assert main(["inspect", str(weights), "--json"]) == DONE
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found.as_dict()))


def test_inspect_of_a_model_file(weights: Path) -> None:
    model = rn.load(weights, layer="net.enc")
    from rnnengine.importers.native import pack

    found = rn.inspect(pack(model.portable_graph()))
    assert found.format == "rnne"
    assert found.missing == ""
    assert found.inputs == ("input: float32[time, batch, 3]",)
    assert [layer.cell for layer in found.layers] == ["GRU"]


def test_inspect_says_what_layers_would_be_computed_in(
    weights: Path, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "model.rnne"
    rn.save(rn.load(weights, layer="net.enc"), path)
    assert main(["inspect", str(path), "--compute-type", "int8", "--json"]) == DONE
    (choice,) = json.loads(capsys.readouterr().out)["choices"]
    assert (choice["op"], choice["compute_type"]) == ("GRU", "int8")
    assert main(["inspect", str(path), "--compute-type", "auto"]) == DONE
    assert "of float32 weights are within" in capsys.readouterr().out
    words = ["inspect", str(path), "--compute-type", "int8", "--keep", choice["node"], "--json"]
    assert main(words) == REFUSED
    assert "GRU in float32 (kept)" in capsys.readouterr().out
    assert main(["inspect", str(path), "--keep", "x"]) == WRONG_USE
    assert "--compute-type" in capsys.readouterr().err


def test_damaged_layers_are_told(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.savez(file, **{"a.weight_ih_l0": np.zeros((7, 3)), "a.weight_hh_l0": np.zeros((7, 4))})
    (layer,) = rn.inspect(file.getvalue()).layers
    assert layer.cell == "damaged"
    assert "1, 3 or 4 times 4 rows" in layer.words["reason"]


def test_env_and_the_tools(weights: Path, root: Path, capsys: Any) -> None:
    assert main(["env", "--json"]) == DONE
    report = json.loads(capsys.readouterr().out)
    assert report["rnnengine"] == rn.__version__
    assert report["cpu"]["isa"] in report["cpu"]["available"]
    assert main(["env"]) == DONE
    home = str(Path(next(iter(rn.__path__))).parent)
    for words in (["-m", "rnnengine", "inspect"], [str(root / "tools" / "inspect_file.py")]):
        done = subprocess.run(
            [sys.executable, *words, str(weights)], env={"PYTHONPATH": home},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "net.enc: GRU(" in done.stdout


def test_validate_says_what_it_found_and_exits_with_it(
    weights: Path, tmp_path: Path, capsys: Any
) -> None:
    spec = tmp_path / "net.json"
    spec.write_text(json.dumps(SPEC))
    words = ["validate", str(weights), "--prefix", "net", "--architecture", str(spec)]
    x = np.random.default_rng(1).standard_normal((2, 5, 3)).astype(np.float32)
    y = rn.load(weights, architecture=read_architecture(spec), prefix="net").run(x)
    np.savez(tmp_path / "x.npz", input=x)
    np.savez(tmp_path / "y.npz", output=y)
    np.savez(tmp_path / "z.npz", output=y[:, ::-1])
    given = ["--samples", str(tmp_path / "x.npz"), "--expected"]
    assert main([*words, *given, str(tmp_path / "y.npz")]) == DONE
    shown = capsys.readouterr()
    assert "against float64 and expected outputs: passed" in shown.out
    assert f"validate {weights} 1/1: run sample 1" in shown.err
    assert main([*words, *given, str(tmp_path / "z.npz"), "--json"]) == FAILED
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is False
    assert report["cause"] is None
    assert report["tried"] > 10
    (tmp_path / "pickle.npz").write_bytes(b"\x80\x04.")
    assert main([*words, "--samples", str(tmp_path / "pickle.npz")]) == WRONG_USE
    assert "no .npz file" in capsys.readouterr().err
    assert main([*words, "--expected", str(tmp_path / "y.npz")]) == WRONG_USE
    absent = [*words, "--against", "torch", "--python", str(tmp_path / "absent")]
    assert main(absent) == WRONG_USE
    assert "cannot be started" in capsys.readouterr().err


def test_convert_validates_and_keeps_the_verdict(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("onnxruntime")
    source = Path(__file__).parent.parent / "examples" / "digits" / "digits.onnx"
    target = tmp_path / "m.rnne"
    words = ["convert", str(source), "-o", str(target), "--validate"]
    assert main([*words, "--json"]) == DONE
    report = json.loads(capsys.readouterr().out)
    assert report["validation"]["passed"] is True
    assert report["same_bits"] is True
    said = rn.inspect(target).validation
    assert said["passed"] == "yes"
    assert said["against"].startswith("onnxruntime ")
    assert float(said["max_abs"]) < 1e-5
    assert main(["inspect", str(target)]) == DONE
    assert "validated  passed: yes" in capsys.readouterr().out


def test_convert_writes_nothing_where_validation_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """An importer that reads the gates of the file in another order, seen by onnxruntime."""
    pytest.importorskip("onnxruntime")
    from rnnengine.importers import gates

    monkeypatch.setitem(gates.ONNX, "LSTM", "ifgo")
    source = Path(__file__).parent.parent / "examples" / "digits" / "digits.onnx"
    target = tmp_path / "m.rnne"
    assert main(["convert", str(source), "-o", str(target), "--validate"]) == FAILED
    assert not target.exists()
    shown = capsys.readouterr().out
    assert "not written: validation failed" in shown
    assert "cause   gate order" in shown


@pytest.mark.parametrize("words", [["env"], ["env", "--json"], ["--help"], ["inspect", "missing"]])
def test_output_that_nobody_reads_ends_quietly(words: list[str]) -> None:
    """As `rnnengine ... | head` where head has read enough: the code shells give for SIGPIPE."""
    reader, writer = os.pipe()
    os.close(reader)
    code = "import sys; from rnnengine.cli import main; sys.exit(main())"
    errors = writer if "missing" in words else subprocess.PIPE
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}  # argparse itself drops what it cannot write
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, stdout=writer, stderr=errors, env=buffered, check=False)
    os.close(writer)
    assert done.returncode == CUT_OFF == 128 + signal.SIGPIPE
    assert not done.stderr


FORECASTER = Path(__file__).parent.parent / "examples" / "models" / "forecaster.onnx"


@pytest.fixture
def series(tmp_path: Path) -> Path:
    with np.load(FORECASTER.with_suffix(".npz")) as file:
        np.save(tmp_path / "series.npy", file["x.series"])
    return tmp_path / "series.npy"


def test_convert_says_what_a_compute_type_costs(series: Path, tmp_path: Path, capsys: Any) -> None:
    """The numbers are those of the two models against float64, by output and over time."""
    pytest.importorskip("onnx")
    from rnnengine.ops import evaluate

    target = tmp_path / "m.rnne"
    words = ["convert", str(FORECASTER), "-o", str(target), "--compute-type", "int8"]
    assert main([*words, "--samples", str(series), "--json"]) == DONE
    report = json.loads(capsys.readouterr().out)
    assert report["compute_type"] == "int8"
    assert report["same_bits"] is True
    x = np.load(series)
    plain, low = rn.load(FORECASTER), rn.load(target)
    assert low.compute_type == "int8"
    (name,) = (info.name for info in plain.inputs)
    (exact,) = evaluate(plain.imported_graph({}), {name: x}).values()
    (found,) = report["accuracy"]["outputs"]
    for model, said in ((low, found["errors"]), (plain, found["baseline"])):
        apart = np.abs(model.run(x) - exact)
        assert said["max_abs"] == pytest.approx(apart.max(), rel=1e-12)
        assert said["rms"] == pytest.approx(np.sqrt(np.mean(apart**2)), rel=1e-12)
        np.testing.assert_allclose(said["over_time"], apart.max(axis=(0, 2)), rtol=1e-12)
    assert found["baseline"]["max_abs"] < 1e-5 < found["errors"]["max_abs"] < 0.1

    assert main([*words, "--force"]) == DONE  # generated inputs
    shown = capsys.readouterr().out
    assert "int8 and float32 against float64:" in shown
    assert "  usual " in shown
    assert "over time 0:" in shown

    again = ["convert", str(target), "-o", str(tmp_path / "n.rnne"), "--max-error", "0.1"]
    assert main(again) == DONE  # float64 of the weights that the file holds
    assert "holds weights in int8: float64 is of these" in capsys.readouterr().out


def test_convert_writes_nothing_beyond_the_error(series: Path, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("onnx")
    target = tmp_path / "m.rnne"
    words = ["convert", str(FORECASTER), "-o", str(target), "--samples", str(series), "--json"]
    assert main([*words, "--compute-type", "int8", "--max-error", "1e-6"]) == FAILED
    report = json.loads(capsys.readouterr().out)
    assert report["written"] is False
    assert report["accuracy"]["passed"] is False
    assert report["accuracy"]["max_abs"] > 1e-6 == report["accuracy"]["max_error"]
    assert not target.exists()
    assert main([*words[:-1], "--compute-type", "int8", "--max-error", "1e-6"]) == FAILED
    shown = capsys.readouterr().out
    assert "not written: an output is" in shown
    assert "TOO FAR" in shown
    assert main([*words, "--max-error", "1e-5"]) == DONE  # float32
    assert json.loads(capsys.readouterr().out)["accuracy"]["compute_type"] == "float32"
    assert main([*words, "--compute-type", "int8", "--max-error", "0.2", "--force"]) == DONE


def test_convert_keeps_layers_in_float32(series: Path, tmp_path: Path, capsys: Any) -> None:
    """The more is kept, the nearer; a name that is none is refused with those that are."""
    pytest.importorskip("onnx")
    words = ["convert", str(FORECASTER), "--samples", str(series), "--json", "--force"]
    words += ["-o", str(tmp_path / "m.rnne"), "--compute-type", "int8"]
    errors = []
    for kept in ([], ["--keep", "*gru*"], ["--keep", "*gru*", "node_MatMul_3", "--keep", "*6*"]):
        assert main([*words, *kept]) == DONE
        errors.append(json.loads(capsys.readouterr().out)["accuracy"]["max_abs"])
    assert errors[0] > errors[1] > errors[2] > 1e-5
    assert main([*words, "--keep", "nothing"]) == REFUSED
    assert "gru" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert main(["convert", str(FORECASTER), "-o", "x", "--keep", "gru"]) == WRONG_USE
    assert "--keep names layers" in capsys.readouterr().err


def test_samples_are_files_of_arrays(series: Path, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("onnx")
    target = tmp_path / "m.rnne"
    words = ["convert", str(FORECASTER), "-o", str(target), "--max-error", "1", "--samples"]
    broken = tmp_path / "broken.npy"
    broken.write_bytes(b"\x93NUMPY\x01\x00")
    assert main([*words, str(broken)]) == WRONG_USE
    assert "no .npy file of an array" in capsys.readouterr().err
    np.save(broken, np.array([{}]), allow_pickle=True)
    assert main([*words, str(broken)]) == WRONG_USE
    assert main([*words, str(tmp_path / "absent.npy")]) == WRONG_USE
    np.savez(tmp_path / "x.npz", other=np.zeros(3))
    assert main([*words, str(tmp_path / "x.npz")]) == REFUSED
    assert "inputs are other; the model takes" in capsys.readouterr().err
    several = FORECASTER.with_name("deepar.onnx")
    words[1] = str(several)
    assert main([*words, str(series)]) == WRONG_USE
    assert "the model has the inputs last, known" in capsys.readouterr().err
    for wrong in ("nan", "-1", "inf", "x"):
        with pytest.raises(SystemExit) as caught:
            main(["convert", str(FORECASTER), "-o", str(target), "--max-error", wrong])
        assert caught.value.code == WRONG_USE
    assert not target.exists()
    checked = ["validate", str(FORECASTER), "--against", "onnxruntime", "--samples", str(series)]
    pytest.importorskip("onnxruntime")
    assert main([*checked, "--json"]) == DONE
    names = [sample["name"] for sample in json.loads(capsys.readouterr().out)["samples"]]
    assert names[-1] == "sample 1"
