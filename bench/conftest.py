"""Options of the speed suite, and the table that it ends with."""

from typing import Any

import pytest

from bench.environment import cores
from bench.rounds import MALLOC, Options, Result, compare
from bench.table import render

RESULTS = pytest.StashKey[list[Result]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bench", "the speed suite in bench/")
    group.addoption("--bench-images", type=int, default=Options.images, help="images in every epoch")
    group.addoption("--bench-rounds", type=int, default=Options.rounds, help="rounds of epochs")
    group.addoption(
        "--bench-malloc", choices=MALLOC, default=Options.malloc, help="the setting of glibc's malloc"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RESULTS] = []


@pytest.fixture(scope="session")
def comparison(request: pytest.FixtureRequest) -> Result:
    """The rounds of one workload, played by all contestants that the command line selects."""
    contestants = [
        item.callspec.params["contestant"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.callspec.params.get("comparison") == request.param
    ]
    option = request.config.getoption
    options = Options(option("bench_images"), option("bench_rounds"), option("bench_malloc"))
    result = compare(request.param, contestants, options)
    request.config.stash[RESULTS].append(result)
    return result


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["cores"] = cores()
    machine_info["missing"] = missing(config)


def missing(config: pytest.Config) -> dict[str, str]:
    return {name: why for result in config.stash[RESULTS] for name, why in result.missing.items()}


@pytest.hookimpl(trylast=True)  # after pytest-benchmark's own table
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    records = [record for result in config.stash[RESULTS] for record in result.records.values()]
    if records:
        terminalreporter.section("training speed")
        terminalreporter.write_line(render(records, missing(config)))
