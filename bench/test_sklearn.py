"""The time of `fit` of the estimators beside scikit-learn's. See `bench/estimators.py`."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.estimators import ESTIMATORS, TASKS
from bench.playback import playback
from bench.rounds import Result


@pytest.mark.benchmark(timer=playback.time)
@pytest.mark.parametrize("contestant", ESTIMATORS)
@pytest.mark.parametrize("estimator_comparison", TASKS, indirect=True)
def test_fit(benchmark: BenchmarkFixture, estimator_comparison: Result, contestant: str) -> None:
    playback.play(benchmark, "estimators", estimator_comparison, contestant, group="task")
