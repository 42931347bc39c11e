"""Stream: the recurrent state of one listener, advanced step by step."""

from __future__ import annotations

from collections.abc import Mapping
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnengine._c.runtime import StreamRunner
from rnnengine.compiler import Form
from rnnengine.errors import ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Stream"]


class Stream(StreamRunner):
    """One stream, or a batch of streams in lockstep, over a :class:`Model`.

    Streams come from :meth:`Model.stream`. A stream belongs to one thread at a time; any number of
    streams may run over the same model at once. Feeding a sequence in pieces of any size gives the
    bits of feeding it whole.

    Attributes
    ----------
    batch : int or None
        Rows that advance together; None where the model fixes it.
    """

    batch: int | None

    def __init__(self, form: Form, batch: int | None, threads: int = 1) -> None:
        free = form.batch
        batch = None if batch is None else _rows(batch)
        if free is None and batch is not None:
            form.check_batch(batch)
        self._form = form
        self._threads = threads
        self.batch = (1 if batch is None else batch) if free is not None else batch
        sizes = {} if free is None else {form.compiled.symbols.index(free): self.batch or 0}
        super().__init__(form.compiled.plan, sizes, threads)

    @property
    def state(self) -> dict[str, NDArray[np.float32]]:
        """Copy of the state, by name; assigning a dict sets the states it names."""
        return self._get()

    @state.setter
    def state(self, arrays: Mapping[str, Any]) -> None:
        if not isinstance(arrays, Mapping):
            raise TypeError(f"state: expected a dict of arrays, got {type(arrays).__name__}")
        unknown = [name for name in arrays if name not in self.plan.state_names]
        if unknown:
            raise ShapeError(
                f"state: no state named {unknown[0]!r}; states: {', '.join(self.plan.state_names)}"
            )
        self._set(dict(arrays))

    def reset(self) -> None:
        """Return to the initial state."""
        self._reset()

    def clone(self) -> Stream:
        """Return an independent stream in the same state."""
        twin = Stream(self._form, self.batch, self._threads)
        twin._set(self._get())
        return twin

    def snapshot(self) -> bytes:
        """Return the state as bytes, to be restored in this process or another one.

        They name the model by a fingerprint of its program and weights, worked out once for a
        model. Another version of the package may compile a model differently and refuse them; what
        is to be kept for longer is ``state``.
        """
        from rnnengine.snapshots import write_snapshot

        return write_snapshot(self._get(), self._form.fingerprint, self._form.compute_type)

    def restore(self, blob: bytes) -> None:
        """Take over the state of a snapshot of the same model and batch.

        Raises
        ------
        StreamStateLost
            The snapshot is damaged, of another model or of another compute type; the state is as it
            was.
        ShapeError
            It is of another batch; the state is as it was.
        """
        from rnnengine.snapshots import read_snapshot

        self._set(read_snapshot(blob, self._form.fingerprint, self._form.compute_type))

    def __copy__(self) -> Stream:
        return self.clone()

    def __deepcopy__(self, memo: dict[int, Any]) -> Stream:
        return self.clone()

    def __repr__(self) -> str:
        states = ", ".join(f"{name}{list(array.shape)}" for name, array in self.state.items())
        name = self._form.graph.name
        return f"<rnnengine.Stream of {name!r}, batch {self.batch}, state {states or 'none'}>"


def _rows(batch: Any) -> int:
    """Check a number of rows."""
    try:
        rows = index(batch)
    except TypeError:
        raise TypeError(f"stream: batch is {batch!r}; expected an integer") from None
    if not 0 <= rows < 2**31:
        raise ShapeError(f"stream: batch is {rows}; expected 0 to {2**31 - 1}")
    return rows
