"""ONNX's own tests of single operators: each passes or is refused for a recorded reason."""

from __future__ import annotations

import json
from pathlib import Path

import onnx

from node_tests import RECORD, examine, sentence

ROOT = Path(__file__).resolve().parent.parent


def test_all_node_tests_pass_or_are_refused_by_name() -> None:
    """None crashes, computes something else, or is refused that the record says runs."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert onnx.__version__ == record["onnx"], "made for another onnx: tests/node_tests.py --write"
    found = examine()
    assert not found.faults, "\n".join(f"{k}: {v}" for k, v in found.faults.items())
    assert found.others > 500
    assert sorted(found.fixed) == record["fixed"]
    assert {k: sorted(v) for k, v in found.refused.items()} == record["refused"]
    assert len(found.run) == record["run"]


def test_the_readme_states_the_counts() -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert sentence(record) in " ".join(readme.split())
