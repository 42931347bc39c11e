"""Build of the compiled part: one static library per instruction set, one set of Cython modules.

The table of sources and flags is src_c/build.toml; metadata is in pyproject.toml. Environment:
RNNENGINE_SANITIZE=1 builds with the address and undefined-behaviour sanitizers,
RNNENGINE_WERROR=1 makes every compiler warning an error.
"""

import os
import platform
import tomllib
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
TABLE = tomllib.loads((ROOT / "src_c/build.toml").read_text())
HEADERS = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "src_c").rglob("*.h"))
INCLUDE = ["src_c", "src_c/include"]
MODULES = ["core", "buffers", "plan", "states", "worker", "runtime"]
MACHINE = platform.machine().lower()

flags = [*TABLE["common"]["cflags"], "-g0"]  # debug information would be most of the wheel
link = ["-pthread"]
link += ["-Wl,-z,relro,-z,now"] if platform.system() == "Linux" else []
if os.environ.get("RNNENGINE_WERROR"):
    flags += TABLE["common"]["warnings"]
if os.environ.get("RNNENGINE_SANITIZE"):
    sanitize = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g"]
    flags[-1:] = sanitize
    link += sanitize


def library(name: str, sources: list[str], extra: list[str]) -> tuple[str, dict[str, object]]:
    """Describe one static library to build_clib."""
    return (
        f"rnne_{name}",
        {
            "sources": [f"src_c/{source}" for source in sources],
            "cflags": flags + extra,
            "include_dirs": INCLUDE,
            "obj_deps": {"": [*HEADERS, "src_c/build.toml"]},
        },
    )


libraries = [library("core", TABLE["core"]["sources"], [])]
for isa, entry in TABLE["isa"].items():
    if MACHINE in entry["machines"]:
        libraries.append(library(isa, entry["sources"], entry["cflags"]))
# All of them, also those of other machines: what `depends` names is what an sdist carries.
c_sources = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "src_c").rglob("*.c"))
shared = sorted(
    p.relative_to(ROOT).as_posix() for p in (ROOT / "rnnengine/_c").glob("*.p[xy][dxi]*")
)


def extension(name: str, linked: bool) -> Extension:
    """Describe one Cython module; only `core` links the C libraries."""
    return Extension(
        f"rnnengine._c.{name}",
        [f"rnnengine/_c/{name}.pyx"],
        include_dirs=[*INCLUDE, numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        libraries=[lib for lib, _ in libraries] + ["m"] if linked else [],
        extra_compile_args=["-O2", "-fvisibility=hidden", "-g0"],
        extra_link_args=link,
        depends=[*HEADERS, *c_sources, *shared, "src_c/build.toml"],
    )


setup(
    libraries=libraries,
    ext_modules=cythonize(
        [extension(name, name == "core") for name in MODULES],
        build_dir="build/cython",
        language_level=3,
    ),
)
