"""save: a model as one ``.rnne`` file, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rnnengine._version import VERSION
from rnnengine.importers.native import pack
from rnnengine.model import Model

__all__ = ["save", "write_whole"]


def save(
    model: Model,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    origin: Mapping[str, str] | None = None,
) -> None:
    """Write a model to a ``.rnne`` file, which any machine loads to the same bits.

    Parameters
    ----------
    model : Model
    path : path
    overwrite : bool
        Whether a file that is there may be replaced.
    origin : mapping of str to str, optional
        What to keep of where the model came from, for example its ``file`` and ``sha256``.

    Raises
    ------
    FileExistsError
        The path exists, and ``overwrite`` is false.
    OSError
        The file cannot be written; what was there is as it was.
    UnsupportedModelError
        The graph has a constant or an attribute that the format has no form for.
    """
    content = pack(model.portable_graph(), origin=origin, version=VERSION)
    write_whole(path, content, overwrite=overwrite)


def write_whole(path: str | os.PathLike[str], content: bytes, *, overwrite: bool = False) -> None:
    """Write a file under a temporary name beside it, flush it to the disk, and rename it."""
    target = Path(path)
    if not overwrite and target.exists():
        raise FileExistsError(f"{target} exists; pass overwrite=True to replace it")
    temporary = target.with_name(f".{target.name}.{os.urandom(8).hex()}")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(temporary, target)
        else:
            _place(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _place(temporary: Path, target: Path) -> None:
    """Give a file its name unless the name is taken."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise FileExistsError(f"{target} exists; pass overwrite=True to replace it") from None
    except OSError:  # a file system without links
        with open(target, "xb"):
            os.replace(temporary, target)
