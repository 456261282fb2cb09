"""Arrays whose values cannot be read: a ShapeError names what came and what to pass instead."""

import re
from typing import Any

import numpy as np
import pytest

import xpnet
from conftest import MakeBackend
from xpnet.errors import ShapeError


def assert_refused(place: Any, x: Any, message: str) -> None:
    for take in (place.asarray, place.copy):
        with pytest.raises(ShapeError, match=message) as error:
            take(x)
        assert "\n" not in str(error.value)


def test_tensors(make_backend: MakeBackend) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    place = make_backend("float32")
    grad = torch.ones(2, 3, requires_grad=True)
    assert_refused(
        place,
        grad,
        r"expected an array of numbers, got a torch\.Tensor of dtype torch\.float32 on cpu \(.*\); pass x\.detach\(\)$",
    )
    meta = torch.ones(2, 3, device="meta")
    assert_refused(place, meta, r"got a torch\.Tensor .* on meta \(.*\); pass a tensor with values$")
    sparse = torch.ones(2, 3).to_sparse()
    assert_refused(place, sparse, r"got a torch\.Tensor .*; pass x\.to_dense\(\)$")
    half = torch.ones(2, 3, dtype=torch.bfloat16)
    if place.name == "torch":
        assert place.asarray(half).dtype == torch.float32
    else:
        assert_refused(
            place,
            half,
            r"got a torch\.Tensor of dtype torch\.bfloat16 on cpu \(.*\); pass x\.to\(torch\.float32\)$",
        )
    np.testing.assert_array_equal(place.to_numpy(place.asarray(torch.ones(2, 3))), np.ones((2, 3)))


def test_arrays_of_another_device(make_backend: MakeBackend) -> None:
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    x = strict.ones((2, 3), device=strict.Device("device1"))
    place = make_backend("float32")
    if place.name == "array-api-strict":
        np.testing.assert_array_equal(place.to_numpy(place.asarray(x)), np.ones((2, 3)))
    else:
        advice = re.escape("pass x.to_device(array_api_strict.Device('CPU_DEVICE'))")
        assert_refused(place, x, rf"got a array_api_strict\.Array of dtype .* on .*device1.*; {advice}$")


def test_what_fit_and_predict_are_given() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = xpnet.nn.Linear(3, 2)
    for backend in ("numpy", "torch"):
        model = xpnet.Model(net, xpnet.losses.CrossEntropy(), xpnet.optim.SGD(0.1), backend)
        x, y = torch.ones(4, 3, requires_grad=True), torch.zeros(4, dtype=torch.int64)
        for call in (model.forward, model.predict):
            with pytest.raises(ShapeError, match=r"pass x\.detach\(\)"):
                call(x)
        with pytest.raises(ShapeError, match=r"pass x\.detach\(\)"):
            model.fit(x, y, data_on_device=False)
        model.fit(x.detach(), y, epochs=1)


def test_too_little_memory_is_not_a_wrong_array(monkeypatch: pytest.MonkeyPatch) -> None:
    place = xpnet.backend.get("numpy")

    class TooLarge:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        place.asarray(TooLarge())
