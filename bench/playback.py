"""A clock for pytest-benchmark that replays recorded times."""

from pytest_benchmark.fixture import BenchmarkFixture


class Playback:
    """Replays recorded times as if they passed now.

    pytest-benchmark runs the rounds of one test in sequence. Here the rounds of all contestants alternate,
    and have ended before the first test reports.
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
