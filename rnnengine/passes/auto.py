"""The rule of ``compute_type="auto"``: what is fastest for a layer on a machine.

A layer's matrices are read once in every step, so at a batch of one their bytes are its time, as
soon as they come from further away than the first cache:

* Weights that lie in L1 as float32 stay float32: there the arithmetic takes the time.
* Larger weights of recurrent layers and of products are computed in int8, with activations of 16
  bits.
* Convolutions stay float32: a window is used at every position, so their weights are near anyway.
* Without vector instructions everything stays float32, because conversions then cost more than the
  bytes.

The rule asks the sizes of the layer, the caches and the instruction set, and nothing else: the same
file gives the same model on the same machine.
"""

from __future__ import annotations

from rnnengine.records import record

__all__ = ["Machine", "automatic"]


@record
class Machine:
    """What the rule knows of a machine.

    Attributes
    ----------
    l1 : int
        Bytes of the first data cache of a core; 32 KB where the system does not say.
    isa : str
        Kernel table in use.
    """

    l1: int = 32 << 10
    isa: str = ""


def automatic(op: str, elements: int, machine: Machine) -> tuple[str, str]:
    """Compute type of a layer, and the reason.

    Parameters
    ----------
    op : str
        Operator of the layer.
    elements : int
        Of all its weight matrices.
    machine : Machine
    """
    if machine.isa == "scalar":
        return "float32", "auto: no vector instructions"
    if op in ("Conv", "ConvTranspose"):
        return "float32", "auto: a convolution"
    size, cache = f"{_kilobytes(4 * elements)} of float32 weights", _kilobytes(machine.l1)
    if 4 * elements <= machine.l1:
        return "float32", f"auto: {size} lie in L1 of {cache}"
    return "int8", f"auto: {size} do not lie in L1 of {cache}"


def _kilobytes(size: int) -> str:
    return f"{-(-size >> 10)} KB" if size >= 1024 else f"{size} bytes"
