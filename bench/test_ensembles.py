"""The time of an epoch of K networks at once, beside K fits. See `bench/ensembles.py`."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.ensemble_contestants import CASES, ENSEMBLE_CONTESTANTS
from bench.playback import playback
from bench.rounds import Result


@pytest.mark.benchmark(timer=playback.time)
@pytest.mark.parametrize("contestant", ENSEMBLE_CONTESTANTS)
@pytest.mark.parametrize("ensemble_comparison", CASES, indirect=True)
def test_ensemble(benchmark: BenchmarkFixture, ensemble_comparison: Result, contestant: str) -> None:
    playback.play(benchmark, "ensembles", ensemble_comparison, contestant)
