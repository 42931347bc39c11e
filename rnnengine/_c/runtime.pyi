from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnengine._c.plan import Plan

class Runner:
    plan: Plan
    threads: int
    def __init__(self, plan: Plan | None, threads: int = 1) -> None: ...
    def run(
        self,
        x: Any,
        *,
        out: Any = None,
        state: dict[str, Any] | None = None,
        return_state: bool = False,
        lengths: Any = None,
        threads: int | None = None,
    ) -> Any: ...
    def _execute(self, plan: Plan, x: Any, out: Any, threads: int | None) -> Any: ...
    def _run_at(self, x: Any, out: Any, threads: int | None, reason: str) -> Any: ...
    def _run_with(
        self,
        x: Any,
        out: Any,
        state: dict[str, Any] | None,
        return_state: bool,
        lengths: Any,
        threads: int | None,
    ) -> Any: ...

class StreamRunner:
    plan: Plan
    def __init__(self, plan: Plan, sizes: dict[int, int], threads: int = 1) -> None: ...
    def step(self, x: Any, *, out: Any = None) -> Any: ...
    def _over_long(self, x: Any, out: Any = None) -> Any: ...
    def _reset(self) -> None: ...
    def _get(self) -> dict[str, NDArray[np.float32]]: ...
    def _set(self, arrays: dict[str, Any]) -> None: ...
