"""Functions that the array API standard lacks, for layers and losses. Shapes: x and result (...)."""

from xpnet.backend import namespace, ops
from xpnet.tree import Array

# P and Q of `erf`, constant terms first, and the bound above which erf rounds to 1. Before rounding, the
# largest relative error of erf is 1.8e-18 with the first table and 1.3e-8 with the second.
ERF_DOUBLE = (
    (
        1.1283791670955126,
        2.5228947031525073,
        2.669416702427098,
        1.7138664084749988,
        0.7201218699030087,
        0.19978913276981805,
        0.03495296359979387,
        0.003366258187501977,
        0.00011824877373174158,
    ),
    (
        1.0,
        1.671667632468138,
        1.3314916433067276,
        0.6323577525842987,
        0.18867342248495603,
        0.034394213766622474,
        0.003363817699386322,
        0.00011826980963616863,
    ),
    6.0,
)
ERF_SINGLE = (
    (1.12837915315, 1.18549086130, 0.523079259458, 0.0933828583097, 0.000350931508192),
    (1.0, 0.486423222155, 0.0980676706803),
    4.0,
)


def erf(x: Array) -> Array:
    """The error function 2/√π ∫₀ˣ e^(-t²) dt, exact to a few units in the last place.

    erf(x) = sign(x) (1 - e⁻ʰ),  h = -log(1 - erf |x|) = |x| P(|x|) / Q(|x|)

    One formula serves all x: a formula for each interval would cost the sum of all formulas, because an array
    library computes both sides of a branch. Near 0, `expm1` computes 1 - e⁻ʰ exactly; for large |x| it
    becomes 1. All coefficients are positive, so nothing cancels.

    P and Q minimise the largest relative error of erf. They come from the exchange algorithm for rational
    minimax approximation, in arithmetic of 50 digits.

    (Ralston, "Rational Chebyshev approximation by Remes' algorithms", Numerische Mathematik 7, 1965.)
    """
    xp = namespace(x)
    p, q, bound = ERF_SINGLE if xp.finfo(x.dtype).bits == 32 else ERF_DOUBLE
    magnitude = xp.abs(x)
    magnitude = xp.minimum(magnitude, xp.full_like(magnitude, bound))
    h = _polynomial(p, magnitude)
    h /= _polynomial(q, magnitude)
    h *= magnitude
    y = -xp.expm1(-h)
    y *= ops(x).sign(x)
    return y


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """Σᵢ cᵢ xⁱ, by Horner's rule."""
    *lower, second, highest = coefficients
    y = highest * x
    y += second
    for c in reversed(lower):
        y *= x
        y += c
    return y


def sigmoid(x: Array) -> Array:
    """σ(x) = 1 / (1 + e⁻ˣ)."""
    y = ops(x).exp_or_infinity(-x)
    y += 1
    return 1 / y


def softmax(x: Array) -> Array:
    """eˣ / Σ eˣ along the last axis. The largest x is subtracted first, so that nothing overflows."""
    xp = namespace(x)
    y = xp.exp(x - ops(x).row_maxima(x))
    y /= ops(y).row_sums(y)
    return y
