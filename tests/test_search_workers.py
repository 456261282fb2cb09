"""Several workers on one search: the same trials, none twice, none lost, in a journal and in SQLite."""

import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import threadpoolctl
import yaml
from optuna.trial import FrozenTrial, TrialState

from conftest import run_script
from xpnet._util import files
from xpnet.errors import Error
from xpnet.model import Model
from xpnet.studies import _processes, _search_run, _search_trials, hyperparameter_search, runner, search
from xpnet.studies import _search_storage as storages
from xpnet.studies._search_trials import WORKER, Worker

pytestmark = pytest.mark.skipif(not _processes.CAN_FORK, reason="this system has no safe fork")

main = functools.partial(run_script, Path(__file__).parents[1] / "scripts" / "search.py")
SIX = ["--dataset", "csv:train.csv,test.csv", "--trials", "6", "--epochs", "2", "--repeats", "1"]
TWO = [*SIX, "--workers", "2", "--output-dir", "two"]
SIZES = ("hidden layers", "units", "activation", "learning rate", "batch size", "L2")


@pytest.fixture(autouse=True)
def no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with small data, and searches without the pictures and trainings of their reports."""
    prepare(tmp_path, monkeypatch)


def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for name in ("train.csv", "test.csv"):
        lines = [f"{i % 2},{255 * (i % 2)},{10 * (i % 3)},0\n" for i in range(40)]
        Path(name).write_text("".join(lines))
    for name in ("report_trials", "importances", "compare"):
        monkeypatch.setattr(hyperparameter_search, name, lambda *_: None)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[FrozenTrial]:
    """The trials of a search with one worker."""
    with pytest.MonkeyPatch.context() as patch:
        prepare(tmp_path_factory.mktemp("alone"), patch)
        request = search.parse([*SIX, "--output-dir", "one"], "", "")
        runner.run("hyperparameter-search", request.options, settings=request.settings)
        return study("one").get_trials()


def study(folder: str, url: str | None = None) -> optuna.Study:
    storage = storages.storage_of(Path(folder), url)
    return storages.study_in(storage, search.Sampler(0), search.PRUNER)


def told(trial: FrozenTrial) -> tuple[object, ...]:
    return *(trial.params[name] for name in SIZES), trial.intermediate_values, trial.value


def in_fit(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Do something at the beginning of each training of a worker."""
    fit = Model.fit

    def acting(self: Model, *args: Any, **options: Any) -> Any:
        if multiprocessing.parent_process() is not None:
            action()
        return fit(self, *args, **options)

    monkeypatch.setattr(Model, "fit", acting)


def once(name: str) -> bool:
    """Whether this is the first process to ask for this name."""
    try:
        Path(name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@pytest.mark.parametrize("url", [None, "sqlite:///trials.db"], ids=["journal", "sqlite"])
def test_two_workers_share_the_trials(
    url: str | None,
    alone: list[FrozenTrial],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """A trial has the same sampler's seed, network and epochs for any number of workers, up to its pruning."""

    def wait_for_the_other() -> None:
        Path(f"began-{os.getpid()}").touch()
        while len(list(Path().glob("began-*"))) < 2:
            time.sleep(0.01)

    in_fit(monkeypatch, wait_for_the_other)
    status, out, err = main(monkeypatch, capsys, *TWO, *(["--storage", url] if url else []))
    assert (status, err) == (0, "")
    assert "2 workers, 1 BLAS thread each; which trials follow the first 8 depends on their speed\n" in out
    trials = study("two", url and f"sqlite:///{Path('trials.db').absolute()}").get_trials()
    assert [trial.number for trial in trials] == list(range(6))
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert len({trial.user_attrs[WORKER]["process"] for trial in trials} - {os.getpid()}) == 2
    assert len({told(trial)[:6] for trial in trials}) == 6
    assert _search_trials.at_the_same_time(trials)
    assert not _search_trials.at_the_same_time(alone)
    for one, other in zip(alone, trials, strict=True):
        assert told(one)[:6] == told(other)[:6]
        epochs = one.intermediate_values.keys() & other.intermediate_values.keys()
        assert all(one.intermediate_values[i] == other.intermediate_values[i] for i in epochs)
        assert one.state != other.state or told(one) == told(other)
    assert not Path("two", _search_trials.WORKERS).exists()


def test_the_others_repeat_the_trial_of_a_killed_worker(
    alone: list[FrozenTrial], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    in_fit(monkeypatch, lambda: once("killed") and os.kill(os.getpid(), signal.SIGKILL))
    status, _, err = main(monkeypatch, capsys, *TWO)
    assert status == 0
    assert err == "1 of 2 workers ended early, with exit code -9; the others repeated their trials\n"
    trials = study("two").get_trials()
    assert [trial.state for trial in trials].count(TrialState.FAIL) == 1
    found = _search_trials.finished(study("two"))
    assert list(found) == list(range(6))
    assert [told(trial)[:6] for trial in found.values()] == [told(trial)[:6] for trial in alone]


def test_a_search_whose_workers_were_all_killed_is_resumed_by_one(
    alone: list[FrozenTrial], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        in_fit(patch, lambda: once("ran") or once("too") or os.kill(os.getpid(), signal.SIGKILL))
        status, _, err = main(patch, capsys, *TWO)
    assert status == 2
    assert err == (
        "search.py: 2 of 2 workers ended early, with exit code -9; fewer --workers need less memory: "
        "python scripts/search.py --resume two\n"
    )
    left = [trial for trial in study("two").get_trials() if trial.state == TrialState.RUNNING]
    assert left, "the last of them left one"
    assert main(monkeypatch, capsys, "--resume", "two")[0] == 0
    found = _search_trials.finished(study("two"))
    assert list(found) == list(range(6))
    assert [told(trial)[:6] for trial in found.values()] == [told(trial)[:6] for trial in alone]


def test_ctrl_c_ends_all_workers_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def press() -> None:
        if once("first"):
            Path("first").write_text(str(os.getpid()))
            return
        if Path("first").read_text() == str(os.getpid()):  # it begins its second trial
            while not Path("second").exists():  # the other one trains, too
                time.sleep(0.01)
            os.kill(os.getppid(), signal.SIGINT)
        else:
            Path("second").touch()
        time.sleep(60)

    others = set(multiprocessing.active_children())  # joblib's, of other tests
    with monkeypatch.context() as patch:
        in_fit(patch, press)
        began = time.monotonic()
        status, _, err = main(patch, capsys, *TWO)
    assert status == 130
    assert time.monotonic() - began < 50
    assert err == "interrupted: 1 of 6 trials are finished, all workers have ended\n"
    assert set(multiprocessing.active_children()) <= others
    states = [trial.state for trial in study("two").get_trials()]
    assert TrialState.RUNNING not in states, "each worker left its trial to be repeated"
    assert main(monkeypatch, capsys, "--resume", "two", "--workers", "2")[0] == 0
    assert list(_search_trials.finished(study("two"))) == list(range(6))


def test_a_second_process_helps_and_leaves_the_trials_of_the_first_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The second one runs while the first has a trial, and ends before it."""
    ran = []

    def work(first: optuna.Study, total: int, worker: Worker, *_: object) -> None:
        monkeypatch.undo()
        prepare(tmp_path, monkeypatch)
        trial = _search_trials.begin(first, total)
        assert trial is not None
        worker.sign(trial)
        search.propose(trial)
        for options in (["--trials", "9"], ["--repeats", "2"]):
            status, _, err = main(monkeypatch, capsys, "--resume", "run", *options)
            assert status == 2
            assert err.endswith(f"of the processes that run the search in run, got {options[1]}\n")
            assert err.startswith(f"search.py: {options[0]}: expected the ")
        status, out, err = main(monkeypatch, capsys, "--resume", "run", "--workers", "2")
        assert (status, err) == (0, "")
        assert out.splitlines()[-1].startswith(
            f"5 of 6 trials are finished; others have the rest (process {os.getpid()} on "
        )
        assert not Path("run/report.html").exists()
        assert first.get_trials()[0].state == TrialState.RUNNING
        first.tell(trial, 0.5)
        ran.append(worker)

    monkeypatch.setattr(_search_run, "work", work)
    status, out, err = main(monkeypatch, capsys, *SIX, "--output-dir", "run")
    assert (status, err, len(ran)) == (0, "", 1)
    assert "run/report.html" in out
    assert [trial.state in _search_trials.DONE for trial in study("run").get_trials()] == [True] * 6
    Path("run", _search_trials.WORKERS).mkdir()
    with files.lock(Path("run", _search_trials.WORKERS, "report")):
        status, out, _ = main(monkeypatch, capsys, "--resume", "run")
    assert status == 0
    assert out.endswith("all trials are finished; another process writes the report to run\n")


def test_what_is_known_of_a_running_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = study(".")
    one, other = (Worker(tmp_path, found._storage, name) for name in ("one", "other"))
    trials = [found.ask(), found.ask()]
    one.sign(trials[0])
    frozen = found.get_trials()
    assert not other.is_dead(frozen[0], alone=True), "its file is locked"
    assert (other.is_dead(frozen[1]), other.is_dead(frozen[1], alone=True)) == (False, True)
    one.file.close()
    one.ended.set()
    assert other.is_dead(frozen[0]), "its process has ended"
    monkeypatch.setattr(_search_trials, "HOST", "another computer")
    assert not other.is_dead(frozen[0]), "locks may not reach across computers"
    before = time.time() - 2 * storages.GRACE
    os.utime(one.path, (before, before))
    assert other.is_dead(frozen[0])
    one.path.unlink()
    assert (other.is_dead(frozen[0]), other.is_dead(frozen[0], alone=True)) == (False, True)
    other.close()


def test_a_database_tells_of_a_trial_by_its_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial of another folder is left alone while its heart beats, and repeated afterwards."""
    url = "sqlite:///trials.db"
    here, there = storages.connect(url), storages.connect(url)
    one, other = (storages.study_in(each, search.Sampler(0), search.PRUNER) for each in (here, there))

    def look(old: bool) -> list[TrialState]:
        if old:
            with there.engine.begin() as connection:
                connection.exec_driver_sql("UPDATE trial_heartbeats SET heartbeat = '2001-01-01 00:00:00'")
        _search_trials.repeat_interrupted(other, 3, helper.is_dead, search.drawn)
        return [trial.state for trial in other.get_trials()]

    for name in ("one", "other"):
        Path(name).mkdir()
    helper = Worker(Path("other"), there, "other")
    monkeypatch.setattr(_search_trials, "TICK", 0.01)
    worker = Worker(Path("one"), here, "one")
    trial = _search_trials.begin(one, 3)
    assert trial is not None
    worker.sign(trial)
    assert look(old=False) == [TrialState.RUNNING]
    beaten = threading.Event()
    monkeypatch.setattr(here, "record_heartbeat", lambda each: each == trial._trial_id and beaten.set())
    monkeypatch.setattr(_search_trials, "BEAT", 1)
    assert beaten.wait(20)
    worker.close()
    assert look(old=True) == [TrialState.FAIL, TrialState.WAITING]
    again = _search_trials.begin(other, 3)
    assert again is not None
    assert _search_trials.number_of(other, again) == 0
    helper.close()


def test_sqlite_lets_one_process_at_a_time_begin_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storages, "BUSY", 0)
    one, other = storages.connect("sqlite:///trials.db"), storages.connect("sqlite:///trials.db")
    refused = pytest.raises(Error, match=r"--storage: sqlite:///trials.db: database is locked")
    with one.engine.begin(), refused, storages.one_line("sqlite:///trials.db"):
        other.get_all_studies()


def test_a_worker_whose_parent_is_killed_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = threading.Event()
    monkeypatch.setattr(_search_trials, "TICK", 0.01)
    monkeypatch.setattr(_search_trials, "parent_process", lambda: SimpleNamespace(is_alive=lambda: False))
    monkeypatch.setattr(os, "kill", lambda process, number: process == os.getpid() and told.set())
    worker = Worker(tmp_path, study(".")._storage, "one")
    assert told.wait(20)
    worker.close()


def test_a_trial_that_two_processes_begin_or_repeat_is_done_once() -> None:
    found = study(".")
    trials = [_search_trials.begin(found, 3) for _ in range(3)]
    assert [trial and trial.number for trial in trials] == [0, 1, 2]
    assert _search_trials.begin(found, 3) is None
    late = found.ask()  # as if it had looked before the third began
    assert _search_trials.number_of(found, late) == 3
    found.tell(late, state=TrialState.FAIL)
    found.tell(1, state=TrialState.FAIL)
    for _ in range(2):  # two processes find it at the same moment
        found.enqueue_trial({}, user_attrs={_search_trials.REPEATS: 1})
    again = _search_trials.begin(found, 3)
    assert again is not None
    assert _search_trials.number_of(found, again) == 1
    assert _search_trials.begin(found, 3) is None
    _search_trials.repeat_interrupted(found, 3, lambda trial: False, search.drawn)
    assert _search_trials.begin(found, 3) is None, "the twin counts as nothing"
    more = _search_trials.begin(found, 4)
    assert more is None, "number 3 began, and was interrupted"
    _search_trials.repeat_interrupted(found, 4, lambda trial: False, search.drawn)
    more = _search_trials.begin(found, 4)
    assert more is not None
    assert _search_trials.number_of(found, more) == 3


def test_a_trial_that_another_process_took_over_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def lose() -> None:
        if once("slept"):
            other = study("two")
            running = [t for t in other.get_trials() if t.user_attrs[WORKER]["process"] == os.getpid()]
            other.tell(running[-1].number, state=TrialState.FAIL)

    in_fit(monkeypatch, lose)
    status, _, err = main(monkeypatch, capsys, *TWO)
    assert (status, err) == (0, "")
    assert list(_search_trials.finished(study("two"))) == list(range(6))


@pytest.mark.parametrize("url", [None, "sqlite:///trials.db"], ids=["journal", "sqlite"])
def test_a_trial_is_pruned_by_those_of_other_processes(url: str | None) -> None:
    here, there = study(".", url), study(".", url)
    for _ in range(4):
        trial = _search_trials.begin(here, 9)
        assert trial is not None
        trial.report(0.9, 1)
        here.tell(trial, 0.9)
    trial = _search_trials.begin(there, 9)
    assert trial is not None
    trial.report(0.1, 1)
    assert trial.should_prune()


def test_an_error_of_a_worker_ends_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def go_wrong() -> None:
        if once("wrong"):
            raise OSError("no space left")
        time.sleep(60)

    in_fit(monkeypatch, go_wrong)
    others = set(multiprocessing.active_children())  # joblib's, of other tests
    status, _, err = main(monkeypatch, capsys, *TWO)
    assert (status, err) == (2, "search.py: no space left\n")
    assert set(multiprocessing.active_children()) <= others


def test_workers_share_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_processes, "_cores", lambda: 8)
    pools = [{"user_api": "blas", "num_threads": 8}, {"user_api": "openmp", "num_threads": 1}]
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: pools)
    assert [_processes.share_of_threads(count) for count in (1, 2, 3, 9)] == [8, 4, 2, 1]
    pools[0]["num_threads"] = 2
    assert [_processes.share_of_threads(count) for count in (1, 2, 8)] == [2, 2, 1]


def test_folders_with_one_database_are_one_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    storage = ["--storage", "sqlite:///trials.db"]
    assert main(monkeypatch, capsys, *SIX, *storage, "--output-dir", "one")[0] == 0
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    assert yaml.safe_load(Path("one/config.yaml").read_text())["storage"] == url
    assert not Path("one", search.JOURNAL).exists()
    for change, words in (
        (["--epochs", "3"], f"--epochs: expected the 2 of the search in {url}, got 3; another search"),
        (["--trials", "7"], f"--trials: expected the 6 of the search in {url}, got 7; another search"),
        (["--seed", "1"], f"--seed: expected the 0 of the search in {url}, got 1; another search"),
    ):
        status, out, err = main(monkeypatch, capsys, *SIX, *storage, *change, "--output-dir", "other")
        assert (status, out) == (2, "")
        assert words in err
        assert not Path("other").exists()
    Path("train.csv").write_text(Path("train.csv").read_text().partition("\n")[2])
    status, _, err = main(monkeypatch, capsys, *SIX, *storage, "--output-dir", "other")
    assert status == 2
    assert f"--storage: expected the data of the search in {url}, got " in err
    Path("train.csv").write_text(Path("test.csv").read_text())
    assert main(monkeypatch, capsys, *SIX, *storage, "--output-dir", "other")[0] == 0
    assert len(study(".", url).get_trials()) == 6
    assert main(monkeypatch, capsys, "--resume", "other", "--trials", "7")[0] == 0
    assert main(monkeypatch, capsys, "--resume", "one")[0] == 0
    assert len(study(".", url).get_trials()) == 7
    Path("trials.db").unlink()
    status, _, err = main(monkeypatch, capsys, "--resume", "one")
    assert (status, err) == (
        2,
        f"search.py: --resume: expected the log of the trials in {url}, got none; begin a new search\n",
    )
    assert not Path("trials.db").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workers", "0"], "--workers: expected at least 1, got 0"),
        (["--storage", "trials.db"], "--storage: expected a URL such as sqlite:///search.db or "),
        (
            ["--storage", "postgresql://u:secret@h:x/d"],
            "--storage: expected a URL such as sqlite:///search.db or ",
        ),
        (["--storage", "sqlite://"], "--storage: expected a file that outlives the search"),
        (
            ["--storage", "abacus://host/d"],
            "--storage: expected a database that SQLAlchemy knows, got abacus",
        ),
        (["--storage", "sqlite:///none/x.db"], "none/x.db: unable to open database file"),
        (["--storage", "sqlite:///train.csv"], "train.csv: file is not a database"),
        (
            ["--storage", "postgresql+psycopg2://u:secret@h/d"],
            "--storage: postgresql+psycopg2://u:***@h/d needs the package psycopg2: pip install psycopg2-binary",
        ),
        (["--storage", "mysql+pymysql://u:secret@h/d"], "needs the package pymysql: pip install pymysql"),
        (
            ["--resume", "run", "--storage", "sqlite:///x.db"],
            "--storage: expected the search's own sqlite:////some/",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for driver in ("psycopg2", "pymysql"):
        monkeypatch.setitem(sys.modules, driver, None)  # as if it were not installed
    Path("run").mkdir()
    request = search.parse([*SIX, "--storage", "sqlite:////some/trials.db"], "", "")
    search.write_settings(Path("run"), request.options, request.settings)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    status, out, err = main(monkeypatch, capsys, *([] if "--resume" in arguments else SIX), *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("search.py: ")
    assert len(err.splitlines()) == 1
    assert words in err
    assert "secret" not in err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host/trials", "postgresql://me:***@host/trials"),
        ("mysql://me@host/trials?password=secret", "mysql://me@host/trials?password=%2A%2A%2A"),
    ],
)
def test_no_file_has_the_password(url: str, shown: str, tmp_path: Path) -> None:
    request = search.parse([*SIX, "--storage", url], "", "")
    assert request.settings.storage == url
    search.write_settings(tmp_path, request.options, request.settings)
    text = (tmp_path / "config.yaml").read_text()
    assert f"storage: {shown}\n" in text
    assert "secret" not in text
    assert search.parse(["--resume", str(tmp_path), "--storage", url], "", "").settings.storage == url
    with pytest.raises(ValueError, match="--storage: expected the URL of the search with its password"):
        search.parse(["--resume", str(tmp_path)], "", "")
    assert search.without_password(["--storage", url, f"--storage={url}"]) == [
        "--storage",
        shown,
        f"--storage={shown}",
    ]
    old = text.replace(f"storage: {storages.masked(url)}\n", "")
    (tmp_path / "config.yaml").write_text(old)
    assert search.parse(["--resume", str(tmp_path)], "", "").settings.storage is None, "of an earlier version"
    assert _search_run.resume_line(tmp_path, request.settings).endswith("--storage URL")
