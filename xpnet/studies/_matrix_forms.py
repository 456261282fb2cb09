"""The first example of `backprop_by_hand` as products of matrices, in columns and in rows."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xpnet import losses, nn, tree
from xpnet.backend import Backend
from xpnet.studies.report import Report


class Form(NamedTuple):
    """A matrix form: what it computes, the formula, its value, and the same from the layers."""

    quantity: str
    formula: str
    value: np.ndarray
    layers: np.ndarray


def columns(
    alpha: np.ndarray, beta: np.ndarray, x: np.ndarray, target: np.ndarray, traced: Any
) -> list[Form]:
    """All quantities of forward and backward pass, with x, a, z, b and y as columns, from the matrices alone.

    Shapes: alpha (4, 7), beta (3, 5), x (6,), target (3,). `traced` is the `Trace` of the layers.
    """
    x1, y = np.r_[1, x][:, None], target[:, None]
    a = alpha @ x1
    z = 1 / (1 + np.exp(-a))
    z1 = np.vstack([np.ones((1, 1)), z])
    b = beta @ z1
    prediction = np.exp(b - b.max()) / np.exp(b - b.max()).sum()
    db = prediction - y
    dbeta = db @ z1.T
    dz = beta[:, 1:].T @ db
    da = dz * z * (1 - z)
    dalpha = da @ x1.T
    one = np.ones(1)
    return [
        Form("a", "α x", a, traced.a[:, None]),
        Form("z", "σ(a)", z, traced.z[:, None]),
        Form("z with a 1 in front", "(1, z)", z1, np.r_[one, traced.z][:, None]),
        Form("b", "β (1, z)", b, traced.b[:, None]),
        Form("ŷ", "softmax(b)", prediction, traced.y[:, None]),
        Form("dℓ/db", "ŷ - y", db, traced.db[:, None]),
        Form("dℓ/dβ", "dℓ/db (1, z)ᵀ", dbeta, traced.dbeta),
        Form("dℓ/dz", "β*ᵀ dℓ/db", dz, traced.dz[:, None]),
        Form("dℓ/da", "dℓ/dz ∗ z ∗ (1 - z)", da, traced.da[:, None]),
        Form("dℓ/dα", "dℓ/da xᵀ", dalpha, traced.dalpha),
    ]


def rows(
    backend: Backend, alpha: np.ndarray, beta: np.ndarray, x: np.ndarray, target: np.ndarray
) -> list[Form]:
    """The same network in rows, W₁ (6, 4) and W₂ (4, 3), back to the input x (1, 6)."""
    w1, b1, w2, b2 = alpha[:, 1:].T, alpha[None, :, 0], beta[:, 1:].T, beta[None, :, 0]
    net, loss = nn.Sequential(nn.Linear(*w1.shape), nn.Sigmoid(), nn.Linear(*w2.shape)), losses.CrossEntropy()
    params = tree.map(backend.asarray, ({"weight": w1, "bias": b1[0]}, {}, {"weight": w2, "bias": b2[0]}))
    f1 = x[None] @ w1 + b1
    a = 1 / (1 + np.exp(-f1))
    f2 = a @ w2 + b2
    o = np.exp(f2 - f2.max()) / np.exp(f2 - f2.max()).sum()
    df2 = o - target[None]
    da = df2 @ w2.T
    df1 = da * a * (1 - a)
    dx = df1 @ w1.T

    first, sigmoid, second = net.layers
    layer_f1, first_residuals = first.forward(params[0], backend.asarray(x[None]))
    layer_a, sigmoid_residuals = sigmoid.forward({}, layer_f1)
    layer_f2, second_residuals = second.forward(params[2], layer_a)
    layer_o, _ = nn.Softmax().forward({}, layer_f2)
    label = backend.asarray(np.array([target.argmax()]))
    layer_df2 = loss.backward(loss.forward(layer_f2, label)[1])
    layer_da, _ = second.backward(params[2], second_residuals, layer_df2)
    layer_df1, _ = sigmoid.backward({}, sigmoid_residuals, layer_da)
    layer_dx, _ = first.backward(params[0], first_residuals, layer_df1)
    found = (
        ("f₁", "x W₁ + b₁", f1, layer_f1),
        ("a", "σ(f₁)", a, layer_a),
        ("f₂", "a W₂ + b₂", f2, layer_f2),
        ("o", "S(f₂)", o, layer_o),
        ("dE/df₂", "o - y", df2, layer_df2),
        ("dE/da", "(o - y) W₂ᵀ", da, layer_da),
        ("dE/df₁", "dE/da ∗ a ∗ (1 - a)", df1, layer_df1),
        ("dE/dx", "dE/df₁ W₁ᵀ", dx, layer_dx),
    )
    return [Form(*form[:3], backend.to_numpy(form[3])) for form in found]


def of_the_input(alpha: np.ndarray, beta: np.ndarray, x: np.ndarray, target: np.ndarray) -> np.ndarray:
    """dE/dx by central differences, (6,)."""

    def error(x: np.ndarray) -> float:
        z = 1 / (1 + np.exp(-(alpha @ np.r_[1, x])))
        b = beta @ np.r_[1, z]
        return float(np.log(np.exp(b).sum()) - target @ b)

    steps = 1e-5 * np.eye(len(x))
    return np.array([(error(x + step) - error(x - step)) / 2e-5 for step in steps])


def fixes(beta: np.ndarray, z: np.ndarray) -> list[list[Any]]:
    """Ways to give β (3, 5) and z (4,) a product: the shapes, and whether the product exists."""
    ones = {"row": np.ones((1, beta.shape[1])), "column": np.ones((len(beta), 1))}
    z = z[:, None]
    tried = {
        "none": (beta, z),
        "the transpose of β": (beta.T, z),
        "the transpose of z": (beta, z.T),
        "a row of 1s on top of β": (np.vstack([ones["row"], beta]), z),
        "a column of 1s in front of β": (np.hstack([ones["column"], beta]), z),
        "a 1 in front of z": (beta, np.vstack([[[1.0]], z])),
    }
    return [
        [name, dimensions(left), dimensions(right), left.shape[1] == right.shape[0]]
        for name, (left, right) in tried.items()
    ]


def dimensions(matrix: np.ndarray) -> str:
    """`3×5`"""
    return "×".join(map(str, matrix.shape))


def report_columns(report: Report, forms: Sequence[Form], beta: np.ndarray, z: np.ndarray) -> None:
    """Add the matrix forms and their dimensions, and say why β loses its first column on the way back."""
    report.section("Classification: the matrix forms")
    report.text(
        "The same numbers as products of matrices, with x = (1, x₁, ..., x₆), a, z, b and y as columns; ∗ "
        "multiplies element by element. β* is β without its first column, the biases."
    )
    _table(report, "matrix-forms", forms)
    tried = fixes(beta, z)
    report.table(
        "fixes",
        ["change", "left", "right", "product exists"],
        tried,
        "Which change makes a product of β and z possible.",
    )
    by_name = {form.quantity: form for form in forms}
    db = by_name["dℓ/db"].value
    whole, without = beta.T @ db, beta[:, 1:].T @ db
    report.text(
        f"Why β* in dℓ/dz: βᵀ dℓ/db has {len(whole)} numbers, ({_numbers(whole)}). The first, "
        f"{whole[0, 0]:.4f}, belongs to the 1 in front of z, which is a constant: no α changes it, so "
        f"nothing goes back through it. β*ᵀ dℓ/db has the other {len(without)}, one for each hidden unit: "
        f"({_numbers(without)})."
    )
    worst = max(float(np.abs(form.value - form.layers).max()) for form in forms)
    shapes = {name: dimensions(by_name[name].value) for name in ("dℓ/dβ", "dℓ/dα")}
    report.expect(
        "dℓ/dβ = (ŷ - y) zᵀ is 3×5 and dℓ/dα is 4×7, as β and α; all matrix forms give the numbers of the "
        "layers.",
        f"They are {shapes['dℓ/dβ']} and {shapes['dℓ/dα']}; the largest difference is {worst:.1g}.",
        shapes == {"dℓ/dβ": "3×5", "dℓ/dα": "4×7"} and worst < 1e-12,
    )
    possible = [name for name, *_, exists in tried if exists]
    report.expect(
        "Only a 1 in front of z makes the product of β and z possible.",
        f"Possible with {' or '.join(possible)}.",
        possible == ["a 1 in front of z"],
    )


def report_rows(report: Report, forms: Sequence[Form], differences: np.ndarray) -> None:
    """Add the gradient of the loss by the input."""
    report.section("Classification: the gradient of the input")
    report.text(
        "The same network once more, with rows in place of columns, as code for many examples has it: "
        "x (1×N), W₁ (N×M), W₂ (M×K), and E for the loss. The gradient goes back one step further, to the "
        "input: dE/dx = ((o - y) W₂ᵀ ∗ a ∗ (1 - a)) W₁ᵀ. It says how a change of each input changes the loss."
    )
    _table(report, "row-forms", forms)
    by_name = {form.quantity: form for form in forms}
    dx = by_name["dE/dx"]
    report.table(
        "input-gradient",
        ["input", "formula", "layers", "finite difference"],
        [
            [f"x{'₁₂₃₄₅₆'[i]}", *map(float, values)]
            for i, values in enumerate(zip(dx.value[0], dx.layers[0], differences, strict=True))
        ],
        "dE/dx by the formula, by the layers' backward passes, and by central differences.",
        dict.fromkeys(("formula", "layers", "finite difference"), ".7f"),
    )
    error, other = np.abs(dx.value - dx.layers).max(), np.abs(dx.value[0] - differences).max()
    df2 = by_name["dE/df₂"]
    report.expect(
        "The gradient by f₂ is o - y.",
        f"It is ({_numbers(df2.layers.T)}); o - y differs by at most "
        f"{np.abs(df2.value - df2.layers).max():.1g}.",
        bool(np.allclose(df2.value, df2.layers, rtol=0, atol=1e-14)),
    )
    report.expect(
        "dE/dx = ((o - y) W₂ᵀ ∗ a ∗ (1 - a)) W₁ᵀ.",
        f"It differs from the layers by at most {error:.1g}, from finite differences by {other:.1g}.",
        error < 1e-14 and other < 1e-8,
    )


def _table(report: Report, name: str, forms: Sequence[Form]) -> None:
    report.table(
        name,
        ["quantity", "formula", "dimensions", "values", "difference from the layers"],
        [
            [
                form.quantity, form.formula, dimensions(form.value),
                _numbers(form.value) if min(form.value.shape) == 1 else "see the tables below",
                float(np.abs(form.value - form.layers).max()),
            ]
            for form in forms
        ],
        "The forms with their dimensions, and the largest difference from what the layers compute.",
        {"difference from the layers": ".1e"},
    )  # fmt: skip


def _numbers(vector: np.ndarray) -> str:
    return ", ".join(f"{value:.4f}" for value in vector.ravel())
