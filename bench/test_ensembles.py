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
    if contestant in ensemble_comparison.missing:
        pytest.skip(ensemble_comparison.missing[contestant])
    record = ensemble_comparison.records[contestant]
    benchmark.group = record["workload"]
    benchmark.extra_info.update(record, suite="ensembles")
    playback.play(record["seconds"], benchmark)
