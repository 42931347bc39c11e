from typing import Any

import numpy as np
from numpy.typing import NDArray

class Misfit(RuntimeError): ...
class Lengthy(RuntimeError): ...

def features() -> tuple[str, ...]: ...
def tables() -> tuple[tuple[str, bool], ...]: ...
def aligned(count: int) -> NDArray[np.float32]: ...
def pack(
    src: NDArray[np.float32], dst: NDArray[np.float32] | None = None
) -> NDArray[np.float32]: ...
def unary(
    isa: str, act: int, alpha: float, beta: float, gamma: float, x: NDArray[Any]
) -> NDArray[np.float32]: ...
def read_floats(isa: str, data: NDArray[np.float32], repeat: int) -> float: ...
def fma_chain(isa: str, repeat: int) -> int: ...
def meet(threads: int, rounds: int) -> int: ...

class Program:
    isa: str
    n_symbols: int
    n_inputs: int
    n_outputs: int
    def __init__(
        self,
        isa: str,
        tables: dict[str, NDArray[Any]],
        constants: list[NDArray[Any]],
        n_symbols: int,
        n_inputs: int,
        n_outputs: int,
        n_slots: int,
    ) -> None: ...

class Context:
    program: Program
    arena_bytes: int
    def __init__(self, program: Program) -> None: ...
    def execute(
        self,
        symbols: list[int],
        inputs: list[NDArray[Any]],
        outputs: list[NDArray[Any]],
        threads: int = 1,
    ) -> None: ...
    def size(self, expr: int) -> int: ...
    def together(self, instr: int) -> int: ...
