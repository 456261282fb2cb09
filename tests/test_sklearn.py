"""The estimators for scikit-learn: its own checks, and what their users do with them."""

import importlib
import pickle
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", "1.6", reason="scikit-learn 1.6 is not installed")

from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits, load_iris, make_multilabel_classification, make_regression
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from xpnet import nn, optim, schedules
from xpnet.callbacks import Callback, EarlyStopping
from xpnet.errors import ConfigError, DataError
from xpnet.sklearn import XPNetClassifier, XPNetRegressor

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
QUICK: dict[str, Any] = {"max_iter": 20, "learning_rate_init": 0.01, "random_state": 0}
Classifier, Regressor = partial(XPNetClassifier, **QUICK), partial(XPNetRegressor, **QUICK)


@pytest.fixture
def cuda_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """scikit-learn's checks ask PyTorch whether it was built for CUDA; most are, with a GPU or without."""
    if find_spec("torch") is not None:
        torch = importlib.import_module("torch")
        monkeypatch.setattr(torch.backends.cuda, "is_built", torch.cuda.is_available)


@pytest.mark.usefixtures("cuda_where_there_is_a_gpu")
@pytest.mark.filterwarnings("ignore")  # as the checks themselves do
@parametrize_with_checks([Classifier(max_iter=30), Regressor(max_iter=30)])
def test_sklearns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


ELSEWHERE = [library for library in ("torch", "jax") if find_spec(library) is not None]


@pytest.mark.slow
@pytest.mark.usefixtures("cuda_where_there_is_a_gpu")
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [make(max_iter=30, backend=library) for library in ELSEWHERE for make in (Classifier, Regressor)]
)
def test_sklearns_own_checks_on_other_libraries(estimator: Any, check: Any) -> None:
    """`JAX_DISABLE_MOST_OPTIMIZATIONS=true pytest -m slow tests/test_sklearn.py` takes 2 minutes with JAX."""
    check(estimator)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, ...]:
    """Digits of 8 x 8: training and test inputs, training and test labels."""
    x, y = load_digits(return_X_y=True)
    return tuple(train_test_split((x / 16).astype(np.float32), y, random_state=0, stratify=y))


@unconverged
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("task", ["two classes", "ten classes", "one target", "two targets"])
def test_from_the_same_weights_the_training_is_that_of_scikit_learns_mlp(
    task: str, solver: str, weighted: bool
) -> None:
    """Also α, learning rate and weights mean the same. A regressor reports twice MLPRegressor's loss."""
    x, y = np.random.default_rng(0).normal(size=(200, 6)), np.arange(200) % 10
    target = {
        "two classes": y % 2,
        "ten classes": y,
        "one target": x[:, 0] + 1.0,
        "two targets": x[:, :2] + 1.0,
    }[task]
    weights = np.arange(200) % 3 + 0.5 if weighted else None
    kinds = (MLPClassifier, XPNetClassifier) if task.endswith("classes") else (MLPRegressor, XPNetRegressor)
    same = {
        "hidden_layer_sizes": (8,),
        "activation": "tanh",
        "alpha": 1.0,
        "batch_size": 200,
        "tol": 0.0,
        "warm_start": True,
    }
    mlp = kinds[0](**same, solver=solver, max_iter=1, learning_rate_init=1e-12, random_state=0).fit(
        x, target, weights
    )
    net = kinds[1](**same, optimizer=solver, max_iter=6, learning_rate_init=0.01)
    net.partial_fit(
        x,
        target,
        sample_weight=weights,
        **({"classes": np.unique(y)} if "ten" in task else {"classes": [0, 1]} if "two c" in task else {}),
    )
    dense = [{"weight": w, "bias": b} for w, b in zip(mlp.coefs_, mlp.intercepts_, strict=True)]
    net.model_.params = (dense[0], {}, dense[1])
    mlp.set_params(learning_rate_init=0.01, max_iter=6).fit(x, target, weights)
    net.fit(x, target, weights)
    for ours, theirs in zip((*net.coefs_, *net.intercepts_), (*mlp.coefs_, *mlp.intercepts_), strict=True):
        assert ours.shape == theirs.shape
        if solver == "sgd":  # Adam adds its ε at another place, which shows where a gradient is almost 0
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    if task != "two targets":  # where the loss of MLPRegressor is not what its gradient belongs to
        scale = 2.0 if task == "one target" else 1.0
        np.testing.assert_allclose(net.loss_curve_, np.multiply(mlp.loss_curve_[1:], scale), rtol=1e-4)


def test_digits_as_well_as_mlpclassifier(digits: tuple[np.ndarray, ...]) -> None:
    x, x_test, y, y_test = digits
    net = Classifier(max_iter=100).fit(x, y)
    assert net.n_iter_ < 100  # it converged
    assert net.score(x_test, y_test) > 0.96
    assert net.model_.backend.dtype_name == "float32"
    assert len(net.loss_curve_) == net.n_iter_
    assert net.loss_ == net.loss_curve_[-1]
    assert net.t_ == net.n_iter_ * len(x)


@unconverged
def test_early_stopping_keeps_the_best_epoch(digits: tuple[np.ndarray, ...]) -> None:
    x, _, y, _ = digits
    net = Classifier(early_stopping=True, n_iter_no_change=2, max_iter=60, validation_fraction=0.2)
    net.fit(x, y, sample_weight=np.arange(len(x)) % 2)
    assert net.n_iter_ < 60
    assert net.best_validation_score_ == max(net.validation_scores_)
    assert net.best_loss_ is None
    regressor = Regressor(early_stopping=True).fit(x[:, :-1], x[:, 20])
    assert regressor.best_validation_score_ == max(regressor.validation_scores_)
    assert regressor.score(x[:, :-1], x[:, 20]) > 0.9


@unconverged
def test_labels_may_be_text_and_columns_of_pandas_have_names() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    iris = load_iris(as_frame=True)
    table = iris.data.assign(place=np.where(np.arange(150) % 2, "field", "garden"))
    names = iris.target_names[iris.target]
    columns = make_column_transformer(
        (OneHotEncoder(sparse_output=False), ["place"]), remainder=StandardScaler()
    )
    pipe = make_pipeline(columns.set_output(transform="pandas"), Classifier(max_iter=60)).fit(table, names)
    assert pipe.score(table, names) > 0.95
    net = pipe[-1]
    assert list(net.classes_) == ["setosa", "versicolor", "virginica"]
    assert net.feature_names_in_[-1] == "remainder__petal width (cm)"
    assert pandas.Series(pipe.predict(table)).isin(iris.target_names).all()
    np.testing.assert_allclose(np.exp(pipe.predict_log_proba(table)), pipe.predict_proba(table))


@unconverged
def test_in_the_tools_of_scikit_learn(digits: tuple[np.ndarray, ...]) -> None:
    x, x_test, y, y_test = (part[:400] for part in digits)
    search = GridSearchCV(
        Classifier(), {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(20,), (20, 20)]}, cv=2, n_jobs=2
    )
    assert search.fit(x, y).best_score_ > 0.8
    assert cross_val_score(Classifier(), x, y, cv=2).min() > 0.8
    assert CalibratedClassifierCV(Classifier(), cv=2).fit(x, y).score(x_test, y_test) > 0.8
    stack = StackingClassifier([("net", Classifier())], LogisticRegression(), cv=2)
    assert stack.fit(x, y).score(x_test, y_test) > 0.8
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(again.predict_proba(x), search.best_estimator_.predict_proba(x))
    np.testing.assert_array_equal(clone(again).fit(x, y).predict(x), again.predict(x))


@unconverged
def test_sparse_inputs_are_made_dense_a_batch_at_a_time(
    digits: tuple[np.ndarray, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, _, y, _ = digits
    dense = Classifier(batch_size=32, max_iter=2).fit(x, y)
    rows: list[int] = []
    monkeypatch.setattr("xpnet.data.stream.CHUNK_BYTES", 32 * 64 * 4)
    toarray = sparse.csr_matrix.toarray
    monkeypatch.setattr(
        sparse.csr_matrix, "toarray", lambda self: rows.append(self.shape[0]) or toarray(self)
    )
    found = Classifier(batch_size=32, max_iter=2).fit(sparse.csr_matrix(x), y)
    assert max(rows) == 32
    np.testing.assert_array_equal(found.predict_proba(x), dense.predict_proba(x))
    np.testing.assert_allclose(found.predict_proba(sparse.csc_matrix(x)), dense.predict_proba(x), atol=1e-6)


@unconverged
def test_several_labels_and_several_targets() -> None:
    x, y = make_multilabel_classification(n_samples=200, random_state=0)
    net = Classifier(max_iter=60).fit(StandardScaler().fit_transform(x), y)
    assert net.score(StandardScaler().fit_transform(x), y) > 0.8
    assert net.predict_proba(x).shape == y.shape
    x, targets = make_regression(n_samples=200, n_targets=3, n_features=5, random_state=0)
    regressor = Regressor(max_iter=200, learning_rate_init=0.1).fit(x, targets)
    assert regressor.score(x, targets) > 0.99
    assert regressor.predict(x).shape == (200, 3)


def test_a_schedule_plans_the_number_of_epochs(digits: tuple[np.ndarray, ...]) -> None:
    """The end of it is no failure to converge, of which scikit-learn warns."""
    x, _, y, _ = digits
    assert Classifier(schedule=schedules.Cosine(3), max_iter=3).fit(x, y).n_iter_ == 3


@unconverged
def test_a_network_of_your_own_and_what_mlpclassifier_has_not(digits: tuple[np.ndarray, ...]) -> None:
    class Epochs(Callback):
        seen = 0

        def on_epoch(self, model: Any, metrics: Any) -> None:
            Epochs.seen += 1

    x, x_test, y, y_test = digits
    images, tests = x.reshape(-1, 8, 8, 1), x_test.reshape(-1, 8, 8, 1)
    cnn = nn.Sequential(nn.Conv2d(1, 8, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10))
    net = Classifier(net=cnn, optimizer=optim.AdamW(0.01), schedule=schedules.Cosine(20), callbacks=Epochs())
    assert net.fit(images, y).score(tests, y_test) > 0.9
    assert Epochs.seen == 20
    made = Classifier(
        net=lambda n_in, n_out: nn.Sequential(nn.Linear(n_in, 20), nn.Tanh(), nn.Linear(20, n_out))
    )
    assert made.fit(x, y).score(x_test, y_test) > 0.9
    two = Classifier(net=nn.Sequential(nn.Linear(64, 2))).fit(x, y % 2)  # a softmax over two classes
    assert two.predict_proba(x).shape == (len(x), 2)
    noisy = Classifier(dropout=0.2, batch_norm=True, class_weight="balanced").fit(x, y == 3)
    assert noisy.score(x_test, y_test == 3) > 0.9
    rare = Classifier(class_weight={False: 1e-6, True: 1.0}).fit(x, y == 3)
    assert rare.predict(x_test).mean() > 0.9


def test_warm_start_and_partial_fit_go_on(digits: tuple[np.ndarray, ...]) -> None:
    x, _, y, _ = digits
    net = Classifier(batch_size=50)
    for _ in range(3):
        net.partial_fit(x, y, classes=np.arange(10))
    assert net.model_.epoch == net.n_iter_ == len(net.loss_curve_) == 3
    whole = Classifier(batch_size=50, max_iter=3)
    with pytest.warns(ConvergenceWarning, match="max_iter=3 before the training converged; raise max_iter"):
        whole.fit(x, y)
    np.testing.assert_array_equal(whole.predict_proba(x), net.predict_proba(x))
    with pytest.warns(ConvergenceWarning):
        whole.set_params(warm_start=True).fit(x, y)
    assert whole.model_.epoch == 6
    with pytest.raises(DataError, match=r"expected labels in y that the first fit had, .* got \[11\]"):
        whole.fit(x[:10], np.full(10, 11))


@unconverged
def test_training_goes_on_with_the_parameters_of_now(digits: tuple[np.ndarray, ...]) -> None:
    x, _, y, _ = digits
    net = Classifier(hidden_layer_sizes=(8,), max_iter=2, warm_start=True, optimizer="sgd").fit(x, y)
    first = net.coefs_[0]
    net.set_params(learning_rate_init=1e-12).fit(x, y)
    np.testing.assert_allclose(net.coefs_[0], first, rtol=1e-6)
    net.set_params(learning_rate_init=0.01, alpha=1000.0).partial_fit(x, y)
    assert np.abs(net.coefs_[0]).sum() < 0.7 * np.abs(first).sum()
    for changed, words in (
        ({"hidden_layer_sizes": (9,)}, r"expected its network to stay .*, got .*Linear\(64, 9\).*; clone"),
        ({"dropout": 0.5}, "expected its network to stay"),
        ({"net": nn.Linear(64, 10)}, r"expected its network to stay .*, got Linear\(64, 10\)"),
        ({"dtype": "float64"}, "expected dtype to stay float32, .*, got float64"),
        ({"backend": "array-api-strict"}, "expected backend to stay numpy"),
    ):
        with pytest.raises(ConfigError, match=words):
            clone(net).fit(x, y).set_params(**changed).fit(x, y)


@unconverged
def test_torch_tensors_stay_in_their_library(digits: tuple[np.ndarray, ...]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, x_test, y, y_test = digits
    numbers = Classifier().fit(x, y).predict(x_test)
    with sklearn.config_context(array_api_dispatch=True):
        net = Classifier().fit(torch.asarray(x), torch.asarray(y))
        found = net.predict(torch.asarray(x_test))
        assert isinstance(found, torch.Tensor)
        assert net.model_.backend.name == "torch"
        assert net.score(torch.asarray(x_test), torch.asarray(y_test)) > 0.9
    assert (found.numpy() == numbers).mean() > 0.98  # the same training, rounded otherwise
    with (
        sklearn.config_context(array_api_dispatch=True),
        pytest.raises(ValueError, match="expected an array of torch on cpu"),
    ):
        net.predict(x_test)


@unconverged
def test_arrays_on_a_device_train_in_another_library(digits: tuple[np.ndarray, ...]) -> None:
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    x, _, y, _ = digits
    device = strict.Device("device1")  # NumPy cannot read it
    there, labels = (strict.asarray(each, device=device) for each in (x, y))
    with sklearn.config_context(array_api_dispatch=True):
        net = Classifier(backend="numpy", max_iter=2).fit(there, labels)
        found = net.predict(there)
        assert found.device == device
        assert net.model_.backend.name == "numpy"
    expected = Classifier(max_iter=2).fit(x, y).predict(x)
    np.testing.assert_array_equal(strict.asarray(found, device=strict.Device("CPU_DEVICE")), expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"activation": "rellu"}, "expected activation to be one of .* got 'rellu'; did you mean"),
        ({"optimizer": "lbfgs"}, "expected optimizer to be one of sgd"),
        ({"hidden_layer_sizes": (10, 0)}, "expected hidden_layer_sizes to be numbers of units from 1"),
        ({"max_iter": 0}, "expected max_iter to be an integer from 1, got 0"),
        ({"batch_size": 2.5}, "expected batch_size to be an integer from 1, got 2.5"),
        ({"alpha": -1}, "expected alpha to be a number from 0, got -1"),
        ({"learning_rate_init": 0}, "expected learning_rate_init to be a number above 0, got 0"),
        ({"dropout": 1.0}, "expected dropout to be a number from 0 to below 1, got 1.0"),
        ({"validation_fraction": 1.0}, "expected validation_fraction to be a number between 0 and 1"),
        ({"net": 5}, "expected net to be a layer, or a function"),
        ({"net": nn.Linear(64, 3)}, r"expected net to have 10 outputs for each example, got \(3,\)"),
        ({"net": nn.Linear(3, 10)}, r"net does not take X of shape .*: Linear\(3, 10\): expected"),
        ({"backend": "tensorflow"}, "expected backend to be one of auto, numpy"),
        ({"dtype": "float16"}, "expected dtype to be one of auto, float32, float64"),
        ({"net": lambda n_in, n_out: None}, "expected net to be a function that returns a layer of xpnet.nn, got None"),
        ({"early_stopping": "yes"}, "expected early_stopping to be True or False, got 'yes'"),
    ],
)  # fmt: skip
def test_wrong_parameters_are_named(
    wrong: dict[str, Any], message: str, digits: tuple[np.ndarray, ...]
) -> None:
    with pytest.raises(ConfigError, match=f"XPNetClassifier: {message}"):
        Classifier(**wrong).fit(digits[0], digits[2])


def test_wrong_callbacks_and_targets_are_named(digits: tuple[np.ndarray, ...]) -> None:
    x, _, y, _ = digits
    with pytest.raises(ConfigError, match="expected callbacks to be an xpnet Callback, got 5"):
        Classifier(callbacks=5).fit(x, y)
    with pytest.raises(ConfigError, match="got one; write early_stopping=True, n_iter_no_change=3"):
        Classifier(callbacks=EarlyStopping(3)).fit(x, y)
    with pytest.raises(DataError, match=r"got other numbers of shape \(\d+, 2\); .*MultiOutputClassifier"):
        Classifier().fit(x, np.stack([y, y], axis=1))
