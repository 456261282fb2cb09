"""Weights of PyTorch, Keras and scikit-learn: the networks compute the same, there and here, both ways."""

import pickle
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import safetensors.numpy

import cases
from models import drawn
from xpnet import convert, losses, nn, tree
from xpnet.errors import CheckpointError, ConfigError
from xpnet.tree import Tree


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def moved(x: np.ndarray) -> np.ndarray:
    """Images and sequences with their channels first, as PyTorch takes them."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if x.ndim > 2 else x


def is_near(torch: Any, there: Any, net: nn.Layer, variables: Tree, x: np.ndarray) -> bool:
    with torch.no_grad():
        expected = there.eval()(torch.asarray(moved(x)))
    found, _ = net.forward(variables, x)
    return bool(np.abs(moved(found) - expected.numpy()).max() < 1e-6 * max(1, np.abs(found).max()))


class Case(NamedTuple):
    """A network here, the same there, and the shape of a batch."""

    net: nn.Layer
    there: Any  # torch.nn -> a module
    shape: tuple[int, ...]


CASES = {
    "dense": Case(
        nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3, bias=False), nn.LayerNorm(3)),
        lambda t: t.Sequential(t.Linear(5, 4), t.ReLU(), t.Linear(4, 3, bias=False), t.LayerNorm(3)),
        (4, 5),
    ),
    "one layer": Case(nn.Linear(5, 4), lambda t: t.Linear(5, 4), (4, 5)),
    "images": Case(  # each height, width, number of channels and side of a kernel differs from the others
        nn.Sequential(
            nn.Conv2d(3, 4, (3, 2), padding=1), nn.BatchNorm(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.5),
            nn.Flatten(), nn.BatchNorm(24), nn.Tanh(), nn.Linear(24, 7), nn.Linear(7, 3),
        ),
        lambda t: t.Sequential(
            t.Conv2d(3, 4, (3, 2), padding=1), t.BatchNorm2d(4), t.ReLU(), t.MaxPool2d(2), t.Dropout(0.5),
            t.Flatten(), t.BatchNorm1d(24), t.Tanh(), t.Linear(24, 7), t.Linear(7, 3),
        ),
        (2, 6, 4, 3),
    ),
    "sequences": Case(
        nn.Sequential(nn.Conv1d(2, 6, 3, stride=2), nn.GroupNorm(3, 6), nn.Flatten(), nn.Linear(18, 2)),
        lambda t: t.Sequential(t.Conv1d(2, 6, 3, stride=2), t.GroupNorm(3, 6), t.Flatten(), t.Linear(18, 2)),
        (3, 8, 2),
    ),
}  # fmt: skip
each_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


def shaken(torch: Any, there: Any) -> Any:
    """A module with random weights and statistics, as after a training."""
    generator = torch.Generator().manual_seed(3)
    for name, each in there.state_dict().items():
        if each.dtype == torch.float32:
            noise = torch.rand(each.shape, generator=generator)
            each.copy_(noise if "var" in name else noise - 0.5)
    return there


@each_case
def test_networks_of_pytorch_compute_the_same_here(case: Case, torch: Any, tmp_path: Path) -> None:
    there, x = shaken(torch, case.there(torch.nn)), cases.draw(case.shape).astype(np.float32)
    state = there.state_dict()
    variables = convert.from_torch(case.net, state, case.shape[1:])
    assert is_near(torch, there, case.net, variables, x)
    safetensors_torch = pytest.importorskip("safetensors.torch", reason="PyTorch is not installed")
    safetensors_torch.save_file(state, tmp_path / "net.safetensors")
    from_file = convert.from_torch(case.net, tmp_path / "net.safetensors", case.shape[1:])
    assert all(map(np.array_equal, tree.leaves(from_file), tree.leaves(variables)))


@each_case
def test_networks_compute_the_same_in_pytorch(case: Case, torch: Any, tmp_path: Path) -> None:
    """And the way back gives the same bits. The shape is that of the last x."""
    model, x = drawn(case.net), cases.draw(case.shape).astype(np.float32)
    expected = model.predict(x)
    there = case.there(torch.nn)
    there.load_state_dict(convert.to_torch(model))
    assert is_near(torch, there, case.net, model.snapshot(), x)
    other = drawn(case.net, seed=1)
    other.restore(convert.from_torch(case.net, there.state_dict(), case.shape[1:]))
    np.testing.assert_array_equal(other.predict(x), expected)
    convert.save_torch(model, tmp_path / "net.safetensors")
    saved = safetensors.numpy.load_file(tmp_path / "net.safetensors")
    assert {name: saved[name].tolist() for name in saved} == {
        name: each.tolist() for name, each in there.state_dict().items()
    }


def test_residual_and_tied_networks(torch: Any) -> None:
    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch = torch.nn.Sequential(torch.nn.Linear(5, 5), torch.nn.Tanh(), torch.nn.Linear(5, 5))
            self.shortcut = torch.nn.Linear(5, 5)

        def forward(self, x: Any) -> Any:
            return self.branch(x) + self.shortcut(x)

    inner = nn.Residual(nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5)), nn.Linear(5, 5))
    there, x = shaken(torch, torch.nn.Sequential(Residual())), cases.draw((3, 5)).astype(np.float32)
    plain, ties = nn.Sequential(inner), {"0.shortcut.weight": "0.branch.2.weight.T"}
    assert is_near(torch, there, plain, convert.from_torch(plain, there.state_dict()), x)
    tied = nn.Tied(plain, ties)
    with pytest.raises(
        CheckpointError, match=r"expected 0\.shortcut\.weight to equal 0\.branch\.2\.weight\.T"
    ):
        convert.from_torch(tied, there.state_dict())
    there[0].shortcut.weight.data = there[0].branch[2].weight.data.T.clone()
    state = there.state_dict()
    assert is_near(torch, there, tied, convert.from_torch(tied, state), x)
    model = drawn(tied)
    model.restore(convert.from_torch(tied, state))
    assert all(map(torch.equal, convert.to_torch(model).values(), state.values()))
    del state["0.shortcut.weight"]  # files keep a shared array once
    assert is_near(torch, there, tied, convert.from_torch(tied, state), x)


# State dicts need no PyTorch: any arrays will do.
NET = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
STATE = {
    "0.weight": np.ones((2, 1, 3, 3)), "0.bias": np.ones(2), "2.weight": np.ones((3, 8)), "2.bias": np.ones(3),
}  # fmt: skip


def without(name: str, **more: Any) -> dict[str, Any]:
    return {**{each: array for each, array in STATE.items() if each != name}, **more}


def test_modules_of_other_names_are_taken_in_order_or_as_told(tmp_path: Path) -> None:
    other = {name.replace("0.", "z.conv.").replace("2.", "a."): array for name, array in STATE.items()}
    expected = tree.leaves(convert.from_torch(NET, STATE, (4, 4, 1)))
    assert all(map(np.array_equal, tree.leaves(convert.from_torch(NET, other, (4, 4, 1))), expected))
    safetensors.numpy.save_file(other, path := tmp_path / "net.safetensors")
    with pytest.raises(
        CheckpointError, match=r"expected the names of an equal torch.nn.Sequential \(0, 2\), got a, z.conv"
    ):
        convert.from_torch(NET, path, (4, 4, 1))
    found = convert.from_torch(NET, path, (4, 4, 1), names={"0": "z.conv", "2": "a"})
    assert all(map(np.array_equal, tree.leaves(found), expected))


def test_files_with_arrays_that_are_no_numbers_of_ours(tmp_path: Path) -> None:
    header = b'{"0.weight":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}'
    (tmp_path / "net.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"12")
    with pytest.raises(CheckpointError, match=r"expected 0\.weight of floats or integers, got F8_E4M3"):
        convert.from_torch(NET, tmp_path / "net.safetensors", (4, 4, 1))


@pytest.mark.parametrize(
    "function", [convert.to_torch, convert.to_keras, convert.to_sklearn, convert.from_keras]
)
def test_models_and_networks_are_told_apart(function: Any) -> None:
    if function is convert.from_keras:
        with pytest.raises(
            ConfigError, match=r"expected net to be a layer of xpnet\.nn, got Model; pass its net"
        ):
            function(drawn(nn.Linear(5, 3)), [])
    else:
        with pytest.raises(ConfigError, match="expected a Model, got Linear"):
            function(nn.Linear(5, 3))


def test_bfloat16_files() -> None:
    array = np.array([1.0, -2.5, 3.140625], np.float32)
    stored = (array.view(np.uint32) >> 16).astype(np.uint16)
    content = {"scale": {"dtype": "bfloat16", "shape": [3], "data": stored.tobytes()}}
    found = convert.torch._decoded("BF16", [3], content["scale"]["data"])
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("state", "shape", "error", "words"),
    [
        (without("2.weight", **{"2.weight": np.ones((3, 9))}), (4, 4, 1), CheckpointError,
         "state: layer 2, Linear(8, 3): expected 2.weight of shape (3, 8), got (3, 9)"),
        (without("0.bias"), (4, 4, 1), CheckpointError,
         "state: layer 0, Conv2d(1, 2, 3): expected 0.bias of shape (2,), got none"),
        (without("", **{"4.weight": np.ones(3)}), (4, 4, 1), CheckpointError,
         "state: expected no 4.weight, for which the network has no place"),
        ({"fc.weight": np.ones(3)}, (4, 4, 1), CheckpointError,
         "expected 2 modules with parameters, as the network has (0, 2), got 1: fc"),
        ({}, (4, 4, 1), CheckpointError, "got 0: none"),
        (without("0.bias", **{"0.bias": "text"}), (4, 4, 1), CheckpointError, "state: 0.bias: "),
        ({"model": STATE, "epoch": 3}, (4, 4, 1), CheckpointError, "got a dict of 4; if it is the state_dict, pass state['model']"),
        (STATE, 16, ConfigError, "expected input_shape to be the shape of one example, such as (28, 28, 1), got 16; write (16,)"),
        (STATE, None, ConfigError, "layer 1, Flatten(): expected input_shape, such as (28, 28, 1)"),
        (7, None, ConfigError, "expected a state_dict or the path of a safetensors file, got int"),
        (type("Module", (), {"state_dict": dict})(), None, ConfigError, "got Module; pass its state_dict()"),
    ],
)  # fmt: skip
def test_a_mismatch_names_the_layer(state: Any, shape: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as found:
        convert.from_torch(NET, state, shape)
    assert words in str(found.value)


def test_layers_between_flatten_and_linear_must_keep_the_order() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.GroupNorm(2, 8), nn.Linear(8, 3))
    state = {name.replace("2.", "3."): array for name, array in STATE.items()}
    state |= {"2.weight": np.ones(8), "2.bias": np.ones(8)}
    with pytest.raises(
        ConfigError, match=r"layer 2, GroupNorm\(2, 8\): expected Linear between Flatten and this"
    ):
        convert.from_torch(net, state, (4, 4, 1))


@pytest.mark.parametrize("content", ["zip", "pickle", "text", "none"])
def test_files_of_other_kinds_are_refused(content: str, tmp_path: Path, torch: Any) -> None:
    """A pickle is not read, not even to see what it is."""

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "executed",))

    path = tmp_path / "net.pt"
    if content == "zip":
        torch.save({"bomb": Bomb()}, path)
    elif content == "pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    elif content == "text":
        path.write_text("weights")
    with pytest.raises(CheckpointError) as error:
        convert.from_torch(NET, path, (4, 4, 1))
    assert not (tmp_path / "executed").exists()
    if content in ("zip", "pickle"):
        assert "got a pickle, which may execute anything: save one with safetensors.torch." in str(
            error.value
        )
    elif content == "text":
        assert "net.pt: expected a safetensors file" in str(error.value)
    else:
        assert str(error.value) == f"{path}: No such file or directory"


# Keras.

KERAS_NET = nn.Sequential(
    nn.Conv2d(3, 4, 3, padding="same"), nn.BatchNorm(4, epsilon=1e-3), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(4, 5, 3), nn.LayerNorm(5, epsilon=1e-3), nn.Flatten(), nn.Linear(20, 6),
    nn.GroupNorm(2, 6, epsilon=1e-3), nn.Linear(6, 3),
)  # fmt: skip


def test_lists_of_keras_both_ways() -> None:
    """Kernel and bias, or scale, shift, mean and variance, layer by layer, in the same layouts."""
    model = drawn(KERAS_NET)
    weights = convert.to_keras(model)
    assert [each.shape for each in weights] == [
        (3, 3, 3, 4), (4,), (4,), (4,), (4,), (4,), (3, 3, 4, 5), (5,), (5,), (5,), (20, 6), (6,), (6,), (6,),
        (6, 3), (3,),
    ]  # fmt: skip
    np.testing.assert_array_equal(weights[4], model.snapshot()[1]["running_mean"])
    found = convert.from_keras(KERAS_NET, weights)
    assert all(map(np.array_equal, tree.leaves(found), tree.leaves(model.snapshot())))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: weights[:-1], "weights: layer 9, Linear(6, 3): expected weights[15], its bias, of shape (3,), got none"),
        (lambda weights: [*weights, weights[0]], "weights: expected 16 arrays, got 17"),
        (lambda weights: weights[::-1], "layer 0, Conv2d(3, 4, 3, padding='same'): expected weights[0], its kernel,"),
        (lambda weights: 5, "expected a list of arrays or a path, got int"),
        (lambda weights: type("Sequential", (), {"get_weights": list})(), "got Sequential; pass its get_weights()"),
        (lambda weights: "missing.h5", "missing.h5: No such file or directory"),
        (lambda weights: __file__, "test_convert.py: expected a file of Keras, .keras, .weights.h5 or .h5, got another kind; load"),
        (lambda weights: Path(__file__).parent, "tests: expected a file of Keras, .keras, .weights.h5 or .h5, got a folder, as TensorFlow saves"),
    ],
)  # fmt: skip
def test_a_mismatch_with_keras_names_the_layer(change: Any, words: str) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    with pytest.raises((CheckpointError, ConfigError)) as error:
        convert.from_keras(KERAS_NET, change(convert.to_keras(drawn(KERAS_NET))))
    assert words in str(error.value)


def test_files_of_keras_by_the_names_of_its_layers(tmp_path: Path) -> None:
    """As Keras 3 writes them: `dense_1` is the second of its kind, wherever it stands."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    model = drawn(KERAS_NET)
    weights = iter(convert.to_keras(model))
    kinds = {"conv2d": 2, "batch_normalization": 4, "flatten": 0, "conv2d_1": 2, "layer_normalization": 2,
             "dense": 2, "group_normalization": 2, "dense_1": 2}  # fmt: skip
    with h5py.File(path := tmp_path / "net.weights.h5", "w") as file:
        for kind, count in kinds.items():
            group = file.create_group(f"layers/{kind}/vars")
            for i in range(count):
                group[str(i)] = next(weights)
    found = convert.from_keras(KERAS_NET, path)
    assert all(map(np.array_equal, tree.leaves(found), tree.leaves(model.snapshot())))
    with pytest.raises(
        CheckpointError,
        match=r"net.weights.h5: expected no batch_normalization and 5 more, for which the network has no place",
    ):
        convert.from_keras(nn.Linear(20, 6), path)
    with pytest.raises(
        CheckpointError,
        match=r"layer 9, Linear\(6, 3, bias=False\): expected the arrays kernel in dense_1, got 2",
    ):
        convert.from_keras(nn.Sequential(*KERAS_NET.layers[:9], nn.Linear(6, 3, bias=False)), path)
    with pytest.raises(
        CheckpointError,
        match=r"layer 0, Linear\(5, 6\): expected dense/kernel of shape \(5, 6\), got \(20, 6\)",
    ):
        convert.from_keras(nn.Sequential(nn.Linear(5, 6), *KERAS_NET.layers[:6], *KERAS_NET.layers[8:]), path)


def test_files_of_nested_networks_of_keras(tmp_path: Path) -> None:
    """The paths of the layers are those of the attributes and the networks that hold them."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    net = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.BatchNorm(3)))
    model = drawn(net)
    weights = iter(convert.to_keras(model))
    (tmp_path / "ck.index").touch()
    with pytest.raises(
        CheckpointError, match=r"ck: expected a file of Keras, .*, got a checkpoint of TensorFlow; "
    ):
        convert.from_keras(net, tmp_path / "ck")
    kinds = {"b": 2, "layers/sequential/layers/dense": 2, "layers/sequential/layers/batch_normalization": 4}
    with h5py.File(path := tmp_path / "net.weights.h5", "w") as file:
        for kind, count in kinds.items():
            for i in range(count):
                file[f"{kind}/vars/{i}"] = next(weights)
        file["optimizer/vars/0"], file["seed/vars/0"] = np.ones(2), np.ones(2, np.uint32)
    names = {"0": "b", "1.0": "sequential/dense", "1.1": "sequential/batch_normalization"}
    found = convert.from_keras(net, path, names)
    assert all(map(np.array_equal, tree.leaves(found), tree.leaves(model.snapshot())))
    for given, words in (
        (None, "expected the names of an equal keras.Sequential (dense, dense_1, batch_normalization), got b, sequential/batch_normalization, sequential/dense: pass names={'0': …}"),
        (names | {"0": "a"}, "layer 0, Linear(3, 3): expected a/kernel of shape (3, 3), got none"),
        ({"0": "b"}, "from_keras: expected names for the layers 0, 1.0, 1.1, got 0"),
    ):  # fmt: skip
        with pytest.raises((CheckpointError, ConfigError), match=re.escape(words)):
            convert.from_keras(net, path, given)
    with pytest.raises(ConfigError, match="expected names with a file, got a list of arrays"):
        convert.from_keras(net, [], names)
    with h5py.File(path, "a") as file:
        file["vars/0"] = np.ones(2)  # a weight of the model itself
    with pytest.raises(CheckpointError, match="expected no vars, for which the network has no place"):
        convert.from_keras(net, path, names)


@pytest.mark.parametrize("version", [2, 3])
def test_h5_files_of_keras_tell_the_order(version: int, tmp_path: Path) -> None:
    """Those of `save` have the weights in a group; a nested network has the statistics after all others."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    net = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.BatchNorm(3), nn.BatchNorm(3)))
    model = drawn(net)
    kernel, bias, *norms = convert.to_keras(model)
    norm = dict(zip(("gamma", "beta", "moving_mean", "moving_variance"), range(4), strict=True))
    end, weights = ":0" if version == 2 else "", {"z": {"z/kernel": kernel, "z/bias": bias}, "drop": {}}
    weights["inner"] = {
        f"inner/{k}/{name}": norms[4 * k + i] for part in (0, 2) for k in (0, 1)
        for name, i in list(norm.items())[part : part + 2]
    }  # fmt: skip
    with h5py.File(path := tmp_path / "net.h5", "w") as file:
        root = file if version == 2 else file.create_group("model_weights")
        root.attrs["layer_names"] = [np.bytes_(name) for name in weights]
        for name, arrays in weights.items():
            group = root.create_group(name)
            group.attrs["weight_names"] = np.array([each + end for each in arrays], "S")
            for each, array in arrays.items():
                group[each + end] = array
    found = convert.from_keras(net, path)
    assert all(map(np.array_equal, tree.leaves(found), tree.leaves(model.snapshot())))
    with pytest.raises(
        CheckpointError,
        match=r"expected 1 layers with parameters, as the network has \(\), got 3: z, inner/0",
    ):
        convert.from_keras(nn.Linear(3, 3), path)
    with h5py.File(path, "a") as file:
        group = (file if version == 2 else file["model_weights"]).create_group("top_level_model_weights")
        group.attrs["weight_names"], group["top/scale"] = ["top/scale"], np.ones(2)
    with pytest.raises(CheckpointError, match=r"expected 3 layers with parameters, .*, got 4: z, inner/0"):
        convert.from_keras(net, path)


def test_bfloat16_of_keras(tmp_path: Path) -> None:
    """It stores the upper halves of float32 as two bytes of no kind."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    weight = np.ldexp(np.arange(6, dtype=np.float32) - 2, -3).reshape(2, 3)
    with h5py.File(path := tmp_path / "net.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = (weight.view("<u4") >> 16).astype("<u2").view("V2")
    np.testing.assert_array_equal(convert.from_keras(nn.Linear(2, 3, bias=False), path)["weight"], weight)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its own
def test_networks_of_keras_compute_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    layers = keras.layers
    there = keras.Sequential([
        keras.Input((8, 8, 3)), layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization(), layers.ReLU(),
        layers.MaxPooling2D(), layers.Conv2D(5, 3), layers.LayerNormalization(), layers.Flatten(), layers.Dense(6),
        layers.GroupNormalization(2), layers.Dense(3),
    ])  # fmt: skip
    model, x = drawn(KERAS_NET), cases.draw((2, 8, 8, 3)).astype(np.float32)
    there.set_weights(convert.to_keras(model))
    np.testing.assert_allclose(np.asarray(there(x)), model.predict(x), atol=1e-6)
    for name in ("net.weights.h5", "net.keras", "net.h5"):
        (there.save_weights if "weights" in name else there.save)(tmp_path / name)
        found = convert.from_keras(KERAS_NET, tmp_path / name)
        assert all(map(np.array_equal, tree.leaves(found), tree.leaves(model.snapshot())))


# scikit-learn.


@pytest.mark.parametrize("classes", [2, 3])
def test_networks_of_sklearn_compute_the_same(classes: int) -> None:
    neural = pytest.importorskip("sklearn.neural_network", reason="scikit-learn is not installed")
    x, y = cases.draw((40, 5)), np.arange(40) % classes
    there = neural.MLPClassifier((6, 4), max_iter=3, activation="tanh", n_iter_no_change=99)
    with pytest.warns(Warning, match="Maximum iterations"):
        there.fit(x, y)
    loss = losses.CrossEntropy() if classes > 2 else losses.BinaryCrossEntropy()
    net = nn.Sequential(
        nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, there.n_outputs_)
    )
    model = drawn(net, loss, dtype="float64")
    model.restore(convert.from_sklearn(net, there))
    expected = there.predict_proba(x)[:, -model.predict_proba(x).shape[1] :]
    np.testing.assert_allclose(model.predict_proba(x), expected, atol=1e-12)
    for kind, ours in zip((there.coefs_, there.intercepts_), convert.to_sklearn(model), strict=True):
        assert all(map(np.array_equal, kind, ours))


@pytest.mark.parametrize(
    ("net", "given", "words"),
    [
        (nn.Linear(5, 3), ([np.ones((4, 3))], [np.ones(3)]), "Linear(5, 3): expected coefs_[0] of shape (5, 3), got (4, 3)"),
        (nn.Linear(5, 3), ([np.ones((5, 3))], []), "expected intercepts_[0] of shape (3,), got none"),
        (nn.Linear(5, 3), ([np.ones((5, 3))] * 2, [np.ones(3)]), "expected 1 layers, got 2"),
        (nn.Conv1d(1, 1, 1), ([np.ones((1, 1))], [np.ones(1)]), "expected a layer that the other library has"),
        (nn.Linear(5, 3), (1, 2), "expected a fitted MLPClassifier or MLPRegressor, got tuple"),
        (nn.Linear(5, 3), "model", "expected a fitted MLPClassifier or MLPRegressor, got str"),
    ],
)  # fmt: skip
def test_a_mismatch_with_sklearn_names_the_layer(net: nn.Layer, given: Any, words: str) -> None:
    with pytest.raises((CheckpointError, ConfigError)) as error:
        convert.from_sklearn(net, given)
    assert words in str(error.value)
