"""What a caller asks for in fewer bytes, on this machine."""

from __future__ import annotations

from collections.abc import Iterable

from rnnengine._c.caches import core_caches
from rnnengine.passes.auto import Machine
from rnnengine.passes.lower import Lowering, check_request

__all__ = ["Lowering", "check_request", "requested"]


def requested(compute_type: str | None, keep: Iterable[str], isa: str) -> Lowering | None:
    """What is to become of a graph; None where it stays as it is.

    Raises
    ------
    ValueError
        As :func:`check_request`.
    """
    kept = check_request(compute_type, keep)
    if compute_type is None:
        return None
    return Lowering(compute_type, kept, Machine(*core_caches(), isa))
