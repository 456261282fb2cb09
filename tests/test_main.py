"""`python -m xpnet PROGRAM` and the command `xpnet` do what the scripts do, under their own names."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from xpnet import __main__ as programs
from xpnet import studies
from xpnet._util.version import __version__
from xpnet.studies._search_run import resume_line
from xpnet.studies.search import Settings

ROOT = Path(__file__).parents[1]
NAMES = ("train", "predict", "export", "study", "search", "gradcheck", "doctor")


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, argv: list[str]
) -> tuple[int, str, str]:
    """Status, standard output and standard error of the program that a user starts with these words."""
    monkeypatch.setattr(sys, "argv", argv)
    try:
        status = programs.main()
    except SystemExit as exit_:  # --help
        status = int(exit_.code or 0)
    return (status, *capsys.readouterr())


def test_every_program_has_a_script() -> None:
    assert tuple(programs.PROGRAMS) == NAMES
    assert {f"{name}.py" for name in NAMES} | {"notebooks.py", "reference.py"} == {
        path.name for path in (ROOT / "scripts").glob("*.py")
    }


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        ("/usr/bin/xpnet", "xpnet search --resume run"),
        ("C:/Scripts/xpnet.exe", "xpnet search --resume run"),
        ("site-packages/xpnet/__main__.py", "python -m xpnet search --resume run"),
        ("scripts/search.py", "python scripts/search.py --resume run"),
        ("site-packages/pytest/__main__.py", "python scripts/search.py --resume run"),
    ],
)
def test_a_command_to_type_next_begins_as_the_user_s(
    argv: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where xpnet is installed there is no folder of scripts."""
    monkeypatch.setattr(sys, "argv", [argv])
    assert resume_line(Path("run"), Settings()) == command


def test_the_command_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"xpnet": "xpnet.__main__:main"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("argv0", "shown"), [("/usr/bin/xpnet", "xpnet"), ("/lib/xpnet/__main__.py", "python -m xpnet")]
)
def test_help_shows_the_words_that_the_user_types(
    name: str, argv0: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    status, out, err = run(monkeypatch, capsys, [argv0, name, "--help"])
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: {shown} {name} ")
    assert "PROGRAM" not in out
    assert re.search(rf"^    {shown} {name}", out, re.MULTILINE), "an example"
    assert "Exit status: 0, " in out
    title = (programs.PROGRAMS[name].__doc__ or "").partition("\n")[0]
    assert title in out
    assert title in run(monkeypatch, capsys, [argv0, "--help"])[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_begins_with_the_name_of_the_program(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for argv, prog in (
        (["xpnet", name, "--no-such-option"], f"xpnet {name}"),
        (["__main__.py", name, "--no-such-option"], f"python -m xpnet {name}"),
    ):
        status, out, err = run(monkeypatch, capsys, argv)
        assert (status, out) == (2, "")
        assert err.startswith(f"{prog}: ")
        assert err.count("\n") == 1


@pytest.mark.parametrize("name", NAMES)
def test_the_version(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    shown = (0, f"xpnet {__version__}\n", "")
    assert run(monkeypatch, capsys, ["xpnet", name, "--version"]) == shown
    assert run(monkeypatch, capsys, ["xpnet", "--version"]) == shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "xpnet: expected one of train, predict, export, study, search, gradcheck, doctor, got nothing; see xpnet --help"),
        (["trian"], "got 'trian'; did you mean train?"),
        (["train.py"], "did you mean train?"),
        (["Study"], "did you mean study?"),
        (["--epochs", "3"], "got '--epochs'; see xpnet --help"),
        (["x" * 999], "got 'xxx"),
        ([""], "got nothing"),
    ],
)  # fmt: skip
def test_an_unknown_program_is_one_line(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    status, out, err = run(monkeypatch, capsys, ["xpnet", *arguments])
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("xpnet: ")
    assert words in err
    assert len(err) < 200


def test_a_report_shows_the_command_as_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    seen = []
    monkeypatch.setattr(
        "xpnet.studies.runner.run_and_print", lambda name, options, command: seen.append(command)
    )
    assert run(monkeypatch, capsys, ["xpnet", "study", "logic-gates", "--output-dir", "a b"])[0] == 0
    assert run(monkeypatch, capsys, ["/x/__main__.py", "study", "logic-gates"])[0] == 0
    assert seen == ["xpnet study logic-gates --output-dir 'a b'", "python -m xpnet study logic-gates"]


def test_a_module_run_from_the_shell(tmp_path: Path) -> None:
    """Training, then a prediction with the run, in processes of their own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def shell(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-W", "error", "-m", "xpnet", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)

    done = shell("train", "--hidden", "8", "--epochs", "1", "--quiet", "--output-dir", "run")
    assert (done.returncode, done.stderr) == (0, "")
    sample = ROOT / "xpnet" / "data" / "mnist-sample" / "t10k-images-idx3-ubyte.gz"
    done = shell("predict", "run", str(sample), "--kaggle")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ImageId,Label\n1,")
    assert done.stdout.count("\n") == 1001
    done = shell("study", "list")
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(studies.NAMES)


def test_scripts_only_start_their_program() -> None:
    for name in NAMES:
        source = (ROOT / "scripts" / f"{name}.py").read_text()
        assert source.count("\n") < 16
        assert f'script("{name}")' in source
        assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]


def test_programs_keep_their_descriptions_without_docstrings(tmp_path: Path) -> None:
    """`python -OO` drops docstrings."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONOPTIMIZE": "2"}
    for arguments in (["--help"], ["train", "--help"]):
        done = subprocess.run([sys.executable, "-m", "xpnet", *arguments], capture_output=True, text=True, env=environment)  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert "Train a network and write a folder" in done.stdout
