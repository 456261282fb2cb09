"""What `fit` shows of its progress."""

import contextlib
import io
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import xpnet
from xpnet import losses, nn, optim
from xpnet._training import progress_bar
from xpnet.callbacks import Callback

X, Y = np.random.default_rng(0).normal(size=(40, 4)), np.arange(40) % 3


class Terminal(io.StringIO):
    """A terminal; standard error within a `with` block."""

    def isatty(self) -> bool:
        return True

    def __enter__(self) -> "Terminal":
        self.redirection = contextlib.redirect_stderr(self)
        self.redirection.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.redirection.__exit__(None, None, None)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal whose line is drawn as often as it can be."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(progress_bar, "REDRAW_SECONDS", 0.0)
    return Terminal()


def make_model(loss: losses.Loss | None = None) -> xpnet.Model:
    return xpnet.Model(nn.Linear(4, 3), loss or losses.CrossEntropy(), optim.SGD(0.1))


def test_nothing_is_shown_where_nobody_looks(capfd: pytest.CaptureFixture) -> None:
    make_model().fit(X, Y, epochs=2)
    make_model().fit(X, Y, epochs=2, progress=False)
    assert capfd.readouterr() == ("", "")


def test_a_line_for_each_epoch_where_it_is_asked_for(capfd: pytest.CaptureFixture) -> None:
    model = make_model()
    history = model.fit(X, Y, epochs=2, progress=True)
    history += model.fit(X, Y, epochs=1, validation=(X, Y), train_metrics="end", progress=True)
    history += make_model(losses.MeanSquaredError()).fit(
        X, X[:, :3], epochs=1, validation_split=0.2, test=(X, X[:, :3]), progress=True
    )
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"epoch 1/2  loss {history[0].train_loss:.4f} accuracy {history[0].train_accuracy:.4f} (running)",
        f"epoch 2/2  loss {history[1].train_loss:.4f} accuracy {history[1].train_accuracy:.4f} (running)",
        f"epoch 3/3  loss {history[2].train_loss:.4f} accuracy {history[2].train_accuracy:.4f} (end)"
        f"  validation loss {history[2].validation_loss:.4f} accuracy {history[2].validation_accuracy:.4f}",
        f"epoch 1/1  loss {history[3].train_loss:.4f} (running)"
        f"  validation loss {history[3].validation_loss:.4f}  test loss {history[3].test_loss:.4f}",
    ]  # fmt: skip


def test_a_terminal_shows_one_line_that_is_drawn_again(terminal: Terminal) -> None:
    losses_seen: list[float] = []

    class Seen(Callback):
        def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
            losses_seen.append(model.running_loss(min(16 * step, 40)))

    with terminal:
        (_, metrics) = make_model().fit(X, Y, epochs=2, batch_size=16, callbacks=Seen())
    *lines, end = terminal.getvalue().split("\r")[1:][-3:]
    assert end.endswith("\n")
    found = f"loss {metrics.train_loss:.4f} accuracy {metrics.train_accuracy:.4f} (running)"
    assert end.strip() == f"epoch 2/2  {found}"
    assert lines[1].startswith(
        f"epoch 2/2  step 3/3  running loss {losses_seen[-1]:.4f}  0:00 left  after epoch 1: loss "
    )
    assert terminal.getvalue().count("\n") == 1
    assert len(terminal.getvalue().split("\r")) == 1 + 2 * (3 + 1)


def test_a_short_training_shows_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_bar, "REDRAW_SECONDS", 60.0)
    with terminal:
        make_model().fit(X, Y, epochs=2)
    assert terminal.getvalue() == ""


def test_the_line_is_not_longer_than_the_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    with terminal:
        make_model().fit(X, Y, epochs=1, validation=(X, Y))
    assert {len(line.rstrip("\n")) for line in terminal.getvalue().split("\r")[1:]} == {19}


def test_the_device_is_not_waited_for_between_two_drawings(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_bar, "REDRAW_SECONDS", 60.0)
    monkeypatch.setattr(xpnet.Model, "running_loss", lambda *arguments: 1 / 0)
    with terminal:
        make_model().fit(X, Y, epochs=2, batch_size=1)


def test_only_the_main_thread_shows_it_by_itself(terminal: Terminal) -> None:
    thread = threading.Thread(target=make_model().fit, args=(X, Y))
    with terminal:
        thread.start()
        thread.join()
    assert terminal.getvalue() == ""


class Cell:
    """The output of a notebook's cell: in each of its places, what it showed there, in this order."""

    def __init__(self) -> None:
        self.places: list[list[Any]] = []

    def display(self, thing: Any, display_id: bool) -> Any:
        assert display_id
        self.places.append([thing])
        return SimpleNamespace(update=self.places[-1].append)

    def lines(self) -> list[list[str]]:
        return [[repr(each) for each in place] for place in self.places if isinstance(place[0], str)]

    def curves(self) -> list[list[int]]:
        """The number of epochs in each picture."""
        pictures = [place for place in self.places if not isinstance(place[0], str)]
        return [[len(each.axes[0].lines[0].get_xdata()) for each in place] for place in pictures]


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Cell:
    class ZMQInteractiveShell:
        pass

    class Shell(ZMQInteractiveShell):  # as Colab has it
        pass

    cell, ipython = Cell(), ModuleType("IPython")
    vars(ipython).update(get_ipython=Shell, version_info=(9, 0), display=ModuleType("IPython.display"))
    ipython.display.display = cell.display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    return cell


def test_a_notebook_is_recognised(request: pytest.FixtureRequest) -> None:
    assert not progress_bar.wanted("auto")
    request.getfixturevalue("notebook")
    assert progress_bar.wanted("auto")


def test_a_notebook_shows_the_curves_in_one_place(notebook: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_bar, "FIRST_CURVES", 0)
    monkeypatch.setattr(progress_bar, "CURVES_SHARE", 1)
    model = make_model()
    model.fit(X, Y, epochs=3)
    assert notebook.curves() == [[2, 3]]
    monkeypatch.setattr(progress_bar, "CURVES_SHARE", 1e-9)  # no time for them
    model.fit(X, Y, epochs=4)
    assert notebook.curves() == [[2, 3], [4, 5, 7]]  # the first costs more than others; those of the end


def test_a_notebook_shows_the_line_in_one_place_too(
    notebook: Cell, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    """Not on standard error, which would be red; in two lines, and whole, since the notebook breaks them."""
    monkeypatch.setattr(progress_bar, "REDRAW_SECONDS", 0.0)
    monkeypatch.setenv("COLUMNS", "20")
    *_, metrics = make_model().fit(X, Y, epochs=2, batch_size=20)
    assert capfd.readouterr() == ("", "")
    (lines,) = notebook.lines()
    where, after = zip(*(line.split("\n") for line in lines[2:]), strict=True)
    assert [line.split("  ")[0] for line in (*lines[:2], *where)] == ["epoch 1/2"] * 3 + ["epoch 2/2"] * 3
    found = f"loss {metrics.train_loss:.4f} accuracy {metrics.train_accuracy:.4f} (running)"
    assert (where[-1], after[-1]) == ("epoch 2/2", found)
    assert after[1] == f"after epoch 1: {after[0]}"


def test_a_short_training_leaves_the_cell_empty(notebook: Cell) -> None:
    make_model().fit(X, Y, epochs=3)
    assert notebook.places == []


def test_the_numbers_do_not_depend_on_it(terminal: Terminal) -> None:
    shown, quiet = make_model(), make_model()
    with terminal:
        shown.fit(X, Y, epochs=2, progress=True)
    quiet.fit(X, Y, epochs=2, progress=False)
    assert [row[:6] for row in shown.history] == [row[:6] for row in quiet.history]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (61, "1:01"), (3600, "1:00:00"), (36061, "10:01:01")]
)
def test_the_time_that_is_left(seconds: float, text: str) -> None:
    assert progress_bar._clock(seconds) == text
