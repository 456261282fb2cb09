"""Options of the speed suite, and the tables that it prints at the end."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from bench.ensemble_contestants import CASES
from bench.ensembles import compare as compare_ensembles
from bench.environment import cores
from bench.estimators import TASKS
from bench.estimators import compare as compare_estimators
from bench.layers import LayerWorkers
from bench.points import POINTS
from bench.process import MALLOC
from bench.rounds import Options, Result, compare
from bench.table import render
from bench.workloads import WORKLOADS

RESULTS = pytest.StashKey[list[tuple[str, Result]]]()  # of each suite
MEMORY = pytest.StashKey[list[dict[str, Any]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bench", "the speed suite in bench/")
    group.addoption(
        "--bench-images", type=int, default=Options.images, help="images in an epoch of test_epoch.py"
    )
    group.addoption("--bench-rounds", type=int, default=Options.rounds, help="rounds")
    group.addoption(
        "--bench-malloc",
        choices=MALLOC,
        default=Options.malloc,
        help="settled: glibc keeps freed memory in all contestants; or default",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RESULTS] = []
    config.stash[MEMORY] = []


@pytest.fixture(scope="session")
def comparison(request: pytest.FixtureRequest) -> Result:
    """The result of one workload, for all contestants that the command line selects."""
    contestants = selected(request, lambda params: params.get("comparison") == request.param)
    option = request.config.getoption
    rounds, malloc = option("bench_rounds"), option("bench_malloc")
    if request.param in POINTS:  # a point of the scaling figure sets its own number of images
        suite, options, workload = "scaling", Options(None, rounds, malloc), POINTS[request.param]
    else:
        options = Options(option("bench_images"), rounds, malloc)
        suite, workload = "epochs", WORKLOADS[request.param]
    result = compare(workload, contestants, options, learns=suite == "epochs")
    request.config.stash[RESULTS].append((suite, result))
    return result


@pytest.fixture(scope="module")
def layer_workers(request: pytest.FixtureRequest) -> Iterator[LayerWorkers]:
    """The processes of all layer contestants that the command line selects."""
    contestants = selected(request, lambda params: "layer_comparison" in params)
    with LayerWorkers(contestants, request.config.getoption("bench_malloc")) as workers:
        yield workers


@pytest.fixture(scope="module")
def layer_comparison(request: pytest.FixtureRequest, layer_workers: LayerWorkers) -> Result:
    """The result of one layer."""
    result = layer_workers.compare(request.param, request.config.getoption("bench_rounds"))
    request.config.stash[RESULTS].append(("layers", result))
    return result


@pytest.fixture(scope="session")
def estimator_comparison(request: pytest.FixtureRequest) -> Result:
    """The result of one task, for all estimators that the command line selects."""
    return result_of(request, "estimators", compare_estimators, TASKS)


@pytest.fixture(scope="session")
def ensemble_comparison(request: pytest.FixtureRequest) -> Result:
    """The result of one case, for all contestants that the command line selects."""
    return result_of(request, "ensembles", compare_ensembles, CASES)


@pytest.fixture
def memory_records(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """The rows of the table of memory, to append to."""
    return request.config.stash[MEMORY]


def result_of(
    request: pytest.FixtureRequest, suite: str, compare: Callable[..., Result], subjects: Mapping[str, Any]
) -> Result:
    """The result of the subject that the fixture's parameter names."""
    contestants = selected(request, lambda params: params.get(request.fixturename) == request.param)
    option = request.config.getoption
    result = compare(subjects[request.param], contestants, option("bench_rounds"), option("bench_malloc"))
    request.config.stash[RESULTS].append((suite, result))
    return result


def selected(request: pytest.FixtureRequest, belongs: Any) -> list[str]:
    """The contestants of the selected tests whose parameters satisfy `belongs`."""
    tests = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    return list(dict.fromkeys(params["contestant"] for params in tests if belongs(params)))


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["cores"] = cores()
    machine_info["missing"] = missing(config)


def missing(config: pytest.Config) -> dict[str, str]:
    return {name: why for _, result in config.stash[RESULTS] for name, why in result.missing.items()}


@pytest.hookimpl(trylast=True)  # after pytest-benchmark's own table
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    records = [
        record | {"suite": suite}
        for suite, result in config.stash[RESULTS]
        for record in result.records.values()
    ]
    records += [record | {"suite": "memory"} for record in config.stash[MEMORY]]
    if records:
        terminalreporter.section("training speed")
        terminalreporter.write_line(render(records, missing(config)))
