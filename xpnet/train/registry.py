"""The choices of a run: one registry for each kind, one row for each choice.

A row is a name, what it makes, its help, and the options of `Config` that it takes. The values that an option
may have, the command line, the YAML files and `--help` come from here. Data sets have their registry in
`xpnet.data.datasets.DATASETS`, array libraries in `xpnet.backend.BACKENDS`.

A choice of your own, before the config is made:

    OPTIMIZERS["mine"] = Choice(Mine, "v = g, step -ηv", takes("learning_rate"))
    Config(optimizer="mine")
"""

import numpy as np

from xpnet import init, losses, nn, optim, schedules
from xpnet._util.choices import Choice, takes

__all__ = ["ACTIVATIONS", "INITIALIZERS", "LOSSES", "OPTIMIZERS", "SCHEDULES", "Choice", "takes"]

ACTIVATIONS: dict[str, Choice[nn.Layer]] = {
    "identity": Choice(nn.Identity, "x"),
    "relu": Choice(nn.ReLU, "max(0, x)"),
    "leaky-relu": Choice(nn.LeakyReLU, "x for x > 0, else 0.01·x"),
    "elu": Choice(nn.ELU, "x for x > 0, else exp(x) - 1"),
    "gelu": Choice(nn.GELU, "x·Φ(x), Φ the normal distribution function"),
    "silu": Choice(nn.SiLU, "x·sigmoid(x)"),
    "softplus": Choice(nn.Softplus, "log(1 + exp(x))"),
    "sigmoid": Choice(nn.Sigmoid, "1 / (1 + exp(-x))"),
    "tanh": Choice(nn.Tanh, "hyperbolic tangent"),
}

INITIALIZERS: dict[str, Choice[np.ndarray]] = {  # a layer calls `make` with a generator and a shape
    "zeros": Choice(init.zeros, "0"),
    "normal": Choice(init.normal, "N(0, 1)"),
    "uniform": Choice(init.uniform, "U(-1, 1)"),
    "fan-out-uniform": Choice(init.fan_out_uniform, "U(-1/√outputs, 1/√outputs)"),
    "lecun-normal": Choice(init.lecun_normal, "normal, variance 1 / inputs"),
    "lecun-uniform": Choice(init.lecun_uniform, "uniform, variance 1 / inputs"),
    "glorot-normal": Choice(init.glorot_normal, "normal, variance 2 / (inputs + outputs)"),
    "glorot-uniform": Choice(init.glorot_uniform, "uniform, variance 2 / (inputs + outputs)"),
    "he-normal": Choice(init.he_normal, "normal, variance 2 / inputs"),
    "he-uniform": Choice(init.he_uniform, "uniform, variance 2 / inputs"),
    "orthogonal": Choice(init.orthogonal, "a random matrix with orthonormal rows or columns"),
}

LOSSES: dict[str, Choice[losses.Loss]] = {
    "cross-entropy": Choice(losses.CrossEntropy, "-Σ t log softmax(logits)", takes("label_smoothing")),
    "mean-squared-error": Choice(losses.MeanSquaredError, "squared difference from the one-hot label"),
    "mean-absolute-error": Choice(losses.MeanAbsoluteError, "absolute difference from the one-hot label"),
    "huber": Choice(losses.Huber, "squared difference where it is small, absolute where it is large"),
    "hinge": Choice(losses.Hinge, "multi-class support vector machine"),
}

OPTIMIZERS: dict[str, Choice[optim.Optimizer]] = {
    "sgd": Choice(
        optim.SGD, "v = μv + g, step -ηv", takes("learning_rate", "momentum", "nesterov", "weight_decay")
    ),
    "ema-momentum": Choice(
        optim.EMAMomentum,
        "v = βv + (1-β)g, step -ηv",
        takes("learning_rate", "weight_decay", beta="momentum"),
    ),
    "rmsprop": Choice(
        optim.RMSprop, "g over the root of its running mean square", takes("learning_rate", "weight_decay")
    ),
    "adam": Choice(
        optim.Adam,
        "running mean of g over the root of its running mean square",
        takes("learning_rate", "weight_decay", beta1="momentum"),
    ),
    "adamw": Choice(
        optim.AdamW,
        "adam, with weights that shrink by ηλw",
        takes("learning_rate", "weight_decay", beta1="momentum"),
    ),
    "nadam": Choice(
        optim.NAdam,
        "adam, with Nesterov's momentum",
        takes("learning_rate", "weight_decay", beta1="momentum"),
    ),
    "adagrad": Choice(
        optim.Adagrad, "g over the root of its sum of squares", takes("learning_rate", "weight_decay")
    ),
    "lion": Choice(
        optim.Lion,
        "sign of a running mean of g, with weights that shrink by ηλw",
        takes("learning_rate", "weight_decay", beta1="momentum"),
    ),
}


def no_schedule() -> None:
    """None, which `Model.fit` takes for a constant learning rate."""


SCHEDULES: dict[str, Choice[schedules.Schedule | None]] = {
    "constant": Choice(no_schedule, "none"),
    "step": Choice(
        schedules.Step,
        "multiplied by --schedule-factor every --schedule-every epochs",
        takes(every="schedule_every", factor="schedule_factor"),
    ),
    "exponential": Choice(
        schedules.Exponential, "multiplied by --schedule-factor each epoch", takes(factor="schedule_factor")
    ),
    "cosine": Choice(
        schedules.Cosine, "linear warm-up, then half a cosine down to 0", takes("epochs", "warmup")
    ),
    "one-cycle": Choice(
        schedules.OneCycle, "half a cosine up, then half a cosine down to 0", takes("epochs")
    ),
    "plateau": Choice(
        schedules.ReduceOnPlateau,
        "multiplied by --schedule-factor if the validation loss does not fall for --schedule-every epochs",
        takes(factor="schedule_factor", patience="schedule_every"),
    ),
}
