"""A skipped test for each array library or device that is missing, with the reason."""

from unittest import mock

import pytest

from conftest import MISSING, PLACES, params, registered
from xpnet.backend import BACKENDS, NumPy


@pytest.mark.parametrize("place", params(list(PLACES)))
def test_runs_on(place: str) -> None:
    if place in MISSING:
        pytest.skip(MISSING[place])


def test_every_backend_has_a_place() -> None:
    missing = set(BACKENDS) - {name for name, _ in PLACES.values()}
    assert not missing, f"{missing}: no row in PLACES of tests/conftest.py, so no law runs on it"


def test_runs_on_the_standard_itself() -> None:
    assert not {"numpy", "strict", "strict-device1"} & set(MISSING)


@mock.patch.dict(BACKENDS, abacus=NumPy)
def test_a_backend_that_a_plugin_registers_is_a_place() -> None:
    assert registered() == {"abacus": ("abacus", None)}
