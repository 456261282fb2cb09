"""The errors of a type checker on programs that use xpnet."""

import subprocess
import sys
from pathlib import Path

import pytest

RIGHT = """
import numpy as np
import xpnet
from xpnet import data, losses, nn, optim
from xpnet.tree import Array, Tree

digits = data.load("mnist-sample")
net = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
model = xpnet.Model(net, losses.CrossEntropy(), optim.Adam(0.001), backend="torch", l2=1e-4)
history = model.fit(*digits.train, epochs=2, validation=digits.test)
loss: float = history[-1].train_loss
x: Array = model.forward([[0.0] * 784])
answers: np.ndarray = model.predict(np.zeros((3, 784)))


def mean_square(params: Tree, x: Array) -> Array:
    y: Array = x * x
    return y
"""
# A wrong line, and the error it must give.
WRONG = [
    ('nn.Linear("784", 128)', 'Argument 1 to "Linear" has incompatible type "str"; expected "int"'),
    ('model.fit("images.csv", digits.train.y)', 'Argument 1 to "fit" of "Model" has incompatible type "str"'),
    ("model.fit(*digits.train, epoch=2)", 'Unexpected keyword argument "epoch" for "fit" of "Model"'),
    ("history[0].training_loss", '"EpochMetrics" has no attribute "training_loss"'),
    ("xpnet.Model(losses.CrossEntropy(), net, optim.SGD(0.1))", 'expected "Layer"'),
    ('mean_square({}, "x")', 'Argument 2 to "mean_square" has incompatible type "str"; expected "Array"'),
    ('nn.Linear(2, 2).forward({}, "x")', 'Argument 2 to "forward" of "Linear" has incompatible type "str"'),
    ("nn.Linear(2, 2, weight_init=0.1)", 'Argument "weight_init" to "Linear" has incompatible type "float"'),
]


def test_types_tell_a_user_what_is_wrong(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed: pip install '.[lint]'")
    program = tmp_path / "program.py"
    lines = [f"{line}\n" for line, _ in WRONG]
    program.write_text(RIGHT + "\n\n" + "".join(lines))
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        f"--cache-dir={tmp_path}",
        str(program),
    ]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    errors = [line for line in found.stdout.splitlines() if ": error: " in line]
    first = RIGHT.count("\n") + 3
    for number, (line, message) in enumerate(WRONG, first):
        assert [error for error in errors if f"program.py:{number}: " in error and message in error], (
            line,
            errors,
        )
    assert {int(error.split(":")[1]) for error in errors} == set(range(first, first + len(WRONG))), errors
