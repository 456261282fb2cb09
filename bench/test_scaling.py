"""Time and memory of a training step against size. See `bench/__init__.py`."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.playback import playback
from bench.points import MEMORY, POINTS, SCALED, memory_of_step
from bench.rounds import Result


@pytest.mark.benchmark(timer=playback.time)
@pytest.mark.parametrize("contestant", SCALED)
@pytest.mark.parametrize("comparison", POINTS, indirect=True)
def test_scaling(benchmark: BenchmarkFixture, comparison: Result, contestant: str) -> None:
    playback.play(benchmark, "scaling", comparison, contestant)


@pytest.mark.parametrize(
    ("network", "batch_size"), [(network, n) for network, sizes in MEMORY.items() for n in sizes]
)
def test_memory(
    benchmark: BenchmarkFixture, memory_records: list[dict], network: str, batch_size: int
) -> None:
    """The bytes are the result. The times are those of the same step."""
    found, step = memory_of_step(MEMORY[network][batch_size])
    record = {"network": network, "batch size": batch_size, **found}
    memory_records.append(record)
    benchmark.group = f"memory: {network}"
    benchmark.extra_info.update(record, suite="memory")
    benchmark.pedantic(step, rounds=3, warmup_rounds=1)
