from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnengine._c.core import Program

class Plan:
    program: Program
    state_names: list[str]
    most_steps: int
    in_chunks: Callable[[], Plan | None] | None
    def __init__(
        self,
        program: Program,
        inputs: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
        states: list[tuple[str, int, int, int, NDArray[np.float32] | None]],
        hidden: set[int],
        chunks: dict[str, Any] | None = None,
    ) -> None: ...
