"""A skipped test for each array library or device that is missing, with the reason."""

import pytest

from conftest import MISSING, PLACES, params


@pytest.mark.parametrize("place", params(list(PLACES)))
def test_runs_on(place: str) -> None:
    if place in MISSING:
        pytest.skip(MISSING[place])


def test_runs_on_the_standard_itself() -> None:
    assert not {"numpy", "strict", "strict-device1"} & set(MISSING)
