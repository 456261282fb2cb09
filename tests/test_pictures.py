"""The pictures of a run: what they show, and that none of them can fail a run."""

import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from xpnet import train
from xpnet.metrics import EpochMetrics
from xpnet.train import drawing, plots
from xpnet.train.drawing import Figure

ROOT = Path(__file__).parents[1]
TITLE = "mlp on csv:data/mnist_in_csv/mnist_train.csv,data/mnist_in_csv/mnist_test.csv, numpy: test accuracy 0.9090"
SMALL = {"epochs": 1, "hidden": (8,), "quiet": True}


def history(epochs: int, validated: bool = True) -> list[EpochMetrics]:
    return [
        EpochMetrics(i, 1 / i, 0.5, *((0.9 / i, 0.4 + i / 100) if validated else (None, None)), 0.1, 1.0, 9.0)
        for i in range(1, epochs + 1)
    ]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that would be saved."""
    seen: list[Figure] = []

    def keep(path: Path, figure: Figure) -> None:
        figure.canvas.draw()
        seen.append(figure)

    monkeypatch.setattr(plots, "_save", keep)
    return seen


def draw_curves(path: Path, title: str = "title", epochs: int = 3) -> None:
    rows = history(epochs)
    plots.curves(path, rows, rows[-1], title)


def draw_confusion(path: Path, title: str = "title", names: tuple[str, ...] = ("a", "b", "c")) -> None:
    y = np.arange(len(names))
    plots.confusion(path, y, y, names, title)


PICTURES = pytest.mark.parametrize("picture", [draw_curves, draw_confusion])


@PICTURES
@pytest.mark.parametrize(
    "title",
    [TITLE, 2 * TITLE, 20 * TITLE, "W" * 300, "a title $x$ of \\frac{$ and \n more", "", "\ud800 日本"],
)
def test_a_title_stays_inside(picture: Callable, title: str, tmp_path: Path, figures: list[Figure]) -> None:
    picture(tmp_path / "c.png", title)
    (figure,) = figures
    box = figure._suptitle.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert box.height < figure.bbox.height / 4


@pytest.mark.parametrize("epochs", [1, 2, 3, 30])
def test_ticks_of_epochs_are_whole(epochs: int, tmp_path: Path, figures: list[Figure]) -> None:
    draw_curves(tmp_path / "c.png", epochs=epochs)
    for axes in figures[0].axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(tick == round(tick) for tick in ticks)


def test_every_line_of_the_curves_is_named(tmp_path: Path, figures: list[Figure]) -> None:
    draw_curves(tmp_path / "c.png")
    for axes, value in zip(figures[0].axes, ("0.3000", "0.4300"), strict=True):
        names = [text.get_text() for text in axes.get_legend().get_texts()]
        assert names == [
            "training, mean during the epoch",
            "validation, end of epoch",
            f"best epoch, 3: {value}",
        ]
        styles = {line.get_linestyle() for line in axes.lines}
        assert len(styles) == len(axes.lines)


def test_the_curves_say_which_training_loss_they_show(tmp_path: Path, figures: list[Figure]) -> None:
    def names() -> list[str]:
        plots.curves(tmp_path / "c.png", rows, None, "title")
        return [text.get_text() for text in figures[-1].axes[0].get_legend().get_texts()]

    rows = [row._replace(train_metrics="end") for row in history(4)]
    assert names() == ["training, end of epoch", "validation, end of epoch"]
    rows = [row._replace(test_loss=1.5, test_accuracy=0.5) for row in history(2)] + rows[2:]
    assert names() == [
        "training, mean during the epoch",
        "training, end of epoch",
        "validation, end of epoch",
        "test, end of epoch",
    ]
    running, end, _, test = figures[-1].axes[0].lines
    np.testing.assert_array_equal(running.get_ydata(), [1, 0.5, np.nan, np.nan])
    np.testing.assert_array_equal(end.get_ydata(), [np.nan, np.nan, 1 / 3, 0.25])
    np.testing.assert_array_equal(test.get_ydata(), [1.5, 1.5, np.nan, np.nan])


def test_curves_without_validation(tmp_path: Path, figures: list[Figure]) -> None:
    rows = history(2, validated=False)
    plots.curves(tmp_path / "c.png", rows, rows[-1], "title")
    assert [len(axes.lines) for axes in figures[0].axes] == [2, 2]  # training and the best epoch


@pytest.mark.parametrize("classes", [1, 10, 40, 60_000])
def test_a_confusion_matrix_is_of_a_usable_size(classes: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, 5000)
    predictions = np.where(rng.random(5000) < 0.7, y, rng.integers(0, classes, 5000))
    names = [f"the class with the long name {i}" for i in range(classes)]
    plots.confusion(tmp_path / "c.png", y, predictions, names, "title")
    with Image.open(tmp_path / "c.png") as image:
        assert 400 < max(image.size) <= 4000


def test_of_many_classes_the_most_frequent_errors_are_shown(tmp_path: Path, figures: list[Figure]) -> None:
    y = np.repeat(np.arange(100), 10)
    predictions = y.copy()
    predictions[y == 70] = 99
    predictions[np.flatnonzero(y == 99)[:3]] = 5
    plots.confusion(tmp_path / "c.png", y, predictions, list(map(str, range(100))), "title")
    (figure,) = figures
    axes = figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert len(names) == 40
    assert {"5", "70", "99"} < set(names)
    assert not axes.texts  # no numbers in the cells
    share = axes.images[0].get_array()
    assert share[names.index("70"), names.index("99")] == 1
    assert share[names.index("99"), names.index("5")] == 0.3
    assert "the 40 of 100 classes with the most frequent errors" in figure._suptitle.get_text()


def test_a_few_classes_have_their_counts(tmp_path: Path, figures: list[Figure]) -> None:
    plots.confusion(tmp_path / "c.png", np.array([0, 0, 1]), np.array([0, 1, 1]), ["a", "b"], "title")
    axes = figures[0].axes[0]
    assert {(text.get_position(), text.get_text()) for text in axes.texts} == {
        ((0, 0), "1"), ((1, 0), "1"), ((1, 1), "1"),
    }  # fmt: skip


NAMES = (
    "a$b$",
    r"\frac{",
    "$",
    "x\ny",
    "",
    "Ж",
    "日本",
    "\ud800",
    "\x00",
    "a" * 300,
    "a" * 299 + "b",
    "%",
    "😀",
)


def test_odd_names_are_shown_and_stay_apart(tmp_path: Path, figures: list[Figure]) -> None:
    draw_confusion(tmp_path / "c.png", names=NAMES)
    shown = [label.get_text() for label in figures[0].axes[0].get_yticklabels()]
    assert shown[:4] == ["a$b$", r"\frac{", "$", "x y"]
    assert len(set(shown)) == len(NAMES)
    assert max(map(len, shown)) <= plots.NAME
    assert all(shown)


def test_letters_without_a_font_are_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing.font_manager.fontManager, "ttflist", [])  # nothing but the bundled font
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_confusion(tmp_path / "c.png", names=("日本", "Ж"))
    assert plots.short_names(("日本", "Ж"), np.arange(2)) == ["0: ??", "Ж"]
    entries = [entry for entry in [drawing.font_manager.FontEntry("/nowhere.ttf", "Gone")] if entry]
    monkeypatch.setattr(drawing.font_manager.fontManager, "ttflist", entries)
    assert drawing.fonts_for("日Ж") == ([], {"日"})


@PICTURES
def test_settings_of_the_process_do_not_matter_and_stay(picture: Callable, tmp_path: Path) -> None:
    picture(tmp_path / "plain.png")
    with matplotlib.rc_context():
        matplotlib.rcParams.update({"text.usetex": True, "font.size": 40, "axes.facecolor": "red"})
        before, level = dict(matplotlib.rcParams), logging.getLogger("matplotlib").level
        picture(tmp_path / "other.png")
        assert dict(matplotlib.rcParams) == before
        assert logging.getLogger("matplotlib").level == level
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "other.png").read_bytes()


def test_pictures_in_threads_leave_the_settings(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    threads = [threading.Thread(target=draw_curves, args=[tmp_path / f"{i}.png"]) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dict(matplotlib.rcParams) == before
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MPLBACKEND", "nonsense"),
        ("MPLBACKEND", "module://matplotlib_inline.backend_inline"),
        ("MATPLOTLIBRC", "of-latex"),
        ("MATPLOTLIBRC", "of-bytes"),
        ("HOME", "in-this-folder"),
    ],
)
def test_settings_of_the_user_do_not_matter(name: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "of-latex").mkdir()
    (tmp_path / "of-latex" / "matplotlibrc").write_text("text.usetex: True\nnonsense\nbackend: nonsense\n")
    (tmp_path / "of-bytes").mkdir()
    (tmp_path / "of-bytes" / "matplotlibrc").write_bytes(b"\xff\xfe")
    if value == "in-this-folder":
        (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe")
    code = (
        "from pathlib import Path; import numpy as np; from xpnet.train import plots\n"
        "plots.confusion(Path('c.png'), np.arange(3), np.arange(3), ['a', 'b', 'c'], 'title')"
    )
    value = str(tmp_path / value) if name == "MATPLOTLIBRC" else value
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": "/nonexistent", name: value}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "c.png").exists()


@pytest.mark.parametrize(
    "error", [MemoryError(), ValueError("two\nlines"), OSError(28, "No space left on device")]
)
@pytest.mark.parametrize("picture", ["curves", "confusion"])
def test_a_picture_that_fails_costs_a_line(
    picture: str,
    error: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        (line,) = capsys.readouterr().out.splitlines()
        lines.append(line)
        raise error

    lines: list[str] = []
    monkeypatch.setattr(plots, picture, fail)
    summary = train.run(train.Config(**SMALL, output_dir=str(tmp_path / "run")))
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
    assert lines[0].startswith(f"test accuracy {summary['test_accuracy']:.4f}")  # before the pictures
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path}/run/{picture}.png: not drawn (")
    other = "confusion" if picture == "curves" else "curves"
    assert not (tmp_path / "run" / f"{picture}.png").exists()
    assert (tmp_path / "run" / f"{other}.png").exists()
