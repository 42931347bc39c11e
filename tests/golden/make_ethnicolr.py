"""Write what tf.keras makes of 2000 names: ``python tests/golden/make_ethnicolr.py FOLDER``.

FOLDER holds the published ethnicolr model and its vocabulary. Wants this package,
tf.keras 2 and TensorFlow. The same versions give the same numbers. ``ethnicolr.npz`` gets

* ``probabilities``: float32 [names, classes], as tf.keras computes them;
* ``error``: how far that is from the same network in float64, at most;
* ``crc``: of the numbers that went in, so that a test can say if they changed.
"""

from __future__ import annotations

import os
import sys
import zlib
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tf_keras as k
from common import HERE

from rnnengine.bench.surnames import numbers, surnames

NAMES = 2000


def main(folder: Path) -> None:
    x = numbers(folder, surnames(folder, NAMES))
    model = k.models.load_model(folder / "census2010_ln_lstm.h5", compile=False)
    found = np.asarray(model(x, training=False))
    exact = k.models.model_from_json(model.to_json().replace("float32", "float64"))
    exact.set_weights([w.astype(np.float64) for w in model.get_weights()])
    reference = np.asarray(exact(x, training=False))
    assert reference.dtype == np.float64
    assert np.array_equal(found.argmax(1), reference.argmax(1))
    error = np.abs(found - reference).max()
    print("labels:", np.bincount(found.argmax(1)), "error:", error)
    np.savez_compressed(
        HERE / "ethnicolr.npz", probabilities=found, error=error, crc=zlib.crc32(x.tobytes())
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
