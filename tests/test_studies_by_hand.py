"""The studies whose numbers can be worked out on paper."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from xpnet import nn, optim
from xpnet.studies import (
    _regression_by_hand,
    _threshold_neurons,
    activation_descent,
    backprop_by_hand,
    convolution_by_hand,
    logic_gates,
    runner,
)
from xpnet.studies.options import Options

NUMPY = Options()


@pytest.fixture
def anywhere(place: tuple[str, str | None]) -> Options:
    """The options for each installed backend."""
    backend, device = place
    return Options(backend=backend, device=device)


class TestBackpropByHand:
    def test_a_step_without_l2(self, anywhere: Options) -> None:
        step = backprop_by_hand.step(anywhere)
        assert round(step.beta[1, 1], 4) == 1.9772
        assert round(step.beta[0, 0], 4) == 0.5477
        assert round(step.alpha[2, 4], 4) == 2
        assert step.gradient_error < 1e-7

    def test_the_regularised_loss(self, anywhere: Options) -> None:
        step = backprop_by_hand.step(anywhere, backprop_by_hand.L2)
        assert round(step.loss, 4) == 3.9712
        assert step.gradient_error < 1e-7

    def test_layer_by_layer_is_what_the_model_does(self, anywhere: Options) -> None:
        trace, step = backprop_by_hand.trace(anywhere), backprop_by_hand.step(anywhere)
        np.testing.assert_allclose(trace.dalpha, step.dalpha, rtol=1e-12)
        np.testing.assert_allclose(trace.dbeta, step.dbeta, rtol=1e-12)
        assert trace.loss == pytest.approx(step.loss, rel=1e-12)

    def test_the_values_on_the_way(self) -> None:
        """The intermediate values agree with the textbook's formulas, which treat the bias as an input of 1."""
        trace = backprop_by_hand.trace(NUMPY)
        alpha, beta, x = backprop_by_hand.ALPHA, backprop_by_hand.BETA, np.r_[1, backprop_by_hand.X[0]]
        a = alpha @ x
        np.testing.assert_array_equal(trace.a, [-3, 6, 9, 6])
        np.testing.assert_allclose(trace.z, 1 / (1 + np.exp(-a)))
        z = np.r_[1, trace.z]
        np.testing.assert_allclose(trace.b, beta @ z)
        np.testing.assert_allclose(trace.y, np.exp(trace.b) / np.exp(trace.b).sum())
        assert trace.loss == pytest.approx(-math.log(trace.y[2]))
        np.testing.assert_allclose(trace.db, trace.y - [0, 0, 1])
        np.testing.assert_allclose(trace.dbeta, np.outer(trace.db, z))
        np.testing.assert_allclose(trace.dz, beta[:, 1:].T @ trace.db)
        np.testing.assert_allclose(trace.da, trace.dz * trace.z * (1 - trace.z))
        np.testing.assert_allclose(trace.dalpha, np.outer(trace.da, x))

    def test_l2_adds_lambda_times_the_weights_and_nothing_to_biases(self) -> None:
        without, with_l2 = (backprop_by_hand.step(NUMPY, l2) for l2 in (0.0, backprop_by_hand.L2))
        for weights, name in ((backprop_by_hand.ALPHA, "alpha"), (backprop_by_hand.BETA, "beta")):
            penalty = backprop_by_hand.L2 * weights
            penalty[:, 0] = 0
            before, after = getattr(without, f"d{name}"), getattr(with_l2, f"d{name}")
            np.testing.assert_allclose(after - before, penalty, atol=1e-14)
            np.testing.assert_allclose(getattr(with_l2, name), weights - after, atol=1e-14)

    def test_the_softmax_jacobian(self, anywhere: Options) -> None:
        b = np.array([0.5, -1.0, 2.0, 0.0])
        jacobian = backprop_by_hand.softmax_jacobian(anywhere, b)
        s = np.exp(b) / np.exp(b).sum()
        np.testing.assert_allclose(jacobian.formula, np.diag(s) - s[:, None] * s, rtol=1e-12)
        np.testing.assert_allclose(jacobian.backward, jacobian.formula, atol=1e-15)
        np.testing.assert_allclose(jacobian.differences, jacobian.formula, atol=1e-9)

    def test_the_regression(self, anywhere: Options) -> None:
        rows, columns = _regression_by_hand.ORIENTATIONS.values()
        by_rows, by_columns = (
            _regression_by_hand.regression(anywhere, nn.ReLU(), weight).losses for weight in (rows, columns)
        )
        assert [round(loss, 4) for loss in by_rows] == [209.4557]
        assert by_columns == [pytest.approx(405.0977)]

    def test_tanh_has_the_least_loss(self) -> None:
        found = _regression_by_hand.by_activation(NUMPY)
        assert set(found) == {"ReLU", "tanh", "sigmoid", "identity"}
        assert min(found, key=lambda name: found[name].losses[0]) == "tanh"

    def test_of_the_learning_rates_0_001_is_best_after_two_steps(self) -> None:
        found = _regression_by_hand.by_learning_rate(NUMPY)
        assert set(found) == {0.9, 0.1, 0.001, 0.0001}
        assert min(found, key=lambda rate: found[rate].losses[2]) == 0.001


class TestLogicGates:
    @pytest.mark.parametrize("gate", [gate for gate in logic_gates.GATES if gate != "NOT"])
    def test_one_neuron_is_enough_or_a_certificate_says_why_not(self, gate: str) -> None:
        separation = _threshold_neurons.separate(gate)
        search = _threshold_neurons.search(NUMPY, gate)
        assert search.units == 65**3
        if gate in ("XOR", "XNOR"):
            assert separation.weights is None
            y, a = separation.certificate, separation.inequalities
            assert np.all(y >= 0)
            np.testing.assert_allclose(y @ a, 0, atol=1e-12)
            assert y.sum() == pytest.approx(4)
            assert (search.perfect, search.best) == (0, 3)
        else:
            assert separation.certificate is None
            assert np.all(separation.inequalities @ separation.weights >= 1 - 1e-9)
            fires = _threshold_neurons.threshold_neuron(NUMPY, separation.weights)
            np.testing.assert_array_equal(fires, logic_gates.GATES[gate])
            assert search.perfect > 0
            assert search.best == 4

    def test_the_grid_counts_the_neurons_that_are_right(self) -> None:
        """AND, counted in whole sixteenths: right for (1, 1) alone means b ≤ 0, w + b ≤ 0, w₁ + w₂ + b > 0."""
        u, v, b = np.meshgrid(*[np.arange(-32, 33)] * 3)
        right = (b <= 0) & (u + b <= 0) & (v + b <= 0) & (u + v + b > 0)
        assert _threshold_neurons.search(NUMPY, "AND").perfect == right.sum()

    @pytest.mark.parametrize("gate", logic_gates.GATES)
    def test_hand_set_weights(self, gate: str, anywhere: Options) -> None:
        model = logic_gates.hand_set(anywhere, gate)
        probabilities = model.predict_proba(logic_gates.inputs(gate))[:, 0]
        np.testing.assert_allclose(probabilities, logic_gates.GATES[gate], atol=1e-4)
        assert model.parameter_count() == {"NOT": 2, "XOR": 9, "XNOR": 9}.get(gate, 3)

    @pytest.mark.parametrize("gate", logic_gates.GATES)
    def test_trained_weights(self, gate: str) -> None:
        trained = logic_gates.train(NUMPY, gate, seed=0)
        assert trained.errors == 0
        assert trained.loss < 0.01
        probabilities = trained.model.predict_proba(logic_gates.inputs(gate))[:, 0]
        np.testing.assert_allclose(probabilities, logic_gates.GATES[gate], atol=0.02)

    def test_some_seeds_do_not_learn_xor(self) -> None:
        """With two inputs right and two at probability ½, the loss is half of log 2."""
        stuck = logic_gates.train(NUMPY, "XOR", seed=1)
        assert stuck.errors > 0
        assert stuck.loss == pytest.approx(math.log(2) / 2, abs=2e-3)


class TestActivationDescent:
    @pytest.mark.parametrize(("start", "rate"), activation_descent.RUNS)
    @pytest.mark.parametrize("beta", [0.0, 0.9])
    def test_the_first_steps(self, start: float, rate: float, beta: float, anywhere: Options) -> None:
        """The first steps computed one by one; β = 0 is plain gradient descent."""

        def slope(x: float) -> float:
            gate = 1 / (1 + math.exp(-1.702 * x))
            return gate + x * 1.702 * gate * (1 - gate)

        optimizer = optim.EMAMomentum(rate, beta) if beta else optim.SGD(rate)
        path = activation_descent.descend(anywhere, start, optimizer, steps=3)
        x, v = start, slope(start)
        for found_x, found_f, found_slope in zip(*path, strict=True):
            assert found_x == pytest.approx(x, rel=1e-12)
            assert found_f == pytest.approx(x / (1 + math.exp(-1.702 * x)), rel=1e-12)
            assert found_slope == pytest.approx(slope(x), rel=1e-12)
            v = beta * v + (1 - beta) * slope(x)
            x -= rate * v

    def test_the_first_step_from_0_is_half_the_learning_rate(self) -> None:
        for rate in (0.1, 1.0):
            for optimizer in (optim.SGD(rate), optim.EMAMomentum(rate)):
                path = activation_descent.descend(NUMPY, 0.0, optimizer, steps=1)
                assert path.x[1] == pytest.approx(-rate / 2)

    def test_the_minimum(self, anywhere: Options) -> None:
        lowest = activation_descent.minimum(anywhere)
        around = activation_descent.curve(
            anywhere, activation_descent.GELU, lowest + np.array([-1e-3, 0, 1e-3])
        )
        assert lowest == pytest.approx(-0.7511542554, abs=1e-9)
        assert around.f[1] == min(around.f)
        assert abs(around.slope[1]) < 1e-11


class TestConvolutionByHand:
    def test_j_is_minus_6(self, anywhere: Options) -> None:
        grids = convolution_by_hand.grids(anywhere)
        assert grids.valid.ravel()[convolution_by_hand.J] == -6
        assert grids.same.ravel()[convolution_by_hand.J] == -6

    def test_each_number_is_the_sum_of_products_under_the_filter(self, anywhere: Options) -> None:
        grids = convolution_by_hand.grids(anywhere)
        padded = np.pad(convolution_by_hand.IMAGE, 1)
        expected = [
            [(padded[i : i + 3, j : j + 3] * convolution_by_hand.FILTER).sum() for j in range(6)]
            for i in range(6)
        ]
        np.testing.assert_array_equal(grids.same, expected)
        np.testing.assert_array_equal(grids.valid, grids.same[1:-1, 1:-1])

    def test_average_pooling_is_a_convolution(self, anywhere: Options) -> None:
        grids = convolution_by_hand.grids(anywhere)
        means = convolution_by_hand.IMAGE.reshape(3, 2, 3, 2).mean(axis=(1, 3))
        np.testing.assert_array_equal(grids.pooled, means)
        np.testing.assert_array_equal(grids.averaged, means)


@pytest.mark.parametrize(
    "name", ["backprop-by-hand", "logic-gates", "activation-descent", "convolution-by-hand"]
)
def test_all_comes_as_expected(name: str, tmp_path: Path) -> None:
    report = runner.run(name, Options(quick=True, output_dir=str(tmp_path / name)))
    assert len(report.expectations) >= 4
    assert [each for each in report.expectations if not each.holds] == []
    tables = [path.read_text() for path in report.folder.glob("*.csv")]
    assert len(tables) >= 4
    assert not any(re.search(r"\b(nan|inf)\b", table) for table in tables)
    assert "data:image/svg+xml;base64," in report.path.read_text()
