from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnengine._c.core import Program

class Plan:
    program: Program
    state_names: list[str]
    def __init__(
        self,
        program: Program,
        inputs: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
        states: list[tuple[str, int, int, int, NDArray[np.float32] | None]],
        hidden: set[int],
    ) -> None: ...

class Runner:
    plan: Plan
    def __init__(self, plan: Plan) -> None: ...
    def run(
        self,
        x: Any,
        *,
        out: Any = None,
        state: dict[str, Any] | None = None,
        return_state: bool = False,
        lengths: Any = None,
    ) -> Any: ...
    def _execute(self, plan: Plan, x: Any, out: Any) -> Any: ...
    def _run_at(self, x: Any, out: Any, reason: str) -> Any: ...
    def _run_with(
        self, x: Any, out: Any, state: dict[str, Any] | None, return_state: bool, lengths: Any
    ) -> Any: ...

class StreamRunner:
    plan: Plan
    def __init__(self, plan: Plan, sizes: dict[int, int]) -> None: ...
    def step(self, x: Any, *, out: Any = None) -> Any: ...
    def _reset(self) -> None: ...
    def _get(self) -> dict[str, NDArray[np.float32]]: ...
    def _set(self, arrays: dict[str, Any]) -> None: ...
