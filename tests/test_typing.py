"""A typed program that uses the public interface passes mypy --strict."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parent / "typing" / "api.py"


def test_use_of_the_interface_passes_mypy_strict(tmp_path: Path) -> None:
    import rnnengine

    home = Path(next(iter(rnnengine.__path__))).parent
    # mypy finds an installed package by itself and refuses to be pointed at it.
    beside = {} if "site-packages" in home.parts else {"MYPYPATH": str(home)}
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(EXAMPLE)]
    done = subprocess.run(
        [*command, f"--cache-dir={tmp_path}"],
        cwd=tmp_path,
        env=os.environ | beside,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
