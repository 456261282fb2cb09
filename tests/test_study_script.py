"""`scripts/study.py` as a user runs it: output, exit status and files."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Literal

import matplotlib
import pytest

from conftest import run_script
from xpnet import studies
from xpnet.errors import ConfigError, DivergedError
from xpnet.studies import runner
from xpnet.studies.options import Options, parse
from xpnet.studies.report import Report

SCRIPT = Path(__file__).parents[1] / "scripts" / "study.py"


def study(name: str) -> ModuleType:
    """A study whose report shows the options that it was run with."""

    def run(options: Options, report: Report) -> None:
        dataset = options.load_dataset()
        report.trained_on(dataset)
        report.table("numbers", ["seed", "quick"], [[options.seed, options.quick]])
        report.expect("It runs.", "It ran.", True)

    module = ModuleType(
        f"xpnet.studies.{name}", f"What {name} shows.\n\nMore of it.\nStill more.\n\nThe end.\n"
    )
    module.run = run  # type: ignore[attr-defined]
    return module


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Replace all studies by two small ones."""
    for name in ("first_one", "second"):
        monkeypatch.setitem(sys.modules, f"xpnet.studies.{name}", study(name))
    monkeypatch.setattr(studies, "NAMES", ("first-one", "second"))
    return studies.NAMES


main = functools.partial(run_script, SCRIPT)


def test_list_names_every_study(tmp_path: Path) -> None:
    environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), "list"], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(studies.NAMES)
    assert all(len(line.split()) > 2 for line in lines)


def test_every_study_has_a_title_an_introduction_and_run() -> None:
    for name in studies.NAMES:
        module = studies.load(name)
        assert callable(module.run)
        assert studies.title(name)[0].isupper()
        assert len((module.__doc__ or "").strip().split("\n\n")) > 1, name


@pytest.mark.usefixtures("names")
def test_a_study_leaves_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = main(monkeypatch, capsys, "first-one", "--quick", "--seed", "3", "--output-dir", "run")
    assert (status, err) == (0, "")
    assert out.startswith("first-one: 1 of 1 expectations agree; run/report.html (")
    assert (tmp_path / "run" / "numbers.csv").read_text() == "seed,quick\n3,true\n"
    page = (tmp_path / "run" / "report.html").read_text()
    for words in (
        "<h1>What first_one shows</h1>", "<p>More of it. Still more.</p>", "<p>The end.</p>",
        "study.py first-one --quick --seed 3", "mnist-sample: 3,000 training and 1,000 test examples",
    ):  # fmt: skip
        assert words in page


def test_all_runs_each_into_one_folder(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = main(monkeypatch, capsys, "all", "--quick")
    assert (status, err) == (0, "")
    (folder,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in folder.iterdir()} == {*names, "report.html"}
    *lines, last = out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(names)
    assert last == f"all: 2 of 2 expectations of 2 studies agree; {folder.relative_to(tmp_path)}/report.html"
    for name in names:  # each page has the command that runs this study alone
        assert f"study.py {name} --quick</code>" in (folder / name / "report.html").read_text()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python study.py all --quick --seed 3", "python study.py one --quick --seed 3"),
        ("python study.py --output-dir all --data-dir all all", "python study.py --data-dir all one"),
        (
            "python study.py --output-dir=x all '--dataset=csv:a b,c'",
            "python study.py one '--dataset=csv:a b,c'",
        ),
        ("python -m xpnet study --download all", "python -m xpnet study --download one"),
        ("python study.py --pdf all --quick", "python study.py --pdf one --quick"),
        ("", ""),
    ],
)
def test_the_command_of_one_study_of_all(command: str, expected: str) -> None:
    assert runner.command_of("one", command) == expected


def test_one_result_that_differs_in_a_quick_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    report = Report("a-study", options=Options(output_dir=str(tmp_path / "run"), quick=True))
    report.expect("More is more.", "It is not.", False)
    runner.print_result(report)
    assert "a-study: 0 of 1 expectations agree, but quick is too small to judge; " in capsys.readouterr().out


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["third"], "no study is called 'third': expected one of first-one, second"),
        (["first_one"], "no study is called 'first_one'"),
        ([], "NAME"),
        (["second", "extra"], "extra"),
        (["second", "--epochs", "3"], "--epochs"),
        (["second", "--qui"], "--qui"),
        (["second", "--seed", "x"], "--seed: invalid int value: 'x'"),
        (["second", "--seed", "-1"], "--seed: expected at least 0, got -1"),
        (["second", "--backend", "abacus"], "unknown backend 'abacus': expected one of numpy"),
        (["all", "--backend", "abacus"], "unknown backend 'abacus': expected one of numpy"),
        (["second", "--device", "cuda"], "backend 'numpy': expected device 'cpu', got 'cuda'"),
        (["second", "--dataset", "imagenet"], "no data set is called 'imagenet'"),
        (
            ["second", "--dataset", "mnist", "--data-dir", ".", "--no-download"],
            "train-images-idx3-ubyte.gz is missing",
        ),
        (
            ["all", "--dataset", "mnist", "--data-dir", ".", "--no-download"],
            "train-images-idx3-ubyte.gz is missing",
        ),
        (
            ["second", "--output-dir", "taken"],
            "--output-dir: expected a folder that does not exist, got taken",
        ),
        (["all", "--output-dir", "taken"], "--output-dir: expected a folder that does not exist, got taken"),
        (["second", "--output-dir", "taken/file"], "--output-dir: expected a folder that does not exist"),
        (["second", "--output-dir", "taken/file/run"], "--output-dir: cannot make taken/file/run"),
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
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    status, out, err = main(monkeypatch, capsys, *arguments)
    assert status == 2, err
    assert out == ""
    assert err.startswith("study.py: ")
    assert len(err.splitlines()) == 1, err
    assert words in err
    assert sorted(tmp_path.rglob("*")) == before


def test_what_the_options_say() -> None:
    name, options, own = parse(["x", "--data-dir", "d", "--quick", "--no-download"], "study.py", "")
    assert (name, options, own) == ("x", Options(data_dir="d", quick=True, download=False), {})
    assert parse(["x"], "study.py", "") == ("x", Options(), {})
    assert options.choose(50, quick=3) == 3
    assert Options().choose(50, quick=3) == 50
    assert list(Options(seed=4).seeds(3)) == [4, 5, 6]


@pytest.fixture
def with_own_option(names: tuple[str, ...]) -> list[str]:
    """Give the second study an option of its own. Returns the values that it is run with."""
    seen = []

    def run(
        options: Options, report: Report, *, base: Literal["mlp", "two_layer"] = "mlp", rate: float = 1
    ) -> None:
        """Run.

        Arguments:
            base: the network that 100% begins with.
            rate: a number.
        """
        seen.append(f"{base} {rate}")
        report.table("numbers", ["a"], [[3]])

    sys.modules["xpnet.studies.second"].run = run  # type: ignore[attr-defined]
    return seen


def test_a_study_has_an_option_of_its_own(
    with_own_option: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = main(monkeypatch, capsys, "--base", "two_layer", "second", "--output-dir", "one")
    assert (status, err) == (0, "")
    status, _, err = main(
        monkeypatch, capsys, "all", "--rate=2", "--base", "two_layer", "--output-dir", "each"
    )
    assert (status, err) == (0, "")
    assert main(monkeypatch, capsys, "second", "--output-dir", "default")[0] == 0
    assert with_own_option == ["two_layer 1", "two_layer 2.0", "mlp 1"]
    assert "study.py second --rate=2 --base two_layer</code>" in Path("each/second/report.html").read_text()
    assert "study.py first-one</code>" in Path("each/first-one/report.html").read_text()
    assert '<th scope="row">base</th><td>mlp</td>' in Path("default/report.html").read_text()


@pytest.mark.usefixtures("with_own_option")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["first-one", "--base", "mlp"], "study.py: --base: only for second, got first-one"),
        (["second", "--base", "mpl"], "--base: expected mlp or two_layer, got mpl; did you mean mlp?"),
        (["second", "--rate", "fast"], "--rate: expected float, got fast"),
        (["second", "--bse", "mlp"], "no option is called '--bse'; did you mean --base?"),
        (["third", "--base", "mlp"], "no study is called 'third'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_with_an_option_of_one_study(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    status, out, err = main(monkeypatch, capsys, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err


@pytest.mark.usefixtures("with_own_option")
def test_help_says_which_study_takes_an_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    out = main(monkeypatch, capsys, "--help")[1]
    assert "--base BASE" in out
    assert "for second: the network that 100% begins with. mlp or two_layer; default mlp" in " ".join(
        out.split()
    )


def test_an_output_folder_that_is_taken_is_refused_before_the_study_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = study("never")
    module.run = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "xpnet.studies.never", module)
    monkeypatch.setattr(studies, "NAMES", ("never",))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="--output-dir"):
        runner.run("never", Options(output_dir=str(tmp_path)))


def test_the_users_settings_of_matplotlib_do_not_matter(tmp_path: Path) -> None:
    pages = []
    for settings in ({}, {"text.usetex": True, "font.size": 40, "svg.fonttype": "none"}):
        with matplotlib.rc_context(settings):
            before = dict(matplotlib.rcParams)
            report = runner.run(
                "activation-descent", Options(quick=True, output_dir=str(tmp_path / str(len(pages))))
            )
            assert dict(matplotlib.rcParams) == before
        page = report.path.read_text()
        assert "A picture is missing" not in page
        pages.append(re.findall(r'width="(\d+)" height="(\d+)"', page))
    assert pages[0] == pages[1] != []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DivergedError("a loss\nof nan"), MemoryError()])
def test_a_study_that_ends_early_keeps_what_it_found(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = study("ending")

    def run(options: Options, report: Report) -> None:
        if options.quick:
            report.table("numbers", ["a"], [[3]])
        raise error

    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "xpnet.studies.ending", module)
    monkeypatch.setattr(studies, "NAMES", ("ending",))
    for quick in (True, False):
        folder = tmp_path / str(quick)
        with pytest.raises(type(error)):
            runner.run("ending", Options(output_dir=str(folder), quick=quick))
        assert folder.exists() == quick
    page = (tmp_path / "True" / "report.html").read_text()
    reason = "a loss of nan" if isinstance(error, DivergedError) else type(error).__name__
    assert f"the study ended early ({reason})." in page
    assert '<a href="numbers.csv">' in page
