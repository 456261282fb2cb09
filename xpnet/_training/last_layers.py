"""What the end of a network says about its loss before any data: the outputs' number, a softmax too many."""

import warnings
from collections.abc import Iterator

from xpnet import nn
from xpnet.losses import BinaryCrossEntropy, CrossEntropy, Loss
from xpnet.nn import Layer

_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)
_MASKS = (nn.Identity, nn.Dropout, nn.GaussianNoise)
_SAME_COLUMNS = (
    *(*_POOLS, *_MASKS, nn.GlobalAvgPool, nn.BatchNorm, nn.LayerNorm, nn.GroupNorm),
    *(nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Softplus, nn.Sigmoid, nn.Tanh, nn.Softmax),
)


def check(net: Layer, loss: Loss) -> None:
    """ConfigError if the loss cannot judge the network's outputs, as far as its last layers tell."""
    n_out = outputs(net)
    if n_out is not None:
        loss.check_outputs(n_out)


def warn(net: Layer, loss: Loss, stacklevel: int) -> None:
    """Warn of probabilities where the loss expects logits."""
    wrong: tuple[type[Layer], ...] = ()
    if type(loss) is CrossEntropy:
        wrong, name = (nn.Softmax,), "softmax"
    elif type(loss) is BinaryCrossEntropy:
        wrong, name = (nn.Sigmoid, nn.Softmax), "sigmoid"
    last = next((layer for layer in _from_the_end(net) if type(layer) not in (*_MASKS, nn.Flatten)), None)
    if isinstance(last, wrong):
        warnings.warn(
            f"Model: expected a network that returns logits for {loss}, got one that ends in {last}; the "
            f"loss applies the {name} itself: leave {last} out, predict_proba gives probabilities",
            stacklevel=stacklevel + 1,
        )


def outputs(net: Layer) -> int | None:
    """The length of the last axis of the network's output; None if the last layers do not tell."""
    flattened = False
    for layer in _from_the_end(net):
        if type(layer) is nn.Linear:
            return layer.n_out
        if type(layer) in (nn.Conv1d, nn.Conv2d) and not flattened:
            return layer.out_channels  # type: ignore[attr-defined]
        if type(layer) is nn.Embedding and not flattened:
            return layer.features
        if type(layer) is nn.Residual:
            found = outputs(layer.branch) or outputs(layer.shortcut)
            return None if flattened else found
        flattened = type(layer) is nn.Flatten or (flattened and type(layer) is not nn.GlobalAvgPool)
        if type(layer) not in (*_SAME_COLUMNS, nn.Flatten):
            return None
    return None


def _from_the_end(net: Layer) -> Iterator[Layer]:
    """The layers of nested `Sequential`s, the last one first."""
    if type(net) is nn.Sequential:
        for layer in reversed(net.layers):
            yield from _from_the_end(layer)
    else:
        yield net
