"""Slots of the arena: temporaries whose lives do not overlap share memory."""

from __future__ import annotations

from collections.abc import Sequence

from rnnengine.graph import Size
from rnnengine.program.builder import Instruction
from rnnengine.program.opcodes import Opcode
from rnnengine.program.view import ARENA, Buffer

__all__ = ["assign_slots"]


def assign_slots(instructions: Sequence[Instruction]) -> dict[Buffer, int]:
    """Give every arena buffer a slot.

    A buffer lives from the first to the last instruction that touches it, or to the end of the
    forward layers that follow each other there: those may run at the same time. Buffers are taken
    in order of birth; each goes to a free slot, one of its own size if there is one, else to a new
    slot. A slot is as large as its largest tenant, which is known when sizes are bound.
    """
    lives: dict[Buffer, list[int]] = {}
    ends = _ends(instructions)
    for i, step in enumerate(instructions):
        for view in step.operands:
            if view is not None and view.buffer.kind == ARENA:
                lives.setdefault(view.buffer, [i, i])[1] = ends[i]
    slots: dict[Buffer, int] = {}
    busy_until: list[int] = []
    size_of: list[Size] = []
    for buffer, (born, dies) in sorted(lives.items(), key=lambda item: item[1][0]):
        free = [s for s, until in enumerate(busy_until) if until < born]
        same = [s for s in free if size_of[s] == buffer.size]
        if same or free:
            slot = (same or free)[0]
        else:
            slot = len(busy_until)
            busy_until.append(dies)
            size_of.append(buffer.size)
        busy_until[slot] = dies
        slots[buffer] = slot
    return slots


def _ends(instructions: Sequence[Instruction]) -> list[int]:
    """For each instruction, the last of those that may run at the same time as it."""
    ends = list(range(len(instructions)))
    for i in reversed(range(len(instructions) - 1)):
        if _is_forward(instructions[i]) and _is_forward(instructions[i + 1]):
            ends[i] = ends[i + 1]
    return ends


def _is_forward(step: Instruction) -> bool:
    """Whether it is a recurrent layer of the forward direction alone."""
    return step.opcode == Opcode.RECURRENT and step.ints[1] == 1
