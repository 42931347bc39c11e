"""Make the golden files of Keras: ``python tests/golden/make_keras.py keras`` (or ``tf_keras``).

``keras`` wants Keras 3, ``tf_keras`` wants tf.keras 2; both with TensorFlow, whose products in
float64 are products in float64. Names of networks after that make these alone. The networks are
those of ``keras_networks.py``. The same seeds give the same bytes: archives are written again
without their dates.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

import h5py
import numpy as np
import tensorflow as tf
from common import Array, Folder, drawn, rezipped, undated
from keras_networks import NETS, Net

ROOMY = 20_000
"""Archives beyond this many bytes, which are mostly empty space of HDF5, are deflated."""
NAMES = {"keras": "keras3", "tf_keras": "tf_keras"}


def built(k: Any, net: Net, floatx: str) -> Any:
    """The network with every weight drawn anew, in one precision."""
    k.backend.clear_session()
    k.backend.set_floatx(floatx)
    made = net.make(k)
    variables = made.weights
    values = []
    for i, variable in enumerate(variables):
        value = drawn(4000 + i, *variable.shape, scale=net.scale)
        name = getattr(variable, "path", variable.name)
        values.append(np.abs(value) + np.float32(0.5) if "variance" in name else value)
        if "seed" in name:
            values[-1] = np.asarray(variable)
    made.set_weights(values)
    return made


def flat(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in flat(part)]
    return [value]


def outcome(made: Any, net: Net, floatx: str) -> list[Array]:
    """What the network computes; one output for each call where state is carried."""
    given = [x.astype(floatx) if x.dtype.kind == "f" else x for x in net.inputs]
    if net.calls:
        cuts = np.cumsum(net.calls)[:-1]
        return [np.asarray(made(part, training=False)) for part in np.split(given[0], cuts, axis=1)]
    found = made(given if len(given) > 1 else given[0], training=False)
    return [np.asarray(y) for y in flat(found)]


def saved(made: Any, container: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model.{container.replace('weights_only', 'alone')}"
        (made.save_weights if "weights" in container else made.save)(path)
        content = path.read_bytes()
    if container != "keras":
        return content
    return rezipped(
        content,
        change=undated,
        method=zipfile.ZIP_DEFLATED if len(content) > ROOMY else zipfile.ZIP_STORED,
    )


def main(package: str, only: list[str]) -> None:
    k = importlib.import_module(package)
    folder = Folder(
        NAMES[package],
        {
            package: k.__version__, "tensorflow": tf.__version__, "h5py": h5py.__version__,
            "numpy": np.__version__,
        },
        keep=bool(only),
    )  # fmt: skip
    for name, net in NETS.items():
        containers = getattr(net, package)
        if not containers or (only and name not in only):
            continue
        exact = outcome(built(k, net, "float64"), net, "float64")
        made = built(k, net, "float32")
        witness = outcome(made, net, "float32")
        for container in containers:
            load = {"architecture": net.architecture} if "weights" in container else {}
            assert all(load.values()), name
            folder.add(f"{name}.{container}", saved(made, container), net.what, net.inputs, exact,
                       witness, load=load, calls=net.calls)  # fmt: skip
    with contextlib.suppress(ValueError):
        k.backend.set_floatx("float32")
    folder.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
