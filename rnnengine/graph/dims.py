"""Symbolic sizes: polynomials with integer coefficients over named dimensions.

A size is either a plain ``int`` or a :class:`Dim`; arithmetic that comes out constant gives back an
``int``, so code that handles both needs no case distinction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

__all__ = ["Dim", "Size", "UndecidedError", "product", "substitute", "symbol", "symbols_of"]

Monomial: TypeAlias = tuple[tuple[str, int], ...]
"""Powers of symbols, sorted by name; the empty tuple is the constant term."""


class UndecidedError(Exception):
    """A question about a symbolic size has no answer before its symbols are known."""


class Dim:
    """A non-constant polynomial in named dimensions, for example ``2*T + 1``.

    Instances are immutable and compare by value. Comparisons other than ``==`` and exact division
    that fails raise :class:`UndecidedError`.
    """

    __slots__ = ("_terms",)
    _terms: tuple[tuple[Monomial, int], ...]

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        self._terms = terms

    @property
    def terms(self) -> tuple[tuple[Monomial, int], ...]:
        """Monomials with their coefficients, sorted."""
        return self._terms

    def __add__(self, other: Size) -> Size:
        total = dict(self._terms)
        for monomial, coefficient in _terms(other):
            total[monomial] = total.get(monomial, 0) + coefficient
        return _make(total)

    def __mul__(self, other: Size) -> Size:
        total: dict[Monomial, int] = {}
        for left, a in self._terms:
            for right, b in _terms(other):
                monomial = _times(left, right)
                total[monomial] = total.get(monomial, 0) + a * b
        return _make(total)

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return self + (-1 * other)

    def __rsub__(self, other: Size) -> Size:
        return (-self) + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __floordiv__(self, other: Size) -> Size:
        """Divide exactly by an integer or a monomial; anything else is undecided."""
        divisor = _terms(other)
        if len(divisor) != 1:
            raise UndecidedError(f"{self} // {other}")
        powers, factor = dict(divisor[0][0]), divisor[0][1]
        total: dict[Monomial, int] = {}
        for monomial, coefficient in self._terms:
            left = dict(monomial)
            for name, power in powers.items():
                left[name] = left.get(name, 0) - power
            if factor == 0 or coefficient % factor or any(p < 0 for p in left.values()):
                raise UndecidedError(f"{self} // {other}")
            key = tuple(sorted((n, p) for n, p in left.items() if p))
            total[key] = coefficient // factor
        return _make(total)

    def __rfloordiv__(self, other: int) -> Size:
        if other == 0:
            return 0
        raise UndecidedError(f"{other} // {self}")

    def __mod__(self, other: int) -> Size:
        if all(coefficient % other == 0 for _, coefficient in self._terms):
            return 0
        raise UndecidedError(f"{self} % {other}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and self._terms == other._terms

    def __hash__(self) -> int:
        return hash(self._terms)

    def _undecided(self, other: object) -> bool:
        raise UndecidedError(f"comparison of {self} with {other}")

    __lt__ = __le__ = __gt__ = __ge__ = _undecided

    def __bool__(self) -> bool:
        raise UndecidedError(f"truth of {self}")

    def __int__(self) -> int:
        raise UndecidedError(f"value of {self}")

    __index__ = __int__

    def __repr__(self) -> str:
        parts = []
        for monomial, coefficient in reversed(self._terms):
            factors = [n if p == 1 else f"{n}**{p}" for n, p in monomial]
            if coefficient != 1 or not factors:
                factors.insert(0, str(coefficient))
            parts.append("*".join(factors))
        return " + ".join(parts).replace("+ -", "- ")


Size: TypeAlias = int | Dim


def _terms(size: Size) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(size, Dim):
        return size.terms
    value = int(size)
    return (((), value),) if value else ()


def _times(left: Monomial, right: Monomial) -> Monomial:
    powers = dict(left)
    for name, power in right:
        powers[name] = powers.get(name, 0) + power
    return tuple(sorted(powers.items()))


def _make(terms: Mapping[Monomial, int]) -> Size:
    kept = tuple(sorted((m, c) for m, c in terms.items() if c))
    if not kept:
        return 0
    if len(kept) == 1 and kept[0][0] == ():
        return kept[0][1]
    return Dim(kept)


def symbol(name: str) -> Dim:
    """Return the size that stands for the named dimension."""
    return Dim(((((name, 1),), 1),))


def product(sizes: Iterable[Size]) -> Size:
    """Multiply sizes; the empty product is 1."""
    total: Size = 1
    for size in sizes:
        total = total * size
    return total


def symbols_of(size: Size) -> frozenset[str]:
    """Return the names of the dimensions a size depends on."""
    if not isinstance(size, Dim):
        return frozenset()
    return frozenset(name for monomial, _ in size.terms for name, _ in monomial)


def substitute(size: Size, values: Mapping[str, Size]) -> Size:
    """Replace named dimensions by sizes."""
    if not isinstance(size, Dim):
        return size
    total: Size = 0
    for monomial, coefficient in size.terms:
        term: Size = coefficient
        for name, power in monomial:
            factor = values.get(name, symbol(name))
            for _ in range(power):
                term = term * factor
        total = total + term
    return total
