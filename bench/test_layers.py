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
    playback.play(benchmark, "layers", layer_comparison, contestant, group="layer", part="both")
