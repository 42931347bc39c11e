"""The Keras that wrote a file, and what the caller gives for layers that are not its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.layers import Replacement

__all__ = ["Replacements", "Version", "bare"]


def bare(kind: str) -> str:
    """Name of a class without its module or package."""
    return re.split(r"[>.]", kind)[-1]


class Replacements:
    """What the caller gives for layers whose class cannot be read, by name or class of the layer.

    Parameters
    ----------
    given : mapping of str to Replacement, optional
    """

    def __init__(self, given: Mapping[str, Replacement] | None = None) -> None:
        self._given = dict(given or {})
        self._used: set[str] = set()

    def find(self, name: str, kind: str) -> Replacement | None:
        """The one for a layer: by its name, by its whole class, or by the last part of that."""
        for key in (name, kind, bare(kind)):
            if key in self._given:
                self._used.add(key)
                return self._given[key]
        return None

    def check(self, where: str) -> None:
        """Refuse those that no layer of the file took."""
        unused = sorted(self._given.keys() - self._used)
        if unused:
            raise UnsupportedModelError(
                f"{where}: replacements names {', '.join(map(repr, unused))}; the model has no "
                "layer of that name or class"
            )


@dataclass(frozen=True)
class Version:
    """The Keras that wrote a file.

    Attributes
    ----------
    major, minor : int
    tf : bool
        tf.keras, whose early versions already had what Keras got later.
    theano : bool
        It ran on Theano, whose convolutions turn their kernels round.
    replacements : Replacements
        What stands for the layers of the file that are not of that Keras.
    """

    major: int
    minor: int
    tf: bool = False
    theano: bool = False
    replacements: Replacements = field(default_factory=Replacements, compare=False)

    def since(self, major: int, minor: int) -> bool:
        """Whether it is that version or a later one."""
        return (self.major, self.minor) >= (major, minor)

    @classmethod
    def parse(cls, text: str | None) -> Version:
        """Read '2.1.3', '2.2.4-tf', '3.15.1'; None stands for Keras 1.0, which wrote none."""
        if not text:
            return cls(1, 0)
        match = re.match(r"(\d{1,4})\.(\d{1,4})", text)
        if match is None:
            raise ModelFormatError(f"keras_version is {text!r}; expected a version number")
        major, minor = int(match[1]), int(match[2])
        return cls(major, minor, text.endswith("-tf") or (major == 2 and minor >= 4))
