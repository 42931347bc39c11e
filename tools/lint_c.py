"""Compile the C sources with strict warnings as errors, and check what the objects contain.

For this machine, and for 64-bit ARM where a cross compiler is installed: no warning; one exported
symbol for each instruction set; no register in an object that its table does not promise.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src_c"
CROSS = "aarch64-linux-gnu-"


@dataclass(frozen=True)
class Unit:
    """One source to compile: ``group`` is ``core`` or the name of an instruction set."""

    group: str
    source: Path
    flags: tuple[str, ...]
    compiler: str
    tools: str

    @property
    def label(self) -> str:
        """The unit as messages name it."""
        return f"{self.compiler} {self.group}: {self.source.relative_to(SOURCES)}"


def units(table: dict[str, Any], machine: str, compiler: str, tools: str) -> Iterator[Unit]:
    """Everything the build table compiles for one kind of machine."""
    groups = {"core": table["core"]} | {
        name: group for name, group in table["isa"].items() if machine in group["machines"]
    }
    common = table["common"]
    shared = [*common["cflags"], *common["warnings"], f"-I{SOURCES}", f"-I{SOURCES / 'include'}"]
    for name, group in groups.items():
        flags = (*shared, *group.get("cflags", []))
        for source in group["sources"]:
            yield Unit(name, SOURCES / source, flags, compiler, tools)


def forbidden_registers(group: str) -> list[str]:
    """Registers that an object of this group must not touch."""
    return [
        register
        for register, allowed in (("tmm", "avx512amx"), ("zmm", "avx512"), ("ymm", "avx"))
        if not group.startswith(allowed)
    ]


def output_of(*command: str | Path) -> str:
    """Run a binary utility and return what it prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def faults(unit: Unit, folder: Path) -> list[str]:
    """Compile one unit and describe everything wrong with it."""
    target = folder / f"{unit.tools}{unit.group}-{unit.source.stem}.o"
    command = [unit.compiler, *unit.flags, "-c", str(unit.source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return [f"{unit.label}\n{done.stderr}"]
    found = []
    if unit.group != "core":
        symbols = output_of(f"{unit.tools}nm", "-g", "--defined-only", target).split("\n")[:-1]
        if len(symbols) != 1:
            found.append(f"{unit.label}: exports {len(symbols)} symbols, not one: {symbols}")
    code = output_of(f"{unit.tools}objdump", "-d", "--no-show-raw-insn", target)
    found += [
        f"{unit.label}: uses {register} registers"
        for register in forbidden_registers(unit.group)
        if re.search(rf"%{register}\d", code)
    ]
    return found


def main() -> int:
    """Check all units; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    jobs = parser.parse_args().jobs
    table = tomllib.loads((SOURCES / "build.toml").read_text(encoding="utf-8"))
    machine = platform.machine().lower()
    work = list(units(table, machine, os.environ.get("CC", "cc"), ""))
    cross = f"{CROSS}gcc"
    on_arm = machine in ("aarch64", "arm64")
    if not on_arm and shutil.which(cross):
        work += units(table, "aarch64", cross, CROSS)
    elif not on_arm:
        print(f"lint_c: {cross} not found, the sources for 64-bit ARM are not checked")
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(jobs) as pool:
        found = [
            fault for each in pool.map(lambda u: faults(u, Path(name)), work) for fault in each
        ]
    for fault in found:
        print(fault, file=sys.stderr)
    print(f"lint_c: {len(work)} compilations, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
