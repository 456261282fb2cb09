"""`scripts/gradcheck.py` as a user runs it: the table, and its exit status."""

import functools
from pathlib import Path
from typing import Any

import pytest

from conftest import run_script
from xpnet import nn, train
from xpnet.tree import Array, Tree

SCRIPT = Path(__file__).parents[1] / "scripts" / "gradcheck.py"
CONFIGS = SCRIPT.parent / "configs"
SMALL = ("--hidden", "16", "--activation", "tanh")
main = functools.partial(run_script, SCRIPT)


def parameters(out: str) -> list[str]:
    return [line.split()[0] for line in out.partition("\n\n")[0].splitlines()[1:]]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], ["1.bias", "1.weight", "3.bias", "3.weight", "5.bias", "5.weight"]),
        (["--config", str(CONFIGS / "cnn.yaml"), "--channels", "4", "8", "--hidden", "16"],
         ["0.bias", "0.weight", "3.bias", "3.weight", "8.bias", "8.weight", "11.bias", "11.weight"]),
        (["--config", str(CONFIGS / "softmax.yaml")], ["1.weight"]),
        ([*SMALL, "--batch-norm", "--dropout", "0.3", "--input-noise", "0.1", "--l2", "0.1"],
         ["2.weight", "3.scale", "3.shift", "6.bias", "6.weight"]),
        ([*SMALL, "--loss", "hinge", "--backend", "array-api-strict", "--batch-size", "4"],
         ["1.bias", "1.weight", "3.bias", "3.weight"]),
    ],
    ids=lambda value: " ".join(value),
)  # fmt: skip
def test_right_gradients_are_status_0(
    arguments: list[str], names: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    status, out, err = main(monkeypatch, capsys, *arguments)
    assert (status, err) == (0, "")
    assert parameters(out) == names
    table, _, last = out.partition("\n\n")
    for line in table.splitlines()[1:]:
        assert line.endswith("  ok")
        assert float(line.split()[-2]) < 1e-6
    assert (
        last == f"{len(names)} of {len(names)} parameters have gradients that agree with finite differences\n"
    )


def test_a_wrong_gradient_is_status_1_and_told_with_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    backward = nn.Linear.backward

    def without_bias(self: nn.Linear, params: Tree, residuals: Any, dy: Array) -> tuple[Array, Tree]:
        dx, grads = backward(self, params, residuals, dy)
        return dx, grads | {"bias": 0 * grads["bias"]} if self.n_out == 10 else grads

    monkeypatch.setattr(nn.Linear, "backward", without_bias)
    status, out, err = main(monkeypatch, capsys, *SMALL)
    assert (status, err) == (1, "")
    wrong = [line for line in out.splitlines() if "WRONG" in line]
    assert len(wrong) == 1
    assert wrong[0].startswith("3.bias")
    assert "it is 0, finite differences give " in wrong[0]
    assert out.endswith("3 of 4 parameters have gradients that agree with finite differences\n")


def test_a_slope_that_is_wrong_where_a_relu_is_on_is_no_kink(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    backward = nn.ReLU.backward
    monkeypatch.setattr(nn.ReLU, "backward", lambda *a: (1.00001 * backward(*a)[0], {}))
    status, out, _ = main(monkeypatch, capsys, "--hidden", "32")
    assert status == 1
    assert [line.split()[0] for line in out.splitlines() if "WRONG" in line] == ["1.bias", "1.weight"]


def test_the_penalty_is_a_part_of_what_is_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("xpnet.optim.decay_weights", lambda grads, params, rate: grads)
    assert main(monkeypatch, capsys, *SMALL, "--l2", "0")[0] == 0
    status, out, _ = main(monkeypatch, capsys, *SMALL, "--l2", "0.1")
    assert status == 1
    assert [line.split()[0] for line in out.splitlines() if "WRONG" in line] == ["1.weight", "3.weight"]


def test_the_parameters_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "run"
    train.run(train.Config(hidden=(8,), epochs=2, quiet=True, output_dir=str(folder)))
    capsys.readouterr()
    status, out, err = main(monkeypatch, capsys, "--resume", str(folder))
    assert (status, err) == (0, "")
    assert parameters(out) == ["1.bias", "1.weight", "3.bias", "3.weight"]
    (folder / "best.npz").write_bytes(b"damaged")
    status, _, err = main(monkeypatch, capsys, "--resume", str(folder))
    assert status == 2
    assert "best.npz: expected a .npz file of parameters" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--hidden", "0"], "--hidden: expected numbers of at least 1"),
        (["--activation", "swish"], "swish"),
        (["--no-such-option"], "--no-such-option"),
        (["--config", "missing.yaml"], "missing.yaml"),
        (["--dataset", "imagenet"], "no data set is called 'imagenet'"),
        (["--backend", "abacus"], "abacus"),
        (["--resume", "."], "--resume: expected the folder of a run, got ., without a config.yaml"),
        (["--batch-norm", "--batch-size", "1"], "--batch-size: expected at least 2 with --batch-norm, got 1"),
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
    monkeypatch.chdir(tmp_path)
    status, out, err = main(monkeypatch, capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("gradcheck.py: ")
    assert len(err.splitlines()) == 1, err
    assert words in err
    assert list(tmp_path.iterdir()) == []
