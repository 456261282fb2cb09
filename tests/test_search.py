"""The search for hyper-parameters: `scripts/search.py` as a user runs it, and an interrupted search."""

import csv
import functools
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from optuna.trial import FrozenTrial, TrialState

from conftest import run_script
from xpnet._util import files
from xpnet.model import Model
from xpnet.studies import hyperparameter_search, runner, search
from xpnet.studies.options import Options
from xpnet.studies.report import Report

SCRIPT = Path(__file__).parents[1] / "scripts" / "search.py"
SMALL = [
    "--quick",
    "--trials",
    "10",
    "--epochs",
    "2",
    "--repeats",
    "1",
]  # 8 random trials, then 2 that the sampler proposes
main = functools.partial(run_script, SCRIPT)


def table(folder: Path, name: str = "trials") -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_times(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small search that was not interrupted."""
    folder = tmp_path_factory.mktemp("search") / "unbroken"
    request = search.parse([*SMALL, "--output-dir", str(folder)], "search.py", "")
    runner.run("hyperparameter-search", request.options, settings=request.settings)
    return folder


def test_a_search_leaves_its_trials_and_a_report(unbroken: Path) -> None:
    rows = table(unbroken)
    assert [row["trial"] for row in rows] == [str(i) for i in range(1, 11)]
    best = max(float(row["validation accuracy"]) for row in rows if row["state"] == "complete")
    assert best > 0.7
    for row in rows:
        assert 1e-3 <= float(row["learning rate"]) <= 0.5
        assert int(row["epochs"]) == 2 or row["state"] != "complete"
    assert {row["hyper-parameter"] for row in table(unbroken, "importance")} == {
        "hidden layers", "units", "activation", "learning rate", "batch size", "L2",
    }  # fmt: skip
    assert [row["hyper-parameters"] for row in table(unbroken, "best-and-default")] == [
        "default",
        "best trial",
    ]
    page = (unbroken / "report.html").read_text()
    assert "python scripts/train.py" in page
    assert "nan" not in page.partition("<main>")[2].partition("base64")[0]


def test_another_seed_draws_others(unbroken: Path, tmp_path: Path) -> None:
    request = search.parse(
        [*SMALL, "--seed", "1", "--trials", "1", "--output-dir", str(tmp_path / "run")], "", ""
    )
    runner.run("hyperparameter-search", request.options, settings=request.settings)
    assert table(tmp_path / "run")[0]["learning rate"] != table(unbroken)[0]["learning rate"]


def break_off(monkeypatch: pytest.MonkeyPatch, fits: int) -> None:
    """End the process in the middle of a training, after a number of complete trainings."""
    fit, calls = Model.fit, []

    def broken(self: Model, *args: object, callbacks: list, **options: object) -> object:
        calls.append(self)
        if len(calls) > fits:
            fit(self, *args, callbacks=callbacks, **(options | {"epochs": 1}))  # type: ignore[arg-type]
            raise KeyboardInterrupt
        return fit(self, *args, callbacks=callbacks, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "fit", broken)


def test_a_search_that_was_broken_off_twice_ends_as_the_unbroken_one(
    unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        break_off(patch, fits=3)
        status, out, err = main(patch, capsys, *SMALL, "--output-dir", "run")
        assert (status, err) == (130, "")
        assert out == "if interrupted: python scripts/search.py --resume run\n"
    with monkeypatch.context() as patch:
        break_off(patch, fits=6)
        assert main(patch, capsys, "--resume", "run")[0] == 130
    with (tmp_path / "run" / search.JOURNAL).open("ab") as file:
        file.write(b'{"op_code": 6, "wor')  # as left by a process killed while writing
    (tmp_path / "run" / f"{search.JOURNAL}.lock").touch()
    status, out, err = main(monkeypatch, capsys, "--resume", "run")
    assert (status, err) == (0, "")
    assert "run/report.html" in out
    for name in ("trials", "trials-epochs", "importance", "best-and-default", "expectations"):
        assert without_times(table(tmp_path / "run", name)) == without_times(table(unbroken, name)), name


def test_a_finished_search_goes_on_with_more_trials(
    unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(monkeypatch, capsys, *SMALL, "--trials", "3", "--output-dir", "run")[0] == 0
    status, _, err = main(monkeypatch, capsys, "--resume", "run", "--trials", "2")
    assert (status, err) == (2, "search.py: --trials: expected at least 3, which are done, got 2\n")
    assert main(monkeypatch, capsys, "--resume", "run", "--trials", "10")[0] == 0
    assert without_times(table(tmp_path / "run")) == without_times(table(unbroken))
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["trials"] == 10


def test_divergence_ends_a_trial_and_not_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    propose = search.propose
    monkeypatch.setattr(search, "propose", lambda trial: propose(trial) | {"learning_rate": 1e30})
    request = search.parse([*SMALL, "--trials", "2", "--output-dir", str(tmp_path / "run")], "", "")
    runner.run("hyperparameter-search", request.options, settings=request.settings)
    assert [row["state"] for row in table(tmp_path / "run")] == ["diverged"] * 2
    assert "No trial is complete" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trials", "0"], "--trials: expected at least 1, got 0"),
        (["--epochs", "-1"], "--epochs: expected at least 1, got -1"),
        (["--repeats", "x"], "--repeats: invalid int value: 'x'"),
        (["--trails", "3"], "--trails"),
        (["name"], "name"),
        (["--backend", "abacus"], "unknown backend 'abacus': expected one of numpy"),
        (["--dataset", "imagenet"], "no data set is called 'imagenet'"),
        (["--output-dir", "taken"], "--output-dir: expected a folder that does not exist, got taken"),
        (
            ["--output-dir", "search"],
            "--output-dir: expected a folder that does not exist, got search, a run: resume it with --resume",
        ),
        (
            ["--resume", "missing"],
            "--resume: expected the folder of a search, got missing: config.yaml: No such file",
        ),
        (["--resume", "taken"], "--resume: expected the folder of a search, got taken"),
        (
            ["--resume", "training"],
            "--resume: expected the folder of a search, got training: config.yaml: its options",
        ),
        (
            ["--resume", "search", "--epochs", "5"],
            "--epochs: expected the search's own 2 with --resume, got 5",
        ),
        (["--resume", "search", "--seed", "1"], "--seed: expected the search's own 0 with --resume, got 1"),
        (["--resume", "damaged"], "damaged/trials.log: expected a journal of Optuna"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    for name in ("taken", "search", "training", "damaged"):
        (tmp_path / name).mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    (tmp_path / "training" / "config.yaml").write_text("epochs: 3\n")
    for name in ("search", "damaged"):
        search.write_settings(tmp_path / name, Options(quick=True), search.Settings(3, 2, 1))
        (tmp_path / name / search.JOURNAL).write_text("" if name == "search" else "nothing\nof this\n")
        (tmp_path / name / "lock").touch()
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    monkeypatch.chdir(tmp_path)
    status, out, err = main(monkeypatch, capsys, *arguments)
    assert status == 2, err
    assert out == ""
    assert err.startswith("search.py: ")
    assert len(err.splitlines()) == 1, err
    assert words in err
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_without_its_log_or_with_other_data_a_search_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"{i % 2},{255 * (i % 2)},{10 * (i % 3)},0\n" for i in range(40)]
    for name in ("train.csv", "test.csv"):
        Path(name).write_text("".join(lines))
    dataset = ["--dataset", "csv:train.csv,test.csv", "--quick"]
    small = ["--trials", "1", "--epochs", "1", "--repeats", "1", "--output-dir", "run"]
    assert main(monkeypatch, capsys, *dataset, *small)[0] == 0
    Path("train.csv").write_text("".join(lines[:-1]))
    before = everything(tmp_path)
    status, out, err = main(monkeypatch, capsys, "--resume", "run", "--trials", "2")
    assert (status, out) == (2, "")
    assert err.endswith("expected the data that run began with, got 39 training examples instead of 40\n")
    assert everything(tmp_path) == before
    Path("train.csv").write_text("".join(lines))
    for damage in ("unlink", "touch"):
        Path("run", search.JOURNAL).unlink(missing_ok=True)
        if damage == "touch":
            Path("run", search.JOURNAL).touch()
        before = everything(tmp_path)
        status, out, err = main(monkeypatch, capsys, "--resume", "run", "--trials", "2")
        assert (status, out) == (2, "")
        assert err == (
            "search.py: --resume: expected the log of the trials in run/trials.log, got none; begin a new search\n"
        )
        assert everything(tmp_path) == before


def test_one_process_at_a_time_works_on_a_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    search.write_settings(tmp_path, Options(quick=True), search.Settings(1, 1, 1))
    with files.lock(tmp_path / "lock"):
        status, _, err = main(monkeypatch, capsys, "--resume", str(tmp_path))
    assert status == 2
    assert err.endswith("expected a search that no process uses, got one in use\n")


def test_one_pruned_trial_was_pruned(tmp_path: Path) -> None:
    params = {
        "hidden layers": 1,
        "units": 64,
        "activation": "relu",
        "learning rate": 0.1,
        "batch size": 32,
        "L2": 0.1,
    }
    whole, pruned = (
        FrozenTrial(
            0,
            state,
            0.5,
            datetime.now(),
            datetime.now(),
            params,
            {},
            {},
            {},
            dict.fromkeys(range(epochs), 0.5),
            0,
        )
        for state, epochs in ((TrialState.COMPLETE, 2), (TrialState.PRUNED, 1))
    )
    for trials, words in (
        (
            [whole, pruned],
            "Of 2 trials, 1 ran to the end, 1 was pruned, and 0 diverged. Together they ran 3 epochs",
        ),
        (
            [pruned],
            "Of 1 trial, 0 ran to the end, 1 was pruned, and 0 diverged. Together they ran 1 epoch in",
        ),
        ([pruned] * 2, "Of 2 trials, 0 ran to the end, 2 were pruned"),
    ):
        report = Report("a-study", options=Options(output_dir=str(tmp_path / str(len(words)))))
        hyperparameter_search.report_trials(report, trials, search.Settings(epochs=2))
        assert words in report.write().read_text()
