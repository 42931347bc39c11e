"""Answer the samples of a job with a reference framework.

Usage: ``child.py FOLDER``. The folder holds ``job.json`` (``program``: which file beside this one;
``inputs``: names of the arrays of each sample; ``skip``: samples to leave out; what that file
takes) and ``in<i>.npz``. Written are ``result.json`` and, as soon as it is there, the answer to
each sample: ``out<i>.npz``, ``exact<i>.npz`` where the framework computes in float64,
``said<i>.json``. Answers that are there from an earlier run are kept.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def read(path: Path, names: list[str]) -> dict[str, Any]:
    """Arrays of a file by their names in the job."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[f"a{i}"] for i, name in enumerate(names)}


def write(path: Path, arrays: dict[str, Any]) -> list[str]:
    """Store arrays under numbers; return their names."""
    numbered: dict[str, Any] = {f"a{i}": np.asarray(v) for i, v in enumerate(arrays.values())}
    np.savez(path, **numbered)
    return list(arrays)


def store(path: Path, content: dict[str, Any]) -> None:
    """Write JSON."""
    path.write_text(json.dumps(content), encoding="utf-8")


def main() -> int:
    """Run the job."""
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    file = Path(__file__).with_name(f"run_{job['program']}.py")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    weights = job.get("weights")
    arrays = read(folder / "weights.npz", weights) if weights is not None else {}
    try:
        answerer = module.Answerer(job, arrays)
    except module.Refused as error:
        store(folder / "result.json", {"refused": str(error)})
        return 0
    store(folder / "result.json", {"version": answerer.version, "notes": answerer.notes})
    for i, names in enumerate(job["inputs"]):
        if i in job["skip"] or (folder / f"said{i}.json").exists():
            continue
        said: dict[str, Any] = {}
        try:
            answers = answerer(i, read(folder / f"in{i}.npz", names))
        except Exception as error:  # whatever a framework says of inputs it does not take
            said["error"] = f"{type(error).__name__}: {str(error)[:300]}"
        else:
            for key, found in zip(("out", "exact"), answers, strict=False):
                said[key] = write(folder / f"{key}{i}.npz", found)
        store(folder / f"said{i}.json", said)
    return 0


if __name__ == "__main__":
    sys.exit(main())
