"""A residual CNN trains as in PyTorch: same weights and batches give the same losses at each step."""

import numpy as np
import pytest

import xpnet
from xpnet import data, losses, nn, optim

STEPS, BATCH = 20, 32


def our_net() -> nn.Sequential:
    def block(n: int, m: int) -> list[nn.Layer]:
        return [nn.Conv2d(n, m, 3, padding="same", bias=False), nn.BatchNorm(m), nn.ReLU()]

    return nn.Sequential(
        *block(3, 8),
        *block(8, 12),
        nn.MaxPool2d(2),
        nn.Residual(nn.Sequential(*block(12, 12), *block(12, 12))),
        nn.Conv2d(12, 16, 3, 2, 1),
        nn.AvgPool2d(2),
        nn.GlobalAvgPool(),
        nn.Linear(16, 10),
    )


def their_losses(params, x: np.ndarray, y: np.ndarray, dtype: str) -> list[float]:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    F = torch.nn.functional
    leaves = []

    def leaf(array: np.ndarray) -> object:
        leaves.append(torch.tensor(np.asarray(array, dtype), requires_grad=True))
        return leaves[-1]

    def kernel(params: dict) -> object:
        return leaf(np.transpose(params["weight"], (3, 2, 0, 1)))

    def block(conv: dict, norm: dict):
        weight, scale, shift = kernel(conv), leaf(norm["scale"]), leaf(norm["shift"])
        return lambda x: F.relu(
            F.batch_norm(F.conv2d(x, weight, padding=1), None, None, scale, shift, training=True)
        )

    first, second = block(params[0], params[1]), block(params[3], params[4])
    branch = params[7]["branch"]
    third, fourth = block(branch[0], branch[1]), block(branch[3], branch[4])
    last, last_bias = kernel(params[8]), leaf(params[8]["bias"])
    weight, bias = leaf(params[11]["weight"]), leaf(params[11]["bias"])

    def net(x):
        x = F.max_pool2d(second(first(x)), 2)
        x = x + fourth(third(x))
        x = F.avg_pool2d(F.conv2d(x, last, last_bias, 2, 1), 2)
        return x.mean(dim=(2, 3)) @ weight + bias

    optimizer = torch.optim.SGD(leaves, lr=0.002, momentum=0.9, nesterov=True)
    found = []
    for i in range(STEPS):
        part = slice(i * BATCH, (i + 1) * BATCH)
        loss = F.cross_entropy(net(torch.tensor(np.moveaxis(x[part], -1, 1))), torch.tensor(y[part]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-10)])
def test_losses_are_those_of_pytorch(dtype: str, tolerance: float) -> None:
    """(At 5 times the learning rate, PyTorch in float32 differs from PyTorch in float64 by 2e-4.)"""
    x, y = data.load("shapes").train
    x, y = x[: STEPS * BATCH].astype(dtype), y[: STEPS * BATCH]
    optimizer = optim.SGD(0.002, momentum=0.9, nesterov=True)
    model = xpnet.Model(our_net(), losses.CrossEntropy(), optimizer, dtype=dtype)
    expected = their_losses(model.params, x, y, dtype)
    found = []
    for x_batch, y_batch in data.batches(x, y, BATCH, shuffle=False):
        model.forward(x_batch)
        found.append(model.loss(y_batch))
        model.zero_grads()
        model.backward(y_batch)
        model.step()
    np.testing.assert_allclose(found, expected, rtol=tolerance)
    assert expected[-1] < 0.95 * expected[0]
