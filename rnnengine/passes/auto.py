"""The rule of ``compute_type="auto"``: what is fastest for a layer on a machine.

A layer's matrices are read once in every step, so at a batch of one their bytes are its time as
soon as they come from further away than the first cache. int8 saves bytes and costs arithmetic
around each row: rounding the activations, and sums that start anew. Measured on one thread, for one
step, 100 steps and 20 steps of 64 rows:

* With instructions for products of bytes (VNNI, AMX, the dot products of ARM), recurrent layers and
  products of more float32 weights than four times L1 are computed in int8, with activations of 16
  bits. Of half as many the sequences of one row were faster as well, large batches not always.
* Without them, int8 wins where the float32 weights do not lie in L2.
* Convolutions stay float32: a window is used at every position, so its weights are near anyway.
* Without vector instructions everything stays float32.

The rule asks the sizes of the layer, the caches and the instruction set, and nothing else: the same
file gives the same model on the same machine.
"""

from __future__ import annotations

from rnnengine.records import record

__all__ = ["NEAR", "Machine", "automatic"]

NEAR = 4
"""Times L1, up to which float32 weights are near where bytes have instructions of their own."""

_PLAIN = ("avx2", "avx512", "neon")  # tables of vectors without products of bytes


@record
class Machine:
    """What the rule knows of a machine.

    Attributes
    ----------
    l1, l2 : int
        Bytes of the first and second data cache of a core; usual sizes where the system does not
        say.
    isa : str
        Kernel table in use.
    """

    l1: int = 32 << 10
    l2: int = 1 << 20
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
    products = machine.isa not in _PLAIN
    near = NEAR * machine.l1 if products else machine.l2
    place = f"{NEAR} times L1" if products else "L2"
    size = f"{_kilobytes(4 * elements)} of float32 weights"
    if 4 * elements <= near:
        return "float32", f"auto: {size} are within {place}, {_kilobytes(near)}"
    return "int8", f"auto: {size} are more than {place}, {_kilobytes(near)}"


def _kilobytes(size: int) -> str:
    return f"{-(-size >> 10)} KB" if size >= 1024 else f"{size} bytes"
