"""Who may import whom, in Python and in C, read from the sources."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "rnnengine"
SOURCES = ROOT / "src_c"

# What each part may import besides itself; every part may import `errors` and `records`.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "records": set(),
    "graph": set(),
    "program": {"graph"},  # its sizes only
    "ops": {"graph", "program"},
    "layers": {"graph", "ops"},
    "passes": {"graph", "ops"},
    "importers": {"graph", "ops", "layers"},
    "_c": set(),
    "compiler": {"graph", "program", "ops", "passes", "_c"},
    "model": {"graph", "compiler", "_c", "stream"},
    "snapshots": {"importers"},
    "stream": {"compiler", "_c", "model", "snapshots"},
    "loading": {"importers", "layers", "model", "graph", "compiler", "_c"},
    "saving": {"_version", "importers", "model"},
    "inspecting": {"graph", "ops", "passes", "importers"},
    "exporting": {"graph", "ops", "importers", "model", "saving"},
    "_version": set(),
}
# These stand at the top and may import everything.
UNRESTRICTED = {"__init__", "__main__", "validation", "bench", "cli"}
# Libraries of file formats and other frameworks: never imported by importing a module.
FRAMEWORKS = {
    "h5py", "jax", "keras", "onnx", "onnxruntime", "pyfive", "safetensors", "sklearn",
    "tensorflow", "tf_keras", "torch",
}  # fmt: skip
ISA_NAMES = re.compile(r"\b(avx\w*|sse\w*|neon|asimd|zmm|ymm|__m\d+\w*|_mm\w+)\b", re.IGNORECASE)


def modules() -> Iterator[Path]:
    yield from sorted(PACKAGE.rglob("*.py"))
    yield from sorted(PACKAGE.rglob("*.pyi"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """`rnnengine.ops.linear` belongs to `ops`; the package itself to `__init__`."""
    return module.split(".")[1] if "." in module else "__init__"


def exists(module: str) -> bool:
    base = ROOT.joinpath(*module.split("."))
    return base.is_dir() or any(base.with_suffix(end).exists() for end in (".py", ".pyi", ".pyx"))


def imported_by(node: ast.AST) -> list[str]:
    """Modules one import statement names; `from package import module` names the module."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        found = []
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            is_module = node.module.startswith("rnnengine") and exists(inner)
            found.append(inner if is_module else node.module)
        return found
    return []


def all_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        yield from imported_by(node)


def import_time_nodes(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when the module is imported: not in functions, not for types only."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.unparse(node.test):
                yield from import_time_nodes(node.body)
            yield from import_time_nodes(node.orelse)
        elif isinstance(node, ast.Try):
            for block in (node.body, node.orelse, node.finalbody, *(h.body for h in node.handlers)):
                yield from import_time_nodes(block)
        elif isinstance(node, ast.ClassDef | ast.With):
            yield from import_time_nodes(node.body)


def import_time_imports(path: Path) -> Iterator[str]:
    for node in import_time_nodes(ast.parse(path.read_text(encoding="utf-8")).body):
        yield from imported_by(node)


def cython_imports(path: Path) -> Iterator[str]:
    pattern = r"^\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w.]+))"
    for match in re.finditer(pattern, path.read_text(encoding="utf-8"), re.MULTILINE):
        yield match[1] or match[2]


def violation(module: str, target: str) -> str | None:
    """What is wrong with `module` importing `target`, if anything."""
    if target.partition(".")[0] != "rnnengine":
        return None
    source, wanted = part_of(module), part_of(target)
    if source in UNRESTRICTED or wanted in (source, "errors", "records"):
        return None
    if source not in MAY_IMPORT:
        return f"{module}: {source} is not in the table of parts"
    if wanted not in MAY_IMPORT[source]:
        return f"{module} imports {target}: {source} may not import {wanted}"
    return None


def test_python_parts_import_only_what_they_may() -> None:
    found = [
        violation(module_name(path), target) for path in modules() for target in all_imports(path)
    ]
    assert [line for line in found if line] == []


def test_cython_modules_see_arrays_and_integers_only() -> None:
    paths = [*PACKAGE.rglob("*.pyx"), *PACKAGE.rglob("*.pxd")]
    found = [
        violation(module_name(path), target) for path in paths for target in cython_imports(path)
    ]
    assert [line for line in found if line] == []
    assert all(part_of(module_name(path)) == "_c" for path in paths), "Cython lives in _c"


def test_no_import_is_relative() -> None:
    found = [
        f"{path}:{node.lineno}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert found == []


def test_format_libraries_are_imported_inside_functions() -> None:
    found = [
        f"{module_name(path)} imports {target}"
        for path in modules()
        for target in import_time_imports(path)
        if target.split(".")[0] in FRAMEWORKS
    ]
    assert found == []


def test_no_import_cycle() -> None:
    graph = {
        module_name(path): {t for t in import_time_imports(path) if t.startswith("rnnengine")}
        for path in modules()
        if path.suffix == ".py"
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail[trail.index(module) :], module])
        if module in done:
            return
        for target in sorted(graph.get(module, ())):
            visit(target, (*trail, module))
        done.add(module)

    for module in sorted(graph):
        visit(module, ())


def test_importing_all_of_the_package_loads_no_framework() -> None:
    import rnnengine

    home = Path(next(iter(rnnengine.__path__))).parent
    code = "import json, sys; from rnnengine import *; print(json.dumps(sorted(sys.modules)))"
    environment = os.environ | {"PYTHONPATH": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert "rnnengine" in loaded
    assert loaded & FRAMEWORKS == set()


def c_files(*folders: str) -> list[Path]:
    found = [p for folder in folders for p in sorted((SOURCES / folder).rglob("*.[ch]"))]
    assert found, f"no C source in {folders}"
    return found


def includes(path: Path) -> list[str]:
    pattern = r'^\s*#\s*include\s*[<"]([^>"]+)[>"]'
    return re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)


def without_comments(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [
        ("include", ()),
        ("core", ("core", "include")),
        ("simd", ("simd",)),
        ("kernels", ("kernels", "core")),
        ("isa", ("isa", "simd", "kernels", "core")),
    ],
)
def test_c_folders_include_only_what_they_may(folder: str, allowed: tuple[str, ...]) -> None:
    found = []
    for path in c_files(folder):
        for name in includes(path):
            beside = path.parent / name
            target = beside if beside.exists() else SOURCES / name
            target = target if target.exists() else SOURCES / "include" / name
            if not target.exists():
                continue
            part = target.resolve().relative_to(SOURCES).parts[0]
            if part not in (*allowed, folder):
                found.append(f"{path.relative_to(ROOT)} includes {name}")
    assert found == []


def test_intrinsics_stay_in_the_vector_headers() -> None:
    headers = {"immintrin.h", "xmmintrin.h", "emmintrin.h", "arm_neon.h", "x86intrin.h"}
    # The control word of the floating-point unit has no other portable name than its intrinsic.
    allowed = {("core/fpenv.h", "xmmintrin.h")}
    found = {
        (str(path.relative_to(SOURCES)), name)
        for path in c_files("include", "core", "kernels", "isa")
        for name in includes(path)
        if name in headers
    }
    assert found - allowed == set()


def test_kernels_name_no_instruction_set() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in c_files("kernels")
        for match in ISA_NAMES.finditer(without_comments(path))
    ]
    assert found == []


def test_kernels_have_no_conditional_compilation() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in c_files("kernels")
        for line in without_comments(path).splitlines()
        if re.match(r"\s*#\s*(if|elif|else)\b", line)
    ]
    assert found == []
