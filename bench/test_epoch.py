"""The time of a training epoch, for each workload and contestant. How to run it: `bench/__init__.py`."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.contestants import CONTESTANTS
from bench.rounds import Result
from bench.workloads import WORKLOADS


class Playback:
    """A clock for pytest-benchmark: it shows times that were taken before as if they passed now.

    pytest-benchmark has the rounds of one test run one after the other. Here the rounds of all
    contestants alternate, so they are over before the first test reports.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def play(self, seconds: list[float], benchmark: BenchmarkFixture) -> None:
        recorded = iter(seconds)

        def epoch() -> None:
            self.now += next(recorded)

        benchmark.pedantic(epoch, rounds=len(seconds))


playback = Playback()


@pytest.mark.benchmark(timer=playback.time)
@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize("comparison", WORKLOADS, indirect=True)
def test_epoch(benchmark: BenchmarkFixture, comparison: Result, contestant: str) -> None:
    if contestant in comparison.missing:
        pytest.skip(comparison.missing[contestant])
    record = comparison.records[contestant]
    benchmark.group = record["workload"]
    benchmark.extra_info.update(record)
    playback.play(record["seconds"], benchmark)
