"""Every row of the deviation table still deviates, and is explained in the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from oracle.deviations import DEVIATIONS, Deviation


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", DEVIATIONS, ids=lambda row: f"{row.witness}: {row.case}")
def test_the_witness_still_deviates(row: Deviation) -> None:
    pytest.importorskip(row.witness, reason=f"{row.witness} is not installed")
    assert row.check(), (
        f"{row.witness} no longer deviates on {row.case!r} (seen with {row.version}): remove the "
        "row, and let the matrix ask it again"
    )


def test_every_row_is_explained(root: Path) -> None:
    text = (root / "docs" / "deviations.md").read_text(encoding="utf-8")
    for row in DEVIATIONS:
        assert f"{row.witness} {row.version}" in text, row.version
        for words in (row.case, row.ruling, row.why):
            assert words in text, words
