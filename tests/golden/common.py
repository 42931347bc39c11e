"""What the makers of the golden files share: the manifest, expected values, stable archives.

A folder beside this file belongs to one maker. For each model file it has an ``.npz`` with

* ``x0, x1, ...``: the inputs, in the order of the model's inputs;
* ``y0, y1, ...``: the outputs in float64, computed from the float32 weights in the file;
* ``w0, w1, ...``: what the framework itself computes in float32, where it can (the witness).

``manifest.json`` describes the files; :class:`Folder` documents its fields.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

HERE = Path(__file__).parent
LARGEST = 50_000
"""Bytes that a model file and its expected values may take together."""
LONG = 50
"""Beyond this many steps errors may reach 1e-5 * max(1, max|y|) instead of 2e-6."""
_STAMP = (1980, 1, 1, 0, 0, 0)


class Folder:
    """Files of one maker, written anew as a whole unless they are to be kept.

    Parameters
    ----------
    name : str
    made_by : mapping of str to str
        Packages and their versions.
    keep : bool
        Replace only the files that are added; the packages must be of the same versions.
    """

    def __init__(self, name: str, made_by: Mapping[str, str], *, keep: bool = False) -> None:
        self.path = HERE / name
        self.made_by = dict(made_by)
        self.rows: dict[str, dict[str, Any]] = {}
        if keep:
            old = json.loads((self.path / "manifest.json").read_text(encoding="utf-8"))
            assert old["made_by"] == self.made_by, old["made_by"]
            self.rows = {row["file"]: row for row in old["files"]}
        else:
            shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir()

    def add(
        self,
        file: str,
        content: bytes,
        what: str,
        inputs: Sequence[Array],
        exact: Sequence[Array],
        witness: Sequence[Array] | str,
        *,
        load: Mapping[str, str] | None = None,
        calls: Sequence[int] | None = None,
        steps: int | None = None,
    ) -> None:
        """Write a model file with its expected values and describe it.

        Parameters
        ----------
        file : str
        content : bytes
        what : str
            What is special about the file.
        inputs, exact : sequence of array
            Inputs, and float64 outputs.
        witness : sequence of array, or str
            float32 outputs of the framework, or why there are none.
        load : mapping of str to str, optional
            Arguments of ``rn.load``; ``architecture`` is Python text.
        calls : sequence of int, optional
            Steps of each call where the framework carries state from call to call.
        steps : int, optional
            Longest sequence; by default the second axis of the first input.
        """
        assert all(y.dtype == np.float64 for y in exact), [y.dtype for y in exact]
        assert all(np.abs(y).max() < 100 for y in exact), file
        arrays = {f"x{i}": x for i, x in enumerate(inputs)} | {
            f"y{i}": y for i, y in enumerate(exact)
        }
        if not isinstance(witness, str):
            assert [w.shape for w in witness] == [y.shape for y in exact], file
            for one, y in zip(witness, exact, strict=True):
                assert one.dtype == np.float32, (file, one.dtype)
                assert np.isfinite(y).all(), file
            arrays |= {f"w{i}": w for i, w in enumerate(witness)}
        (self.path / file).write_bytes(content)
        expected = self.path / f"{file}.npz"
        np.savez_compressed(expected, **arrays)
        assert len(content) + expected.stat().st_size <= LARGEST, (file, len(content))
        longest = max(steps or inputs[0].shape[1], 1)
        row: dict[str, Any] = {"file": file, "what": what, "load": dict(load or {})}
        row["tolerance"] = 1e-5 if longest > LONG else 2e-6
        if calls:
            row["calls"] = list(calls)
        if isinstance(witness, str):
            row["no_witness"] = witness
        self.rows[file] = row

    def close(self) -> None:
        """Write the manifest."""
        manifest = {"made_by": self.made_by, "files": [*self.rows.values()]}
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        (self.path / "manifest.json").write_text(text + "\n", encoding="utf-8")
        print(f"{self.path.name}: {len(self.rows)} files")


def drawn(seed: int, *shape: int, scale: float = 1.0) -> Array:
    """Normal float32 numbers of a seed."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def rezipped(
    content: bytes,
    drop: Callable[[str], bool] = lambda name: False,
    change: Callable[[str, bytes], bytes] = lambda name, data: data,
    method: int = zipfile.ZIP_STORED,
) -> bytes:
    """Write a zip archive again: members without dates; some dropped or changed."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            if not drop(name):
                new.writestr(zipfile.ZipInfo(name, _STAMP), change(name, old.read(name)), method)
    return made.getvalue()


def undated(member: str, data: bytes) -> bytes:
    """Members of a ``.keras`` archive without what differs from run to run.

    That is the date in the metadata, and the addresses that objects go by in the configuration.
    """
    if member == "metadata.json":
        return re.sub(rb'"date_saved": "[^"]*"', b'"date_saved": "1980-01-01@00:00:00"', data)
    seen: dict[bytes, int] = {}

    def number(match: re.Match[bytes]) -> bytes:
        return b"%s%d" % (match[1], seen.setdefault(match[2], len(seen) + 1))

    if member == "config.json":
        return re.sub(rb'("shared_object_id": )(\d+)', number, data)
    return data
