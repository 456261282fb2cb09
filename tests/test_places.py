"""A skipped test for each array library or device that is missing, with the reason."""

import pytest

from conftest import MISSING, PLACES, params
from xpnet.backend import BACKENDS


@pytest.mark.parametrize("place", params(list(PLACES)))
def test_runs_on(place: str) -> None:
    if place in MISSING:
        pytest.skip(MISSING[place])


def test_every_backend_has_a_place() -> None:
    missing = set(BACKENDS) - {name for name, _ in PLACES.values()}
    assert not missing, f"{missing}: no row in PLACES of tests/conftest.py, so no law runs on it"


def test_runs_on_the_standard_itself() -> None:
    assert not {"numpy", "strict", "strict-device1"} & set(MISSING)
