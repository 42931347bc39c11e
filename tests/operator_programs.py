"""Programs of single operators, recorded with their inputs and bits."""

from __future__ import annotations

import numpy as np

import rnnengine as rn
from oracle.forms import CONV, FORMS, model
from rnnengine.errors import UnsupportedModelError
from vectors import VectorFile

__all__ = ["OPERATORS", "record_operators"]

OPERATORS = [form for form in FORMS if form.op not in {other.op for other in CONV}]
"""Forms of all operators but convolutions, pools and batch normalisation."""


def record_operators(vectors: VectorFile) -> int:
    """Add a program for each form that runs; returns how many did.

    Integers and truth values are int32 in a program.
    """
    count = 0
    for form in OPERATORS:
        content, feeds = model(form, form.opsets[-1])
        try:
            loaded = rn.load(content)
        except UnsupportedModelError:
            continue
        compiled = loaded._form.compiled
        inputs = [
            np.ascontiguousarray(v if v.dtype == np.float32 else v.astype(np.int32))
            for v in (feeds[port.name] for port in loaded._form.graph.inputs)
        ]
        vectors.add(compiled, [], inputs)
        count += 1
    return count
