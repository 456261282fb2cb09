"""The time of a training epoch for each workload and contestant. See `bench/__init__.py`."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.contestants import CONTESTANTS
from bench.playback import playback
from bench.rounds import Result
from bench.workloads import WORKLOADS


@pytest.mark.benchmark(timer=playback.time)
@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize("comparison", WORKLOADS, indirect=True)
def test_epoch(benchmark: BenchmarkFixture, comparison: Result, contestant: str) -> None:
    playback.play(benchmark, "epochs", comparison, contestant)
