"""A clock for pytest-benchmark that replays recorded times."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.rounds import Result


class Playback:
    """Replays recorded times as if they passed now.

    pytest-benchmark runs the rounds of one test in sequence. Here the rounds of all contestants alternate,
    and have ended before the first test reports.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def play(
        self,
        benchmark: BenchmarkFixture,
        suite: str,
        result: Result,
        contestant: str,
        group: str = "workload",
        part: str = "",
    ) -> None:
        """Report a contestant's record and its times, or skip the test where the contestant is missing.

        Arguments:
            group: the field of the record whose value tests of one table share.
            part: the field that holds the times; "": the record itself does.
        """
        if contestant in result.missing:
            pytest.skip(result.missing[contestant])
        record = result.records[contestant]
        benchmark.group = record[group]
        benchmark.extra_info.update(record, suite=suite)
        seconds = (record[part] if part else record)["seconds"]
        recorded = iter(seconds)

        def epoch() -> None:
            self.now += next(recorded)

        benchmark.pedantic(epoch, rounds=len(seconds))


playback = Playback()
