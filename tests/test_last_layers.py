"""What a model says of its network and its loss before it has seen data."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import xpnet
from xpnet import losses, nn, optim
from xpnet._training import last_layers
from xpnet.errors import ConfigError


def make(net: nn.Layer, loss: losses.Loss) -> xpnet.Model:
    return xpnet.Model(net, loss, optim.SGD(0.1))


CNN = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())


@pytest.mark.parametrize("loss", [losses.CrossEntropy(), losses.Hinge()], ids=str)
@pytest.mark.parametrize(
    "net",
    [
        nn.Linear(4, 1),
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)),
        nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 1), nn.Identity()), nn.Dropout(0.1)),
        nn.Sequential(nn.Linear(4, 1), nn.BatchNorm(1), nn.Flatten()),
        nn.Residual(nn.Linear(4, 1), nn.Linear(4, 1)),
        nn.Sequential(CNN, nn.Conv2d(4, 1, 1), nn.GlobalAvgPool()),
        nn.Sequential(CNN, nn.Flatten(), nn.Linear(144, 1)),
    ],
    ids=str,
)
def test_one_output_for_classes_is_refused_at_once(net: nn.Layer, loss: losses.Loss) -> None:
    with pytest.raises(ConfigError, match="use two outputs, or BinaryCrossEntropy"):
        make(net, loss)
    make(net, losses.BinaryCrossEntropy())
    make(net, losses.MeanSquaredError())


class Own(nn.Linear):
    def forward(self, params, x):
        return super().forward(params, x)


@pytest.mark.parametrize(
    ("net", "x"),
    [
        (Own(4, 1), np.ones((3, 4))),
        (nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten()), np.ones((3, 3, 3, 1))),
        (nn.Sequential(), np.ones((3, 1))),
    ],
)
def test_one_output_that_shows_with_the_first_data(net: nn.Layer, x: np.ndarray) -> None:
    model = make(net, losses.CrossEntropy())
    for use in (
        lambda: model.fit(x, np.zeros(3, int), epochs=1),
        lambda: model.evaluate(x, np.zeros(3, int)),
    ):
        with pytest.raises(ConfigError, match="BinaryCrossEntropy"):
            use()


@pytest.mark.parametrize(
    ("net", "n_out"),
    [
        (nn.Linear(4, 3), 3),
        (nn.Sequential(CNN, nn.Conv2d(4, 2, 1), nn.MaxPool2d(2), nn.GlobalAvgPool(), nn.Flatten()), 2),
        (nn.Sequential(CNN, nn.Conv2d(4, 2, 1), nn.Flatten()), None),
        (nn.Sequential(nn.Conv1d(4, 2, 1)), 2),
        (nn.Sequential(nn.Embedding(7, 5), nn.LayerNorm(5)), 5),
        (nn.Sequential(nn.Embedding(7, 5), nn.Flatten()), None),
        (nn.Sequential(nn.Linear(4, 3), nn.Residual(nn.Tanh(), nn.Linear(3, 3))), 3),
        (nn.Sequential(nn.Linear(4, 3), Own(3, 2), nn.Tanh()), None),
        (nn.ReLU(), None),
    ],
    ids=str,
)
def test_outputs_of_a_network(net: nn.Layer, n_out: int | None) -> None:
    assert last_layers.outputs(net) == n_out


def test_weights_of_other_classes_are_refused_at_once() -> None:
    for loss in (losses.CrossEntropy(class_weights=[1, 2]), losses.BinaryCrossEntropy([1, 2])):
        with pytest.raises((ConfigError, ValueError), match="2"):
            make(nn.Linear(4, 3), loss)
        make(nn.Linear(4, 2), loss)


# Probabilities where the loss expects logits.


@pytest.mark.parametrize(
    ("net", "loss", "words"),
    [
        (nn.Sequential(nn.Linear(4, 3), nn.Softmax()), losses.CrossEntropy(0.1), "softmax itself"),
        (nn.Sequential(nn.Linear(4, 3), nn.Sigmoid()), losses.BinaryCrossEntropy(), "sigmoid itself"),
        (nn.Sequential(nn.Linear(4, 3), nn.Softmax()), losses.BinaryCrossEntropy(), "sigmoid itself"),
        (
            nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Softmax(), nn.Dropout(0.1)), nn.Flatten()),
            losses.CrossEntropy(),
            "softmax itself",
        ),
    ],
    ids=str,
)
def test_a_softmax_or_sigmoid_too_many(net: nn.Layer, loss: losses.Loss, words: str) -> None:
    with pytest.warns(UserWarning, match=words) as told:
        model = make(net, loss)
    assert len(told) == 1
    assert str(loss) in str(told[0].message)
    assert told[0].filename == __file__
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # do not warn again
        assert other.net == model.net


@pytest.mark.parametrize(
    ("net", "loss"),
    [
        (nn.Sequential(nn.Linear(4, 3), nn.Sigmoid()), losses.CrossEntropy()),
        (nn.Sequential(nn.Linear(4, 3), nn.Tanh()), losses.BinaryCrossEntropy()),
        (nn.Sequential(nn.Linear(4, 3), nn.Softmax()), losses.MeanSquaredError()),
        (nn.Sequential(nn.Linear(4, 3), nn.Sigmoid()), losses.MeanAbsoluteError()),
        (nn.Sequential(nn.Linear(4, 3), nn.Softmax(), nn.Linear(3, 3)), losses.CrossEntropy()),
        (nn.Residual(nn.Sequential(nn.Linear(3, 3), nn.Softmax())), losses.CrossEntropy()),
        (nn.Sequential(), losses.CrossEntropy()),
    ],
    ids=str,
)
def test_no_false_alarm(net: nn.Layer, loss: losses.Loss) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(net, loss)
