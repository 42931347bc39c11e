"""Files open where no framework can be imported, and most of them with NumPy alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from golden_files import FILES

FRAMEWORKS = ["torch", "tensorflow", "keras", "tf_keras", "h5py", "onnxruntime"]
READERS = ["onnx", "pyfive", "safetensors", "google"]
"""What the extras install, and what onnx needs."""
PLAIN = ("torch/", "native/")
"""Folders of golden files that NumPy alone opens: PyTorch, safetensors, npz and .rnne."""

G2P = {
    f"weight_{side}_l0": f"enc_w_{side}" for side in ("ih", "hh")
} | {f"bias_{side}_l0": f"enc_b_{side}" for side in ("ih", "hh")}  # fmt: skip
WEIGHTS = {
    "dtln-pytorch/model.pth": {"layer": "sep2.rnn1"},
    "gtcrn/model_trained_on_dns3.tar": {"layer": "dpgrnn1.intra_rnn.rnn1"},
    "noaa-lstm/model_epoch009.pt": {"layer": "lstm"},
    "g2p_en/checkpoint20.npz": {
        "architecture": f"rn.GRU(256, 256, weights={G2P})",
        "layer": "encoder",
    },
}
"""Published files of weights, and what is loaded of them."""
WITH_READERS = {
    "dtln/model.h5": {"layer": "lstm_2"},
    "dtln/model_1.onnx": {},
    "dtln-pytorch/model_p1.onnx": {},
    "ethnicolr/census2010_ln_lstm.h5": {},
}


def opened(
    blocked: list[str], golden: list[str], files: list[tuple[str, dict[str, str]]]
) -> dict[str, Any]:
    """What opens in a process of its own."""
    import rnnengine

    request = {"blocked": blocked, "golden": golden, "files": files}
    here = Path(__file__).parent
    roots = [str(here), str(Path(rnnengine.__file__).parent.parent)]
    done = subprocess.run(
        [sys.executable, str(here / "blocked.py"), json.dumps(request)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["imported"] == []
    assert found["opened"] == [*golden, *(p for p, _ in files if p not in found["refused"])]
    return found


def zoo_files(zoo: Path, table: dict[str, dict[str, str]]) -> list[tuple[str, dict[str, str]]]:
    return [(str(zoo / name), arguments) for name, arguments in table.items()]


def test_the_wall_stops_what_is_behind_it() -> None:
    """Otherwise the tests below would show nothing."""
    code = (
        "import sys; from blocked import Wall; sys.meta_path.insert(0, Wall(['email']))\n"
        "try:\n    import email.message\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "email is blocked"


def test_golden_files_without_frameworks() -> None:
    """All of them, and they compute the same."""
    for package in ("onnx", "pyfive"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    assert opened(FRAMEWORKS, list(FILES), [])["refused"] == {}


def test_golden_files_with_numpy_alone() -> None:
    names = [name for name in FILES if name.startswith(PLAIN)]
    suffixes = {Path(name).suffix for name in names}
    assert {".pt", ".pth", ".pt2", ".tar", ".ckpt", ".safetensors", ".npz", ".rnne"} <= suffixes
    assert opened(FRAMEWORKS + READERS, names, [])["refused"] == {}


def test_a_refusal_is_not_hidden_by_a_missing_package() -> None:
    """Weights without a description are refused as such, also where ONNX cannot be read."""
    path = str(FILES["torch/zip.pt"].path)
    message = opened(FRAMEWORKS + READERS, [], [(path, {})])["refused"][path]
    assert "architecture=" in message


@pytest.mark.zoo
def test_published_files_without_frameworks(zoo: Path) -> None:
    for package in ("onnx", "pyfive"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    told = zoo_files(zoo, WEIGHTS | WITH_READERS)
    nodes = [(str(p), {}) for p in sorted(zoo.glob("conformance/**/*.onnx"))]
    assert len(nodes) == 24
    whole = [(str(zoo / "gtcrn/gtcrn_simple.onnx"), {})]
    assert opened(FRAMEWORKS, [], [*told, *nodes, *whole])["refused"] == {}


@pytest.mark.zoo
def test_published_weights_with_numpy_alone(zoo: Path) -> None:
    assert opened(FRAMEWORKS + READERS, [], zoo_files(zoo, WEIGHTS))["refused"] == {}
