"""The time of each layer's forward and backward pass. See `bench/__init__.py`."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.layer_contestants import LAYER_CASES, LAYER_CONTESTANTS
from bench.playback import playback
from bench.rounds import Result


@pytest.mark.benchmark(timer=playback.time)
@pytest.mark.parametrize("contestant", LAYER_CONTESTANTS)
@pytest.mark.parametrize("layer_comparison", LAYER_CASES, indirect=True)
def test_layer(benchmark: BenchmarkFixture, layer_comparison: Result, contestant: str) -> None:
    if contestant in layer_comparison.missing:
        pytest.skip(layer_comparison.missing[contestant])
    record = layer_comparison.records[contestant]
    benchmark.group = record["layer"]
    benchmark.extra_info.update(record, suite="layers")
    playback.play(record["both"]["seconds"], benchmark)
