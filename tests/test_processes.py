"""Trainings in several processes: the same numbers for any number of them, and clear ends."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import threadpoolctl

from xpnet.errors import ConfigError, DataError, Error
from xpnet.studies import _processes, sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report

pytestmark = pytest.mark.skipif(not _processes.CAN_FORK, reason="this system has no safe fork")


def test_results_do_not_depend_on_the_number_of_processes(report: Report) -> None:
    base = sweep.base_config(report.options, hidden=(8,), epochs=2, batch_size=50)
    examples = sweep.load(report.options, report, base, examples=200)
    few = examples._replace(train=examples.train._replace(x=examples.train.x[:80], y=examples.train.y[:80]))
    changes = {"slow": {"learning_rate": 0.01}, "fails": {"learning_rate": 1e20}, "few": {}}
    of_label = {"slow": examples, "fails": examples, "few": few}
    found = [sweep.sweep(base, changes, [3, 4], of_label, processes) for processes in (1, 2, 9)]
    shares = found[0][2].final("train_accuracy") * 80  # each label has its own examples
    np.testing.assert_allclose(shares, shares.round(), atol=1e-6)
    for variants in found[1:]:
        for one, other in zip(found[0], variants, strict=True):
            assert (one.label, one.parameters, one.config) == (other.label, other.parameters, other.config)
            assert [run.seed for run in other.runs] == [3, 4]
            for quantity in ("train_loss", "train_accuracy", "validation_loss"):
                np.testing.assert_array_equal(one.curve(quantity), other.curve(quantity))
            for quantity in ("test_loss", "test_accuracy", "weight_norm"):
                np.testing.assert_array_equal(one.final(quantity), other.final(quantity))
            assert [run.diverged for run in one.runs] == [run.diverged for run in other.runs]


@pytest.mark.parametrize("processes", [1, 2])
def test_each_call_has_one_thread_and_processes_of_their_own_share_the_calls(processes: int) -> None:
    all_at_work = multiprocessing.get_context("fork").Barrier(processes)

    def call(i: int) -> tuple[int, int]:
        if i < processes:  # else one could do all of them before the other has started
            all_at_work.wait(timeout=50)
        threads = {
            pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"
        }
        assert threads <= {1}
        return i * i, os.getpid()

    found = dict(_processes.results(call, 5, processes))
    assert {i: square for i, (square, _) in found.items()} == {i: i * i for i in range(5)}
    assert _processes.in_order(lambda i: call(i)[0], 3, processes) == [0, 1, 4]
    workers = {process for _, process in found.values()}
    assert len(workers) == processes
    assert (os.getpid() in workers) == (processes == 1)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_in_a_training_is_raised_here_and_ends_the_others(processes: int) -> None:
    def call(i: int) -> int:
        if i == 0:
            raise DataError("a file is gone")
        time.sleep(60 if processes > 1 else 0)
        return i

    began = time.monotonic()
    with pytest.raises(DataError, match="a file is gone"):
        list(_processes.results(call, 2, processes))
    assert time.monotonic() - began < 30


def test_a_process_that_is_killed_is_named() -> None:
    def call(i: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return i

    with pytest.raises(Error, match="a process that trains ended with exit code -9; fewer --processes"):
        list(_processes.results(call, 2, 2))


def test_ctrl_c_is_for_the_parent_alone() -> None:
    def call(i: int) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return i

    assert dict(_processes.results(call, 2, 2)) == {0: 0, 1: 1}


def test_the_number_of_processes_is_checked_and_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Options(processes=3).process_count() == 3
    assert Options().process_count() == len(os.sched_getaffinity(0))
    assert Options(backend="array-api-strict").process_count() == 1
    with pytest.raises(ConfigError, match="--processes: expected at least 1, got 0"):
        Options(processes=0)
    with pytest.raises(ConfigError, match="--processes: expected 1 with this backend and system, got 2"):
        Options(backend="array-api-strict", processes=2)
    monkeypatch.setattr(_processes, "CAN_FORK", False)
    assert Options().process_count() == 1


@pytest.fixture
def report(tmp_path: os.PathLike[str]) -> Report:
    return Report("a-study", options=Options(output_dir=f"{tmp_path}/run"))
