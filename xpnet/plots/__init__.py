"""Pictures of a training and of a trained network. Each function returns a Matplotlib figure.

A notebook shows the figure by itself. `figure.savefig("picture.png")` writes it to a file.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xpnet._util.checks import one_network
from xpnet.errors import ConfigError
from xpnet.tree import ArrayLike

if TYPE_CHECKING:
    from xpnet.metrics import EpochMetrics
    from xpnet.model import Model
    from xpnet.plots.drawing import Picture

__all__ = ["confusion", "curves", "decision_boundary", "filters", "first_layer"]

# The functions import Matplotlib when they are called, so that `import xpnet` does not.


def curves(
    history: "Sequence[EpochMetrics]", best: "EpochMetrics | None" = None, title: str = ""
) -> "Picture":
    """Loss and accuracy of training, validation and test against the epoch.

    The legend says which metrics of the training they are, as `EpochMetrics.train_metrics` does. Without
    accuracies, the picture shows the loss alone.

    Arguments:
        history: what `Model.fit` returns, `Model.history`, or a part of it such as `history[5:]`; what
            `Ensemble.fit` returns: its means.
        best: an epoch to mark.
        title: a line above the picture.

    Raises ConfigError if the history is empty or holds something else.
    """
    from xpnet.plots import pictures

    history = history.means() if hasattr(history, "means") else history  # of an ensemble
    found = list(history) if isinstance(history, Sequence) else [history]
    others = [type(each).__name__ for each in found if not hasattr(each, "train_metrics")]
    if others or not found:
        got = others[0] if others else "none"
        raise ConfigError(f"curves: expected epochs, as Model.fit returns them, got {got}")
    return pictures.curves(found, best, title)


def confusion(
    model: "Model", x: ArrayLike, y: ArrayLike, class_names: Sequence[str] | None = None, title: str = ""
) -> "Picture":
    """The confusion matrix: the number of examples of each true class that the model gives each class.

    The diagonal is right; the colours are shares of the true class. Of more than 40 classes, those of the
    most frequent errors.

    Arguments:
        model: a trained model.
        x, y: inputs (n, ...) and their classes, as `Model.evaluate` takes them. Examples that the loss
            ignores do not count.
        class_names: a name for each class; None: their numbers.
        title: a line above the picture; none: the accuracy.

    Raises ConfigError if the targets are not classes, or the number of names is not that of the classes.
    """
    from xpnet.plots import networks

    _require_one("confusion", model)
    return networks.confusion(model, x, y, class_names, title)


def first_layer(model: "Model", image_shape: tuple[int, ...] | None = None, title: str = "") -> "Picture":
    """The weights into each unit of the first `Linear`, or the filters of the first `Conv2d`, as images.

    All images have the same scale. With 3 channels they are in colour, and grey is zero; with another number
    of channels, each channel is an image of its own. Of more than 64 images, the first 64.

    Arguments:
        model: a model.
        image_shape: for `Linear`, the shape (h, w) or (h, w, c) of the images that are its inputs. None: the
            shape in which the network gets them.
        title: a line above the picture; none: the layer.

    Raises ConfigError if the first layer with weights is another one, or its inputs are no images.
    """
    from xpnet.plots import networks

    _require_one("first_layer", model)
    return networks.first_layer(model, image_shape, title)


def filters(model: "Model", layer: int = 0, title: str = "") -> "Picture":
    """The filters of a `Conv2d` as images: a row for each filter, in it an image for each input channel.

    All images have the same scale. Of more than 16 filters or channels, the first 16. For a first layer with
    1 or 3 channels, `first_layer` shows each filter as one image.

    Arguments:
        model: a model.
        layer: the number of the `Conv2d` among all of the network's, in the order in which x reaches them,
            from 0; -1 is the last one. Of a `Residual`, those of the branch count.
        title: a line above the picture; none: the layer.

    Raises ConfigError if there is no such `Conv2d`.
    """
    from xpnet.plots import networks

    _require_one("filters", model)
    return networks.filters(model, layer, title)


def decision_boundary(
    model: "Model", x: ArrayLike, y: ArrayLike, class_names: Sequence[str] | None = None, title: str = ""
) -> "Picture":
    """The class that the model gives each point of the plane, and the examples, coloured by their classes.

    If the targets are not classes and the network has one output, the colours of the plane are the output.

    Arguments:
        model: a model whose network has two inputs.
        x, y: the examples (n, 2), the first 2,000 of which are shown, and their targets.
        class_names: a name for each class; None: their numbers.
        title: a line above the picture; none: the accuracy.

    Raises ConfigError if x is not (n, 2), or if the network has several outputs that are not classes.
    """
    from xpnet.plots import networks

    _require_one("decision_boundary", model)
    return networks.decision_boundary(model, x, y, class_names, title)


def _require_one(caller: str, model: "Model") -> None:
    """ConfigError for an ensemble."""
    if way_out := one_network(model):
        raise ConfigError(f"{caller}: expected a Model, got {type(model).__name__}{way_out}")
