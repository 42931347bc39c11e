"""Sizes as exported programs write them: sympy's text, which is only ever read."""

from __future__ import annotations

import re

from rnnengine.graph import Size, symbol

__all__ = ["parse_size"]

_DEEPEST = 40


def parse_size(text: str) -> Size:
    """Return the size that a text such as ``Mul(Integer(2), Symbol('s0'))`` or ``2*s0`` means.

    Raises
    ------
    ValueError
        It is no sum of products of named sizes.
    """
    return _Expression(text).size()


_TOKEN = re.compile(r"\s*(?:(\d{1,15})|([A-Za-z_]\w*)|'([A-Za-z_]\w*)'|(.))")


class _Expression:
    """A size as sympy writes it, ``Mul(Integer(2), Symbol('s0'))`` or ``2*s0``; only ever read."""

    def __init__(self, text: str) -> None:
        self._tokens = [match.groups() for match in _TOKEN.finditer(text.strip())]
        self._at = 0

    def size(self) -> Size:
        """The whole text as a size; ValueError where it is none."""
        found = self._sum(0)
        if self._at != len(self._tokens):
            raise ValueError
        return found

    def _next(self, mark: str) -> bool:
        """Step over a mark if it comes next."""
        if self._at < len(self._tokens) and self._tokens[self._at][3] == mark:
            self._at += 1
            return True
        return False

    def _sum(self, depth: int) -> Size:
        found = self._product(depth)
        while self._next("+"):
            found = found + self._product(depth)
        return found

    def _product(self, depth: int) -> Size:
        found = self._atom(depth)
        while self._next("*"):
            found = found * self._atom(depth)
        return found

    def _atom(self, depth: int) -> Size:
        if depth > _DEEPEST or self._at >= len(self._tokens):
            raise ValueError
        number, name, _, mark = self._tokens[self._at]
        self._at += 1
        if mark == "-":
            return self._atom(depth + 1) * -1
        if number is not None:
            return int(number)
        if name is None:
            raise ValueError
        if not self._next("("):
            return symbol(name)
        return self._symbol() if name == "Symbol" else self._call(name, depth)

    def _symbol(self) -> Size:
        """The name of a symbol; what is assumed of it does not matter here."""
        named = self._tokens[self._at][2] if self._at < len(self._tokens) else None
        if named is None:
            raise ValueError
        while not self._next(")"):
            self._at += 1
            if self._at >= len(self._tokens):
                raise ValueError
        return symbol(named)

    def _call(self, name: str, depth: int) -> Size:
        found = self._sum(depth + 1)
        while self._next(","):
            part = self._sum(depth + 1)
            found = found * part if name == "Mul" else found + part
        if name not in ("Add", "Integer", "Mul") or not self._next(")"):
            raise ValueError
        return found
