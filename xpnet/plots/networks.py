"""Pictures of a trained network: its errors, its first weights, its answers in the plane."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xpnet import nn
from xpnet._util.checks import require_integer
from xpnet._util.text import some
from xpnet.errors import ConfigError
from xpnet.nn import Layer
from xpnet.nn._layer import Shape, show_shape
from xpnet.plots.drawing import COLORS, Axes, ListedColormap, Picture, defaults, ticker
from xpnet.plots.pictures import add_title, short_names
from xpnet.plots.pictures import confusion as draw_confusion
from xpnet.tree import ArrayLike, Tree

if TYPE_CHECKING:
    from xpnet.model import Model

MOST_IMAGES = 64
MOST_FILTERS = 16
MOST_POINTS = 2000
ACROSS = 201  # points of the plane in each direction
MARKERS = "osD^vP*"
FEW = 10  # classes in a legend


def confusion(
    model: "Model", x: ArrayLike, y: ArrayLike, class_names: Sequence[str] | None, title: str
) -> Picture:
    """`xpnet.plots.confusion`."""
    seen = _judged(model, x, y)
    if seen.labels is None:
        raise ConfigError(f"confusion: expected targets that are one class each, {_got(model)}")
    names, counted = _names("confusion", class_names, seen.classes), seen.labels >= 0
    title = title or f"accuracy {seen.accuracy:.4f} of {np.count_nonzero(counted):,} examples"
    return draw_confusion(seen.labels[counted], seen.classes_of(model.predict(x))[counted], names, title)


def first_layer(model: "Model", image_shape: tuple[int, ...] | None, title: str) -> Picture:
    """`xpnet.plots.first_layer`."""
    layer, images = first_images(model, image_shape)
    units = f"{layer.n_out} units" if isinstance(layer, nn.Linear) else f"{layer.out_channels} filters"
    if len(images) > MOST_IMAGES:
        units = f"{MOST_IMAGES} of {units}"
    tiled, scale = mosaic(images[:MOST_IMAGES])
    return _weights(tiled, scale, title or f"weights of {layer}: {units}")[0]


def filters(model: "Model", number: int, title: str) -> Picture:
    """`xpnet.plots.filters`."""
    parts = [(each, params) for each, params, _ in _parts(model.net, model.snapshot(), None)]
    found = [(each, params["weight"]) for each, params in parts if isinstance(each, nn.Conv2d)]
    if not found:
        raise ConfigError(f"filters: expected a network with a Conv2d, got {model.net}")
    number = require_integer("filters", "layer", number, -len(found))
    if number >= len(found):
        raise ConfigError(f"filters: expected layer to be at most {len(found) - 1}, got {number}")
    layer, weight = found[number]
    images = np.transpose(model.backend.to_numpy(weight), (3, 2, 0, 1))[:MOST_FILTERS, :MOST_FILTERS]
    rows, columns, height, width = images.shape
    sizes = ((layer.out_channels, "filter"), (layer.in_channels, "channel"))
    shown = (f"{MOST_FILTERS} of " * (n > MOST_FILTERS) + some(n, noun) for n, noun in sizes)
    tiled, scale = mosaic(images.reshape(-1, height, width, 1), across=columns)
    figure, axes = _weights(tiled, scale, title or f"weights of {layer}: {', '.join(shown)}")
    axes.set(xlabel="channel", ylabel="filter")
    axes.set_axis_on()
    axes.spines[:].set_visible(False)
    gap = _gap(height)
    for axis, count, size in (axes.xaxis, columns, width), (axes.yaxis, rows, height):
        axis.set_ticks(
            [i * (size + gap) + (size - 1) / 2 for i in range(count)], list(map(str, range(count)))
        )
    axes.tick_params(length=0)
    return figure


def _weights(tiled: np.ndarray, scale: float, title: str) -> tuple[Picture, Axes]:
    """Images side by side, in shades of red and blue or in colour."""
    with defaults([title]):
        height, width = tiled.shape[:2]
        size = 6 / max(height, width)
        figure = Picture(figsize=(max(4.5, width * size + 1.2), height * size + 0.6), layout="constrained")
        add_title(figure, title)
        axes = figure.subplots()
        axes.set_axis_off()
        if tiled.ndim == 2:
            shown = axes.imshow(tiled, cmap="RdBu_r", vmin=-scale, vmax=scale, interpolation="nearest")
            figure.colorbar(shown, shrink=0.8)
        else:
            axes.imshow(shades(tiled, scale), interpolation="nearest")
    return figure, axes


def decision_boundary(
    model: "Model", x: ArrayLike, y: ArrayLike, class_names: Sequence[str] | None, title: str
) -> Picture:
    """`xpnet.plots.decision_boundary`."""
    seen, points = _judged(model, x, y), _on_host(model, x)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ConfigError(f"decision_boundary: expected x of shape (n, 2), got {show_shape(points.shape)}")
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.1 * np.where(high > low, high - low, 1.0)
    u, v = np.linspace(low - margin, high + margin, ACROSS).T
    plane = np.stack([each.ravel() for each in np.meshgrid(u, v)], axis=1)
    answers = model.predict(plane, batch_size=4096)
    if seen.labels is None and (answers.ndim > 1 and answers.shape[1] > 1):
        raise ConfigError(f"decision_boundary: expected classes, or a network with one output, {_got(model)}")
    title = title or ("" if seen.accuracy is None else f"accuracy {seen.accuracy:.4f}")
    with defaults([title, *map(str, class_names or ())]):
        figure = Picture(figsize=(5.6, 5), layout="constrained")
        add_title(figure, title)
        axes = figure.subplots()
        if seen.labels is None:
            _output(figure, axes, u, v, answers.reshape(ACROSS, ACROSS), points, _on_host(model, y))
        else:
            names = _names("decision_boundary", class_names, seen.classes)
            classes = seen.classes_of(answers).reshape(ACROSS, ACROSS)
            _regions(axes, u, v, classes, points[:MOST_POINTS], seen.labels[:MOST_POINTS], names)
        axes.set(xlabel="first input", ylabel="second input", xlim=(u[0], u[-1]), ylim=(v[0], v[-1]))
    return figure


def _regions(
    axes: Axes, u: np.ndarray, v: np.ndarray, answers: np.ndarray, points: np.ndarray, labels: np.ndarray,
    names: Sequence[str],
) -> None:  # fmt: skip
    """A light colour for the class of each point of the plane, and the examples on top."""
    colors = [COLORS[i % len(COLORS)] for i in range(len(names))]
    axes.imshow(
        answers, extent=(u[0], u[-1], v[0], v[-1]), origin="lower", aspect="auto", alpha=0.3,
        cmap=ListedColormap(colors), vmin=-0.5, vmax=len(names) - 0.5, interpolation="nearest",
    )  # fmt: skip
    for i, (color, name) in enumerate(zip(colors, short_names(names, np.arange(len(names))), strict=True)):
        of_class = points[labels == i]
        marker = MARKERS[i % len(MARKERS)]
        axes.scatter(
            of_class[:, 0],
            of_class[:, 1],
            s=_size(points),
            color=color,
            marker=marker,
            edgecolor="white",
            linewidth=0.5,
            label=name,
        )
    if len(names) <= FEW:
        for text in axes.legend(title="class").get_texts():
            text.set_parse_math(False)


def _output(
    figure: Picture, axes: Axes, u: np.ndarray, v: np.ndarray, output: np.ndarray, points: np.ndarray,
    target: np.ndarray,
) -> None:  # fmt: skip
    """The output in the plane, and the examples in the colours of their targets, on the same scale."""
    target = target.reshape(len(points), -1)[:, 0]
    low = min(output.min(), target.min())
    high = max(output.max(), target.max(), low + 1e-12)
    levels = ticker.MaxNLocator(20).tick_values(low, high)
    shown = axes.contourf(u, v, output, levels=levels, cmap="viridis")
    axes.scatter(
        points[:MOST_POINTS, 0],
        points[:MOST_POINTS, 1],
        s=_size(points),
        c=target[:MOST_POINTS],
        cmap="viridis",
        vmin=levels[0],
        vmax=levels[-1],
        edgecolor="white",
        linewidth=0.5,
    )
    figure.colorbar(shown, label="output; the examples: their targets")


def _size(points: np.ndarray) -> float:
    """The area of a point: larger where there are few."""
    return 80 if len(points) < 50 else 16


# Weights as images.


def first_images(model: "Model", image_shape: tuple[int, ...] | None = None) -> tuple[Any, np.ndarray]:
    """The first layer with weights, and its weights as images (images, h, w, c), c = 1 or 3."""
    seen = None if model.input_shape is None else ("n", *model.input_shape)
    shapes: list[Shape] = []
    for layer, params, shape in _parts(model.net, model.snapshot(), seen):
        shapes += [] if shape is None else [shape[1:]]
        if isinstance(layer, nn.Linear | nn.Conv2d):
            weight = model.backend.to_numpy(params["weight"])
            if isinstance(layer, nn.Linear):
                height, width, *channels = _image_shape(layer, shapes, image_shape)
                weight = weight.reshape(height, width, *(channels or [1]), layer.n_out)
            images = np.moveaxis(weight, -1, 0)
            if images.shape[-1] not in (1, 3):
                images = np.moveaxis(images, -1, 1).reshape(-1, *images.shape[1:3], 1)
            return layer, images
        if "weight" in params:
            raise ConfigError(
                f"first_layer: expected Linear or Conv2d as the first with weights, got {layer}"
            )
    raise ConfigError(f"first_layer: expected a network with a Linear or Conv2d, got {model.net}")


def _parts(net: Layer, params: Tree, shape: Shape | None) -> Iterator[tuple[Layer, Tree, Shape | None]]:
    """The layers in the order in which x reaches them, each with its parameters and its input's shape.

    Of a `Residual`, those of the branch.
    """
    if isinstance(net, nn.Tied):
        yield from _parts(net.net, net.of_net(params), shape)
    elif isinstance(net, nn.Sequential):
        for layer, branch in zip(net.layers, params, strict=True):
            yield from _parts(layer, branch, shape)
            shape = None if shape is None else layer.output_shape(shape)
    elif isinstance(net, nn.Residual):
        yield from _parts(net.branch, params["branch"], shape)
    else:
        yield net, params, shape


def _image_shape(layer: nn.Linear, shapes: list[Shape], given: tuple[int, ...] | None) -> Shape:
    """(h, w) or (h, w, c): as given, or the last one before the layer that holds all its inputs."""
    for shape in reversed(shapes) if given is None else [tuple(given)]:
        if len(shape) in (2, 3) and math.prod(shape) == layer.n_in:
            return shape
    got = shapes[0] if given is None and shapes else given
    raise ConfigError(
        f"first_layer: expected images (h, w) or (h, w, c) of {layer.n_in} numbers as the inputs of {layer}, "
        f"got {'no x yet' if got is None else show_shape(tuple(got))}; pass image_shape=(h, w)"
    )


def mosaic(images: np.ndarray, across: int | None = None) -> tuple[np.ndarray, float]:
    """The images (n, h, w, c) side by side with gaps, `across` of them in a row, and the largest weight |w|.

    They are NaN in the gaps. Shapes: (height, width) with c = 1, (height, width, 3) with c = 3.
    """
    n, height, width, channels = images.shape
    scale = float(np.abs(images).max()) or 1.0
    gap = _gap(height)
    across = across or math.ceil(math.sqrt(n))
    down = math.ceil(n / across)
    tiled = np.full((down * (height + gap) - gap, across * (width + gap) - gap, channels), np.nan)
    for i, image in enumerate(images):
        top, left = i // across * (height + gap), i % across * (width + gap)
        tiled[top : top + height, left : left + width] = image
    return (tiled[..., 0] if channels == 1 else tiled), scale


def _gap(height: int) -> int:
    """The space between two images, in weights."""
    return max(1, height // 14)


def shades(tiled: np.ndarray, scale: float) -> np.ndarray:
    """The weights as shades from 0 to 1: 0.5 is zero, and gaps are white."""
    return np.nan_to_num(0.5 + tiled / (2 * scale), nan=1.0)


# Classes.


class _Judged(NamedTuple):
    """The answers of a model: the true classes, -1 where the loss ignores the example.

    Fields:
        labels: (n,); None if the targets are not one class each.
        classes: the number of classes.
        accuracy: as `Model.evaluate` gives it.
    """

    labels: np.ndarray | None
    classes: int
    accuracy: float | None

    @staticmethod
    def classes_of(answers: np.ndarray) -> np.ndarray:
        """The class of each answer of `Model.predict`: of a loss without classes, the largest output."""
        return answers if answers.ndim == 1 else answers.argmax(axis=-1)


def _judged(model: "Model", x: ArrayLike, y: ArrayLike) -> _Judged:
    """Judge the answers to x, which also checks x and y."""
    accuracy = model.evaluate(x, y).accuracy
    assert model.input_shape is not None
    loss, shape = model.loss_function, model.net.output_shape(("n", *model.input_shape))
    classes, target = loss.classes(shape[-1]), _on_host(model, y)
    answer = model.predict(model.backend.numbers(x)[:1])
    several = answer.ndim > 1 and answer.dtype.kind != "f"  # classes, of `BinaryCrossEntropy`
    if accuracy is None or several:
        return _Judged(None, classes, accuracy)
    ignored = getattr(loss, "ignore_label", None)
    if target.ndim == 2 and target.shape[1] > 1:
        labels, counts = target.argmax(axis=-1), (ignored is None) | (target != 0).any(axis=-1)
    else:
        target = target.reshape(-1)
        labels = (target > 0.5 if shape[-1] == 1 else target).astype(int)
        counts = np.full(len(labels), True) if ignored is None else labels != ignored
    return _Judged(np.where(counts, labels, -1), classes, accuracy)


def _on_host(model: "Model", values: ArrayLike) -> np.ndarray:
    return np.asarray(model.backend.numbers(values)[...])


def _names(caller: str, names: Sequence[str] | None, classes: int) -> list[str]:
    if names is None:
        return [str(i) for i in range(classes)]
    if len(names) != classes:
        raise ConfigError(f"{caller}: expected {classes} class_names, got {len(names)}")
    return [str(name) for name in names]


def _got(model: "Model") -> str:
    """What the targets are instead."""
    return f"got those of {model.loss_function} after {model.net}"
