"""The derivatives of softmax, found in three ways: a part of `backprop_by_hand`."""

from typing import NamedTuple

import numpy as np

from xpnet import nn
from xpnet.studies.options import Options
from xpnet.studies.report import Report


class Jacobian(NamedTuple):
    """The derivatives ∂sᵢ/∂bⱼ of s = softmax(b), found in three ways."""

    formula: np.ndarray
    backward: np.ndarray
    differences: np.ndarray


def softmax_jacobian(options: Options, b: np.ndarray, epsilon: float = 1e-5) -> Jacobian:
    """diag(s) - ssᵀ, `nn.Softmax.backward` and central differences. Shapes: b (d,), each result (d, d)."""
    backend = options.make_backend("float64")
    softmax, unit_vectors = nn.Softmax(), np.eye(len(b))

    def s(rows: np.ndarray) -> np.ndarray:
        return backend.to_numpy(softmax.forward({}, backend.asarray(rows))[0])

    # With dy = eᵢ, row i of the result of `backward` is the gradient of sᵢ.
    _, residuals = softmax.forward({}, backend.asarray(np.tile(b, (len(b), 1))))
    backward, _ = softmax.backward({}, residuals, backend.asarray(unit_vectors))
    differences = (s(b + epsilon * unit_vectors) - s(b - epsilon * unit_vectors)).T / (2 * epsilon)
    probabilities = s(b[None])[0]
    formula = np.diag(probabilities) - np.outer(probabilities, probabilities)
    return Jacobian(formula, backend.to_numpy(backward), differences)


def run(options: Options, report: Report, b: np.ndarray) -> None:
    """Show the derivatives at the logits b, and compare the three ways."""
    report.section("The derivatives of softmax")
    found = softmax_jacobian(options, b)
    report.text(
        "Each output of s = softmax(b) depends on each input. The derivatives ∂sᵢ/∂bⱼ form the matrix "
        "diag(s) - s sᵀ. `nn.Softmax.backward` never forms it: it computes the product with a "
        "gradient ds, s (ds - Σ s ds). Unit vectors ds give the matrix row by row."
    )
    digits = "₁₂₃₄₅₆"[: len(b)]
    columns = [f"∂b{digit}" for digit in digits]
    report.table(
        "jacobian",
        ["derivative of", *columns],
        [[f"s{digit}", *map(float, row)] for digit, row in zip(digits, found.formula, strict=True)],
        "diag(s) - s sᵀ for the b of the example.",
        dict.fromkeys(columns, ".4f"),
    )
    backward, differences = (float(np.abs(each - found.formula).max()) for each in found[1:])
    report.expect(
        "The Jacobian of softmax is diag(s) - s sᵀ.",
        f"`nn.Softmax.backward` differs from it by at most {backward:.1e}, the central differences of "
        f"`nn.Softmax.forward` by {differences:.1e}.",
        backward < 1e-14 and differences < 1e-9,
    )
