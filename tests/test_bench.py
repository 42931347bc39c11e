"""The benchmark runs, agrees with its peer and writes its record; no test asks how fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_layer_benchmark_writes_a_record(tmp_path: Path) -> None:
    from rnnengine.bench.report import markdown

    record = tmp_path / "record.json"
    options = ["--cells", "GRU", "--hidden", "32", "--steps", "1", "100", "--rounds", "2"]
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "tools" / "bench.py"),
            "layer",
            *options,
            "--json",
            str(record),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = json.loads(record.read_text(encoding="utf-8"))
    assert [row["steps"] for row in written["results"]] == [1, 100]
    assert all(row["max_abs_difference"] <= 1e-5 for row in written["results"])
    assert written["versions"]["rnnengine"]
    assert "GRU H=32 T=100" in markdown(written)
