"""Convolution and pooling: known numbers, the primitives under them, and PyTorch's results over a grid."""

import itertools

import numpy as np
import pytest

import xpnet
from cases import draw
from conftest import MakeBackend
from laws import assert_close, assert_kept, fetch
from xpnet import nn, tree
from xpnet.nn import _windows, fast
from xpnet.nn._library import LibraryConv2d, LibraryMaxPool2d, library_form

IMAGE = [
    [-1, 0, -2, 3, 4, 1],
    [2, 9, 5, 6, 0, -1],
    [0, -3, 1, 3, 4, 4],
    [6, 5, 2, 0, 6, 8],
    [-5, 4, -3, 1, 3, -2],
    [4, 1, 2, 8, 9, 7],
]
GEOMETRY = [
    ((6, 5), (3, 3), (1, 1)),
    ((7, 8), (2, 3), (2, 2)),
    ((5, 9), (2, 2), (3, 4)),
    ((9,), (4,), (3,)),
    ((3, 4), (3, 4), (1, 2)),
]


def test_a_known_convolution(make_backend: MakeBackend) -> None:
    backend = make_backend("float64")
    weight = np.full((3, 3, 1, 1), -2.0)
    weight[1, 1] = 5
    layer = nn.Conv2d(1, 1, 3, padding="same", bias=False)
    x = backend.asarray(np.array(IMAGE, dtype=float)[None, :, :, None])
    y = backend.to_numpy(layer.forward({"weight": backend.asarray(weight)}, x)[0])
    assert y.shape == (1, 6, 6, 1)
    assert y[0, 1, 3, 0] == -6
    assert y[0, 0, 0, 0] == 5 * -1 - 2 * (0 + 2 + 9)


@pytest.mark.parametrize(("lengths", "kernel", "stride"), GEOMETRY[:3])
def test_an_average_pool_is_a_convolution_with_a_constant(lengths, kernel, stride) -> None:
    x = draw((2, *lengths, 3))
    weight = np.zeros((*kernel, 3, 3))
    weight[..., range(3), range(3)] = 1 / np.prod(kernel)
    convolution = nn.Conv2d(3, 3, kernel, stride, bias=False).forward({"weight": weight}, x)[0]
    np.testing.assert_allclose(
        nn.AvgPool2d(kernel, stride).forward({}, x)[0], convolution, rtol=1e-12, atol=1e-15
    )


def test_of_equal_elements_the_first_one_is_the_maximum(make_backend: MakeBackend) -> None:
    backend = make_backend("float32")
    x = backend.asarray(np.array([[1, 1, 2], [1, 1, 2], [0, 2, 2]], dtype=float)[None, :, :, None])
    layer = nn.MaxPool2d(2, 1)
    y, residuals = layer.forward({}, x)
    dx, _ = layer.backward({}, residuals, backend.asarray([[[[1.0], [10.0]], [[100.0], [1000.0]]]]))
    np.testing.assert_array_equal(backend.to_numpy(y)[0, :, :, 0], [[1, 2], [2, 2]])
    np.testing.assert_array_equal(backend.to_numpy(dx)[0, :, :, 0], [[1, 0, 10], [0, 0, 1000], [0, 100, 0]])


@pytest.mark.parametrize(("lengths", "kernel", "stride"), GEOMETRY)
def test_windows_and_their_adjoint(make_backend: MakeBackend, lengths, kernel, stride) -> None:
    """Each library's windows equal those of a plain loop, and <windows(x), d> = <x, overlap_add(d)>."""
    backend = make_backend("float64")
    x = draw((2, *lengths, 3))
    outputs = _windows.output_lengths(lengths, kernel, stride)
    expected = np.stack([
        x[(n, *(slice(i * s, i * s + k) for i, k, s in zip(position, kernel, stride, strict=True)))]
        for n in range(2)
        for position in itertools.product(*map(range, outputs))
    ]).reshape(-1, np.prod(kernel) * 3)  # fmt: skip
    rows = backend.to_numpy(_windows.windows(backend.asarray(x), kernel, stride))
    np.testing.assert_array_equal(rows, expected)
    d = draw((2, *outputs, int(np.prod(kernel)), 3), seed=1)
    parts = [backend.asarray(d[..., tap, :].copy()) for tap in range(d.shape[-2])]
    total = backend.to_numpy(_windows.overlap_add(parts, x.shape, kernel, stride))
    assert np.sum(x * total) == pytest.approx(np.sum(expected * d.reshape(expected.shape)), rel=1e-12)


def test_windows_of_an_array_that_is_not_contiguous(make_backend: MakeBackend) -> None:
    backend = make_backend("float64")
    x = draw((4, 12, 10, 6))
    part = (slice(1, None, 2), slice(None, None, 2), slice(3, 9), slice(None, None, 3))
    view = backend.asarray(x)[part]
    expected = _windows.windows(np.ascontiguousarray(x[part]), (2, 3), (1, 2))
    np.testing.assert_array_equal(backend.to_numpy(_windows.windows(view, (2, 3), (1, 2))), expected)


GRID = [
    (nn.Conv2d(c, o, kernel, stride, padding), (n, h, w, c))
    for (n, h, w), (c, o), kernel, stride, padding in itertools.product(
        [(1, 7, 7), (3, 9, 6)], [(1, 4), (3, 2)], [1, 2, 3, (3, 5), 6], [1, 2, (2, 3), 7], [0, 1, 2, "same"]
    )
    if not (padding == "same" and stride != 1)  # PyTorch refuses that
]
GRID += [(nn.Conv1d(3, 4, k, s, p), (2, 8, 3)) for k, s, p in itertools.product([1, 3, 4], [1, 2, 5], [0, 2])]
GRID += [
    (pool(k, s), (2, 9, 6, 3))
    for pool, k, s in itertools.product([nn.MaxPool2d, nn.AvgPool2d], [1, 2, (3, 2), 6], [None, 1, 2, (4, 3)])
]


def in_torch(layer: nn.Layer, params: dict, x: np.ndarray, dy: np.ndarray | None) -> tuple:
    """PyTorch's output, and its gradients by autograd, in our order of axes."""
    import torch.nn.functional as F
    from torch import tensor

    x = tensor(np.moveaxis(x, -1, 1), requires_grad=True)
    axes = x.ndim - 2
    leaves = {
        name: tensor(
            np.transpose(p, (axes + 1, axes, *range(axes))) if name == "weight" else p, requires_grad=True
        )
        for name, p in params.items()
    }
    match layer:
        case nn.Conv2d() | nn.Conv1d():
            convolve = F.conv2d if axes == 2 else F.conv1d
            y = convolve(x, leaves["weight"], leaves["bias"], layer.stride, layer.padding)
        case nn.MaxPool2d():
            y = F.max_pool2d(x, layer.kernel_size, layer.stride)
        case nn.AvgPool2d():
            y = F.avg_pool2d(x, layer.kernel_size, layer.stride)
    if dy is None:
        return (np.moveaxis(y.detach().numpy(), 1, -1),)
    y.backward(tensor(np.moveaxis(dy, -1, 1)))
    grads = {name: leaf.grad.numpy() for name, leaf in leaves.items()}
    if "weight" in grads:
        grads["weight"] = np.transpose(grads["weight"], (*range(2, axes + 2), 1, 0))
    return np.moveaxis(x.grad.numpy(), 1, -1), grads


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_agrees_with_pytorch() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    checked = 0
    for layer, shape in GRID:
        try:
            layer.output_shape(shape)
        except xpnet.errors.ShapeError:
            continue  # the kernel is larger than the padded image
        params = tree.map(lambda p: p.astype(np.float32), layer.init(np.random.default_rng(0)))
        x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        y, residuals = layer.forward(params, x)
        dy = np.random.default_rng(2).normal(size=y.shape).astype(np.float32)
        ours = (y, *layer.backward(params, residuals, dy))
        theirs = (*in_torch(layer, params, x, None), *in_torch(layer, params, x, dy))
        for name, expected in tree.items(theirs):
            found = dict(tree.items(ours))[name]
            np.testing.assert_allclose(
                found, expected, rtol=1e-5, atol=1e-5, err_msg=f"{layer} {shape} {name}"
            )
        checked += 1
    assert checked > 150


def test_what_a_library_brings_itself_agrees_with_the_windows(make_backend: MakeBackend) -> None:
    """Convolutions and pools of each backend against NumPy's, over the same grid and with odd "same" padding."""
    place = make_backend("float64")
    odd = [(nn.Conv2d(2, 3, (2, 4), stride, "same"), (2, 5, 6, 2)) for stride in (1, 2)]
    grid = GRID if place.name == "torch" else GRID[::29]  # the others use the reference forms
    for layer, shape in grid + odd:
        try:
            layer.output_shape(shape)
        except xpnet.errors.ShapeError:
            continue  # the kernel is larger than the padded image
        params = layer.init(np.random.default_rng(0))
        x, dy = draw(shape), draw(layer.output_shape(shape), seed=1)
        if isinstance(layer, nn.MaxPool2d):
            x = np.round(x)  # so that windows have ties
        y, residuals = layer.forward(params, x)
        expected = y, *layer.backward(params, residuals, dy)
        there = tree.map(place.asarray, params)
        y, residuals = layer.forward(there, place.asarray(x))
        found = y, *layer.backward(there, residuals, place.asarray(dy))
        assert_kept(place, found)
        assert_close(place, found, expected, 1e-12)


def test_pytorch_s_own_convolution_is_what_runs_there() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    place = xpnet.backend.get("torch")
    plain = nn.Sequential(nn.Conv2d(3, 8, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2), nn.MaxPool2d(3, 1))
    net = fast.faster(plain, place)
    assert [type(layer) for layer in net.layers] == [
        LibraryConv2d,
        LibraryMaxPool2d,
        nn.ReLU,
        LibraryMaxPool2d,
    ]
    params = tree.map(place.asarray, plain.init(np.random.default_rng(0)))
    x = place.asarray(draw((4, 8, 8, 3)))
    y, residuals = net.forward(params, x)
    assert y.is_contiguous()  # the channels are last in memory too
    dx, grads = net.backward(params, residuals, y)
    assert dx.is_contiguous()
    expected, plain_residuals = plain.forward(params, x)
    assert_close(place, y, expected.numpy(), 1e-5)
    assert_close(place, (dx, grads), fetch(place, plain.backward(params, plain_residuals, y)), 1e-4)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 4, 3, padding="same"),
        nn.Conv2d(3, 4, 4, stride=2, padding="same", bias=False),  # one more zero at the end
        nn.Conv2d(3, 4, (2, 3), stride=(3, 1)),
        nn.MaxPool2d(2),
        nn.MaxPool2d(3, (1, 2)),
    ],
    ids=str,
)
def test_the_library_s_form_is_the_plain_layer(make_backend: MakeBackend, layer: nn.Layer) -> None:
    """With the reference forms too, on libraries that bring none; windows with equal elements included."""
    place = make_backend("float64")
    form = library_form(layer)
    assert type(form) is not type(layer)
    params = tree.map(place.asarray, layer.init(np.random.default_rng(0)))
    x = place.asarray(np.round(draw((2, 7, 8, 3))))
    y, residuals = layer.forward(params, x)
    found, form_residuals = form.forward(params, x)
    dy = place.asarray(draw(y.shape))
    assert_kept(place, found)
    assert_close(place, found, fetch(place, y), 1e-12)
    expected = fetch(place, layer.backward(params, residuals, dy))
    assert_close(place, form.backward(params, form_residuals, dy), expected, 1e-12)
    assert_close(place, form.parameter_gradients(params, form_residuals, dy), expected[1], 1e-12)
