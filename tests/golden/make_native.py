"""Make the golden ``.rnne`` files: ``python tests/golden/make_native.py`` with the project alone.

They are other golden files, converted; what is expected of them is what is expected of those. Files
that older versions wrote stay as they are: a new format gets files of its own beside them, by names
on the command line.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import HERE, Folder

import rnnengine as rn

sys.path.insert(0, str(HERE.parent))
from golden_files import FILES, load

SOURCES = {
    "tagger": "torch/zip.pt",
    "projected": "torch/lstm_proj_2_layers_bidirectional.pt",
    "classifier": "torch/classifier.pt",
    "everything": "onnx/lstm_everything.onnx",
    "batch_first": "onnx/gru_layout_22.onnx",
    "activations": "keras3/activations_of_gates.keras",
    "masks": "keras3/masking_bidirectional.keras",
    "stacked": "tf_keras/stacked_cells.h5",
}


def main(only: list[str]) -> None:
    made_by = {"rnnengine": rn.__version__, "numpy": np.__version__}
    folder = Folder("native", made_by, keep=bool(only))
    os.chdir(HERE)
    for name in only or SOURCES:
        source = FILES[SOURCES[name]]
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "model.rnne"
            # The files carry the name of the file they came from.
            rn.save(load(replace(source, path=source.path.relative_to(HERE))), path)
            content = path.read_bytes()
        exact = source.arrays("y")
        witness = source.arrays("w") or source.no_witness
        folder.add(f"{name}.rnne", content, f"{source}: {source.what}", source.arrays("x"), exact,
                   witness)  # fmt: skip
    folder.close()


if __name__ == "__main__":
    main(sys.argv[1:])
