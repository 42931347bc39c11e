"""Files of every framework and container: loaded, run, and held against float64."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

import rnnengine as rn
from golden_files import FILES, FOLDERS, HERE, error_of, load, outputs
from rnnengine.bench.surnames import numbers, surnames

LARGEST = 50_000
NEEDS = {".onnx": "onnx", ".keras": "pyfive", ".h5": "pyfive"}


@pytest.mark.parametrize("name", FILES)
def test_file(name: str) -> None:
    one = FILES[name]
    if one.path.suffix in NEEDS:
        package = NEEDS[one.path.suffix]
        pytest.importorskip(package, reason=f"{package} is not installed")
    error_of(one, outputs(one, load(one)))


def test_the_matrix_is_whole() -> None:
    """As many files as promised, small ones, and none that the manifests do not know."""
    assert len(FILES) >= 300
    there = {p for f in FOLDERS for p in (HERE / f).iterdir() if p.name != "manifest.json"}
    known = {p for one in FILES.values() for p in (one.path, Path(f"{one.path}.npz"))}
    assert there == known
    assert max(p.stat().st_size for p in known) <= LARGEST


def test_a_layer_inside_time_distributed_has_no_stream() -> None:
    """It has several states for each row; the model runs whole sequences all the same."""
    pytest.importorskip("pyfive", reason="pyfive is not installed")
    model = load(FILES["composed/cudnn_time_distributed.h5"])
    with pytest.raises(rn.UnsupportedModelError, match=r"over 4\*batch rows, several for each"):
        model.stream()


@pytest.mark.zoo
def test_ethnicolr_labels(zoo: Path) -> None:
    """The labels that tf.keras gives to 2000 names, and its probabilities."""
    pytest.importorskip("pyfive", reason="pyfive is not installed")
    folder = zoo / "ethnicolr"
    with np.load(HERE / "ethnicolr.npz") as file:
        expected, error, crc = (file[n] for n in ("probabilities", "error", "crc"))
    x = numbers(folder, surnames(folder, len(expected)))
    assert zlib.crc32(x.tobytes()) == crc, "the names are not those that tf.keras was given"
    found = rn.load(folder / "census2010_ln_lstm.h5").run(x)
    assert len(set(expected.argmax(axis=1))) == 4
    assert np.array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    assert np.abs(found - expected).max() <= 2e-6 + error
