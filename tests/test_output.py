"""Output and environment: no reader, full disks, narrow encodings, no docstrings, paths and names."""

import io
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from conftest import run_script
from xpnet import train
from xpnet._util.output import Patient, patient, say
from xpnet._util.text import docstring
from xpnet.errors import ConfigError
from xpnet.studies import runner, search
from xpnet.studies.options import Options
from xpnet.train import folder as folders
from xpnet.train.command_line import parse
from xpnet.train.doctor import command as doctor
from xpnet.train.script import exit_status

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "train.py"
SMALL = {"epochs": 1, "hidden": (8,), "quiet": True}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", str(SCRIPT), "--hidden", "8", "--epochs", "2", *arguments]


class Broken(io.StringIO):
    """A stream whose writes fail."""

    encoding = "utf-8"

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        if not self.closed:  # Python flushes what it throws away
            raise self.error


@pytest.mark.parametrize(
    "error", [BrokenPipeError(32, "Broken pipe"), OSError(5, "EIO"), OSError(28, "ENOSPC")]
)
def test_output_that_cannot_be_written_does_not_fail_a_run(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(error))
    monkeypatch.setattr(sys, "stderr", Broken(error))
    train.run(train.Config(**{**SMALL, "quiet": False}, output_dir=str(tmp_path / "run")))
    monkeypatch.setattr(sys, "stdout", None)  # as without a console
    monkeypatch.setattr(sys, "stderr", None)
    train.run(train.Config(**{**SMALL, "quiet": False}, output_dir=str(tmp_path / "other")))
    assert exit_status("x", lambda: print("x") or 3) == 3  # type: ignore[func-returns-value]
    assert exit_status("x", lambda: tqdm(total=1, disable=None).close()) == 0
    assert sys.stderr is None
    for name in ("run", "other"):
        assert (tmp_path / name / "confusion.png").exists()


@pytest.mark.parametrize("arguments", ["--output-dir run", "--help"])
def test_a_reader_that_leaves_costs_nothing(arguments: str, tmp_path: Path) -> None:
    line = f"{shlex.join(command(*arguments.split()))} | head -1"
    done = subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(("mnist-sample: 2,400", "usage: train.py"))
    assert (tmp_path / "run" / "confusion.png").exists() == (arguments != "--help")


def written(text: str, encoding: str) -> bytes:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    Patient(stream).write(text)
    return raw.getvalue()


def test_a_narrow_encoding_gets_the_nearest_characters() -> None:
    text = "η → 3×3, ‘é’ ✓ \udcff"
    assert written(text, "utf-8").decode() == "η → 3×3, ‘é’ ✓ \\udcff"
    assert written(text, "cp1252") == b"eta  -> 3x3, '\xe9' + \\udcff"
    assert written(text, "ascii") == b"eta  -> 3x3, '\\xe9' + \\udcff"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_the_help_has_words_for_its_symbols(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, write_through=True))
    with patient(), pytest.raises(SystemExit):
        parse(["--help"], "train.py")
    shown = raw.getvalue().decode(encoding)
    assert "--learning-rate" in shown
    assert shown.isascii() == (encoding != "utf-8")
    assert "\\" not in shown


def test_a_folder_with_an_umlaut_on_ascii(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        command("--output-dir", "rö"), cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("files in r\\xf6\n")
    assert (tmp_path / "rö" / "summary.json").exists()


def test_the_last_line_quotes_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: Any
) -> None:
    class Stopping(train.experiment.Best):
        def on_step(self, model: Any, step: int, n_steps: int) -> None:
            signal.raise_signal(signal.SIGUSR1)

    monkeypatch.setattr(train.experiment, "Best", Stopping)
    assert train.run(train.Config(**SMALL, output_dir=str(tmp_path / "a run")))["interrupted"] == "SIGUSR1"
    assert capsys.readouterr().out.splitlines()[-1] == f"interrupted; resume with --resume '{tmp_path}/a run'"


def test_without_docstrings_the_help_is_the_same(tmp_path: Path) -> None:
    code = (
        "import sys; from xpnet.train.command_line import option_helps; from xpnet import studies\n"
        "print(sys.flags.optimize, option_helps()['l2'], studies.title('learning-rate'))"
    )
    found = []
    for optimize in ("0", "2"):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONOPTIMIZE": optimize}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert done.stderr == ""
        found.append(done.stdout)
    assert found[1] == found[0].replace("0", "2", 1)
    assert "adds λ/2·Σw² over all weights" in found[0]
    done = subprocess.run([command()[0], "-OO", *command("--quiet", "--output-dir", "run")[1:]], cwd=tmp_path)
    assert done.returncode == 0


def test_a_docstring_without_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    assert docstring(train.Config).startswith("All options of a run.")
    monkeypatch.setattr(sys, "flags", type("Flags", (), {"optimize": 2}))
    assert docstring(train.Config).startswith("All options of a run.")
    assert docstring(runner).startswith("Run studies")
    assert docstring(type("Made", (), {})) == ""


def test_an_interrupt_during_the_imports_shows_nothing(tmp_path: Path) -> None:
    code = (
        "import runpy, signal, sys\n"
        "class Press:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name == 'xpnet.train.reporting': signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Press)\n"
        "runpy.run_path(sys.argv[1], run_name='__main__')\n"
    )
    for name in ("train", "study", "search", "gradcheck"):
        script = str(ROOT / "scripts" / f"{name}.py")
        done = subprocess.run(
            [sys.executable, "-c", code, script], cwd=tmp_path, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (130, "", ""), name


@pytest.mark.parametrize(
    "name", ["../../x", "/x", "", ".", "..", " ", "a/b", "a\\b", "a\0b", "a\nb", "ä" * 101, "/"]
)
def test_a_name_stays_in_its_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ConfigError, match="--name: expected a name for a folder in runs/"):
        train.run(train.Config(**{**SMALL, "name": name, "dataset": "not even looked at"}))
    assert list(tmp_path.rglob("*")) == [tmp_path / "here"]
    train.run(train.Config(**{**SMALL, "name": name}, output_dir="run"))  # there it is a title only


def test_names_that_are_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mlp", "a b", ".hidden", "ü$%", "x" * 200):
        assert folders.make(None, name).parent == Path("runs")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder that is not the current one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_a_tilde_is_the_home_folder_in_every_path(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (home / "c.yaml").write_text("output_dir: ~/run\ndata_dir: ~/data\nhidden: [8]\nepochs: 1\nquiet: true\n")
    (home / "data").mkdir()
    (home / "data" / "rows.csv").write_text("0,0,0\n1,255,0\n" * 5)
    dataset = "--dataset=csv:rows.csv,~/data/rows.csv"
    status, out, err = run_script(SCRIPT, monkeypatch, capsys, "--config", "~/c.yaml", dataset)
    assert (status, err) == (0, "")
    assert out.endswith(f"files in {home}/run\n")
    status, out, err = run_script(SCRIPT, monkeypatch, capsys, "--resume=~/run", "--epochs", "2")
    assert (status, err) == (0, "")
    assert (home / "run" / "metrics.csv").read_text().count("\n") == 3
    runner.run("backprop-by-hand", Options(output_dir="~/study"))
    assert (home / "study" / "report.html").exists()
    _, path = doctor.parse(["--json", "~/doctor.json"], "doctor.py", None)
    assert path == home / "doctor.json"
    with pytest.raises(ConfigError, match=f"--resume: expected the folder of a search, got {home}/run"):
        search.parse(["--resume", "~/run"], "search.py", "")
    assert list(Path.cwd().iterdir()) == []


def test_paths_that_no_file_can_have(home: Path) -> None:
    for path, words in (("~nobody-at-all/x", "no such user"), ("a\0b", "expected a path, got 'a\\\\x00b'")):
        for options in ({"output_dir": path}, {}):
            with pytest.raises(ConfigError, match=words):
                train.run(train.Config(**SMALL, **options), None if options else Path(path))
    with pytest.raises(ConfigError, match=r"--output-dir: cannot make .*: File name too long"):
        train.run(train.Config(**SMALL, output_dir="x" * 300))
    assert list(Path.cwd().iterdir()) == []


def test_say_goes_to_the_stream_of_the_moment(capsys: pytest.CaptureFixture) -> None:
    say("out")
    say("err", error=True)
    assert capsys.readouterr() == ("out\n", "err\n")
