"""Masks of Keras: which steps of a sequence count, as int32 [B, T]."""

from __future__ import annotations

import numpy as np

from rnnengine.errors import ShapeError
from rnnengine.graph import TensorType
from rnnengine.ops.registry import (
    Array,
    Attrs,
    Known,
    NotAlongTime,
    Op,
    TimeAxes,
    Types,
    Values,
    register,
)
from rnnengine.ops.sizes import as_computed, present, require_dtype, required

__all__: list[str] = []


def _infer_ids(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    ids = present(types, 0, "ids")
    if ids.dtype != np.int32:
        raise ShapeError(f"MaskIds: ids is {ids}; expected int32")
    return [ids]


def _reference_ids(attrs: Attrs, values: Values) -> list[Array]:
    """1 where ids != 0 (Embedding.compute_mask of Keras)."""
    return [(required(values, 0) != 0).astype(np.int32)]


def _stream_ids(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    return [axes[0]]


register(Op("MaskIds", _infer_ids, _reference_ids, _stream_ids))


def _infer_values(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x = present(types, 0, "x")
    require_dtype(x.dtype, "f", "MaskValues: x")
    if x.rank < 1:
        raise ShapeError(f"MaskValues: x is {x}; expected rank 1 or more")
    return [TensorType(np.dtype(np.int32), x.shape[:-1])]


def _reference_values(attrs: Attrs, values: Values) -> list[Array]:
    """1 where any feature differs from mask_value (Masking.compute_mask of Keras).

    The value is compared as float32, which is what the features are; NaN differs from everything.
    """
    x = as_computed(required(values, 0))
    value = float(np.float32(attrs["mask_value"]))
    return [np.any(x != value, axis=-1).astype(np.int32)]


def _stream_values(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    if axes[0] == present(types, 0, "x").rank - 1:
        raise NotAlongTime("MaskValues looks at all steps at once")
    return [axes[0]]


register(Op("MaskValues", _infer_values, _reference_values, _stream_values))
