"""`xpnet.plots` and the metrics of epochs as a table and a picture: what they show, and what they refuse."""

import copy
import pickle
import sys
from functools import cache
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import xpnet
from xpnet import losses, nn, optim, plots
from xpnet.errors import ConfigError
from xpnet.metrics import EpochMetrics, History
from xpnet.plots import networks
from xpnet.plots.drawing import Figure

ROWS = [
    EpochMetrics(1, 0.5, 0.7, None, None, 0.1, 1.0, 9.0),
    EpochMetrics(2, 0.25, 0.8, 0.6, 0.5, 0.1, 2.0, 4.5),
]
XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)


def model_of(*layers: nn.Layer, loss: losses.Loss | None = None) -> xpnet.Model:
    net = layers[0] if len(layers) == 1 else nn.Sequential(*layers)
    return xpnet.Model(net, loss or losses.CrossEntropy(), optim.SGD(0.1), dtype="float64")


@cache
def gates() -> xpnet.Model:
    """A linear classifier that says 1 where the first input is above 1/2."""
    model = model_of(nn.Linear(2, 2))
    model.params = {"weight": np.array([[0.0, 2.0], [0, 0]]), "bias": np.array([1.0, 0.0])}
    return model


# History.


def test_the_history_is_a_list() -> None:
    model = model_of(nn.Linear(2, 2))
    history = model.fit(XOR, [0, 1, 1, 0], epochs=3)
    assert type(history) is type(model.history) is History
    assert history == model.history == list(history)
    assert [*history[1:], history[0]] == history[1:] + history[:1]
    for made in (copy.copy(history), copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
        assert type(made) is History
        assert made == history
    assert repr(history) == repr(list(history))


def test_a_frame_has_the_fields_of_the_epochs() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = History(ROWS).to_frame()
    assert list(frame.columns) == list(EpochMetrics._fields)
    assert frame["epoch"].tolist() == [1, 2]
    np.testing.assert_array_equal(frame["validation_loss"], [np.nan, 0.6])
    assert frame["test_loss"].isna().all()
    assert {str(kind) for kind in frame.dtypes[1:-1]} == {"float64"}
    assert frame["train_metrics"].tolist() == ["running"] * 2
    assert list(History().to_frame().columns) == list(EpochMetrics._fields)


def test_without_pandas_an_error_tells_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        ConfigError, match=r"to_frame: expected pandas, got none: pip install pandas; .* is a column"
    ):
        History(ROWS).to_frame()


def test_a_notebook_shows_the_epochs_as_a_table() -> None:
    def shown(rows: list[EpochMetrics]) -> list[list[str | None]]:
        page = ElementTree.fromstring(str(History(rows)._repr_html_()))  # and so is well-formed
        return [[cell.text for cell in row] for row in page.iter("tr")]

    head, *rows = shown(ROWS)
    names = "epoch train_loss train_accuracy validation_loss validation_accuracy learning_rate"
    assert head == [*names.split(), "train_metrics"]
    assert rows[0] == ["1", "0.5000", "0.7000", None, None, "0.1", "running"]
    assert rows[1] == ["2", "0.2500", "0.8000", "0.6000", "0.5000", "0.1", "running"]
    assert shown([row._replace(test_loss=123.456, train_loss=1.5e-7) for row in ROWS])[1][1:4:2] == [
        "1.500e-07",
        None,
    ]
    assert "test_loss" in shown([ROWS[0], ROWS[1]._replace(test_loss=1234567.0)])[0]
    epochs = [row[0] for row in shown([ROWS[0]._replace(epoch=i) for i in range(1, 100)])]
    assert epochs == ["epoch", *map(str, range(1, 11)), "…", *map(str, range(90, 100))]
    assert History()._repr_html_() is None


def lines(figure: Figure) -> dict[str, dict[str, Any]]:
    return {
        axes.get_ylabel(): {line.get_label(): list(line.get_ydata()) for line in axes.lines}
        for axes in figure.axes
    }


def test_the_plot_of_a_history_names_its_lines() -> None:
    figure = History([row._replace(train_metrics="end") for row in ROWS]).plot("a title")
    assert isinstance(figure, Figure)
    shown = lines(figure)
    assert list(shown) == ["loss", "accuracy"]
    assert shown["loss"]["training, end of epoch"] == [0.5, 0.25]
    np.testing.assert_array_equal(shown["loss"]["validation, end of epoch"], [np.nan, 0.6])
    assert list(lines(plots.curves(ROWS))["accuracy"]) == [
        "training, mean during the epoch",
        "validation, end of epoch",
    ]
    assert "best epoch, 2: 0.5000" in lines(plots.curves(ROWS, best=ROWS[1]))["accuracy"]
    assert figure.get_suptitle() == "a title"


def test_the_legend_of_the_curves_hides_the_lines_below_it() -> None:
    """After one epoch the mark of the best one goes through the middle of the picture, and through the legend."""
    for axes in plots.curves(ROWS[:1], best=ROWS[0]).axes:
        frame = axes.get_legend().get_frame()
        assert frame.get_visible()
        assert frame.get_alpha() > 0.8
        assert frame.get_facecolor()[:3] == (1, 1, 1)


def test_without_accuracies_the_loss_is_shown_alone() -> None:
    rows = [row._replace(train_accuracy=None, validation_accuracy=None) for row in ROWS]
    assert list(lines(plots.curves(rows))) == ["loss"]


@pytest.mark.parametrize(("history", "got"), [([], "none"), (3, "int"), ([1.0], "float")])
def test_curves_of_something_else_are_refused(history: Any, got: str) -> None:
    with pytest.raises(ConfigError, match=f"curves: expected epochs, as Model.fit returns them, got {got}$"):
        plots.curves(history)


def test_a_notebook_shows_a_figure_by_itself() -> None:
    assert plots.curves(ROWS)._repr_png_().startswith(b"\x89PNG")


# The confusion matrix.


def counts(figure: Figure) -> dict[tuple[int, int], str]:
    """By (true, predicted)."""
    return {text.get_position()[::-1]: text.get_text() for text in figure.axes[0].texts}


@pytest.mark.parametrize("y", [[0, 1, 1, 1], [[1, 0], [0, 1], [0, 1], [0, 1]]])
def test_a_confusion_matrix_counts_the_answers(y: Any) -> None:
    figure = plots.confusion(gates(), XOR, y, ["no", "yes"])
    assert counts(figure) == {(0, 0): "1", (1, 0): "1", (1, 1): "2"}
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["no", "yes"]
    assert figure.get_suptitle() == "accuracy 0.7500 of 4 examples"


def test_every_loss_with_classes_has_a_confusion_matrix() -> None:
    one = model_of(nn.Linear(2, 1), loss=losses.BinaryCrossEntropy())
    one.params = {"weight": np.array([[2.0], [0]]), "bias": np.array([-1.0])}
    wanted = {(0, 0): "1", (1, 0): "1", (1, 1): "2"}
    assert counts(plots.confusion(one, XOR, [0, 1, 1, 1])) == wanted
    assert counts(plots.confusion(one, XOR, [[0.0], [1], [1], [1]])) == wanted
    squares = model_of(nn.Linear(2, 2), loss=losses.MeanSquaredError())
    squares.params = gates().params
    assert counts(plots.confusion(squares, XOR, [0, 1, 1, 1])) == wanted
    ignoring = model_of(nn.Linear(2, 2), loss=losses.CrossEntropy(ignore_label=-7))
    ignoring.params = gates().params
    assert counts(plots.confusion(ignoring, XOR, [0, -7, 1, 1])) == {(0, 0): "1", (1, 1): "2"}


def test_what_has_no_confusion_matrix_is_refused() -> None:
    for loss, n_out, y in (
        (losses.MeanSquaredError(), 1, XOR[:, :1]),
        (losses.MeanSquaredError(), 2, XOR),
        (losses.BinaryCrossEntropy(), 2, XOR),  # two answers of their own
    ):
        with pytest.raises(
            ConfigError, match="confusion: expected targets that are one class each, got those of"
        ):
            plots.confusion(model_of(nn.Linear(2, n_out), loss=loss), XOR, y)
    with pytest.raises(ConfigError, match="confusion: expected 2 class_names, got 3"):
        plots.confusion(gates(), XOR, [0, 1, 1, 1], "abc")


def test_arrays_of_the_backend_are_taken() -> None:
    net = nn.Linear(2, 2)
    model = xpnet.Model(
        net, losses.CrossEntropy(), optim.SGD(0.1), backend="array-api-strict", dtype="float64"
    )
    model.params = gates().params
    x, y = model.prepare(XOR, [0, 1, 1, 1])
    assert counts(plots.confusion(model, x, y)) == {(0, 0): "1", (1, 0): "1", (1, 1): "2"}
    assert len(plots.decision_boundary(model, x, y).axes[0].collections) == 2
    assert networks.first_images(model, (2, 1))[1].shape == (2, 2, 1, 1)


# The weights of the first layer.


def test_the_weights_of_units_are_images() -> None:
    model = model_of(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2))
    model.predict(np.zeros((1, 3, 4)))
    layer, images = networks.first_images(model)
    assert layer == model.net.layers[1]
    np.testing.assert_array_equal(images[2, :, :, 0].ravel(), model.params[1]["weight"][:, 2])
    assert images.shape == (5, 3, 4, 1)
    figure = plots.first_layer(model)
    assert figure.get_suptitle() == "weights of Linear(12, 5): 5 units"
    tiled = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(tiled[:3, 5:9], images[1, :, :, 0])
    assert tiled.mask[3].all()  # the gap
    assert networks.first_images(model, (2, 2, 3))[1].shape == (5, 2, 2, 3)


def test_the_filters_of_a_convolution_are_images() -> None:
    for channels, shape in ((1, (4, 3, 3, 1)), (3, (4, 3, 3, 3)), (2, (8, 3, 3, 1))):
        model = model_of(nn.Residual(nn.Conv2d(channels, 4, 3), nn.Conv2d(channels, 4, 3)), nn.ReLU())
        images = networks.first_images(model)[1]
        weight = model.params[0]["branch"]["weight"]
        assert images.shape == shape
        np.testing.assert_array_equal(
            images[1, :, :, 0], weight[..., 1, 0] if channels == 2 else weight[..., 0, 1]
        )
        assert plots.first_layer(model).get_suptitle() == f"weights of Conv2d({channels}, 4, 3): 4 filters"
    weight = np.zeros((1, 2, 2, 3))
    weight[0, 0, 0, 0] = -0.5
    tiled, scale = networks.mosaic(weight)
    assert scale == 0.5
    assert networks.shades(tiled, scale)[0, 0].tolist() == [0, 0.5, 0.5]


def test_images_of_averaged_weights_are_those_that_predict() -> None:
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm(4), nn.Linear(4, 2))
    model = xpnet.Model(net, losses.CrossEntropy(), optim.AverageWeights(optim.SGD(0.5), 0.9))
    model.fit(np.eye(4).reshape(4, 2, 2), [0, 1, 0, 1], epochs=3)
    images = networks.first_images(model)[1]
    np.testing.assert_array_equal(images[:, :, :, 0].reshape(2, 4).T, model.snapshot()[2]["weight"])
    assert not np.array_equal(model.snapshot()[2]["weight"], model.params[2]["weight"])


def test_what_has_no_images_is_refused() -> None:
    model = model_of(nn.Linear(12, 2))
    with pytest.raises(
        ConfigError, match=r"images \(h, w\) or \(h, w, c\) of 12 numbers .*, got no x yet; pass image"
    ):
        plots.first_layer(model)
    with pytest.raises(ConfigError, match=r"got \(5, 5\); pass image_shape"):
        plots.first_layer(model, (5, 5))
    model.predict(np.zeros((1, 12)))
    with pytest.raises(ConfigError, match=r"got \(12,\); pass image_shape"):
        plots.first_layer(model)
    with pytest.raises(
        ConfigError,
        match=r"first_layer: expected Linear or Conv2d as the first with weights, got Embedding\(5, 2\)",
    ):
        plots.first_layer(model_of(nn.Embedding(5, 2), nn.Flatten(), nn.Linear(6, 2)))
    with pytest.raises(ConfigError, match="first_layer: expected a network with a Linear or Conv2d"):
        plots.first_layer(model_of(nn.Identity()))


def test_the_filters_of_each_convolution_are_rows_of_images() -> None:
    first, second = nn.Conv2d(1, 3, 5), nn.Conv2d(3, 18, (2, 3))
    model = model_of(first, nn.Residual(nn.Sequential(nn.ReLU(), second), nn.Conv2d(3, 18, 1)), nn.Flatten())
    weight = model.params[1]["branch"][1]["weight"]
    for number in (1, -1):
        figure = plots.filters(model, number)
        tiled = figure.axes[0].images[0].get_array()
        assert tiled.shape == (16 * (2 + 1) - 1, 3 * (3 + 1) - 1)
        np.testing.assert_array_equal(tiled[3 * 5 : 3 * 5 + 2, 4 : 4 + 3], weight[:, :, 1, 5])
        title = " ".join(figure.get_suptitle().split())  # it is in two lines
        assert title == f"weights of {second}: 16 of 18 filters, 3 channels"
        np.testing.assert_array_equal(figure.axes[0].get_xticks(), [1, 5, 9])
    assert plots.filters(model).get_suptitle() == "weights of Conv2d(1, 3, 5): 3 filters, 1 channel"


def test_what_has_no_filters_is_refused() -> None:
    model = model_of(nn.Conv2d(1, 3, 5), nn.Flatten())
    for number, message in (
        (1, "at most 0, got 1"),
        (-2, "an integer of at least -1, got -2"),
        (0.0, "an integer"),
    ):
        with pytest.raises(ConfigError, match=f"filters: expected layer to be {message}"):
            plots.filters(model, number)
    with pytest.raises(ConfigError, match=r"filters: expected a network with a Conv2d, got Linear\(2, 2\)"):
        plots.filters(model_of(nn.Linear(2, 2)))


# The plane.


def test_the_plane_has_the_colours_of_the_answers() -> None:
    figure = plots.decision_boundary(gates(), XOR, [0, 1, 1, 1], ["no", "yes"])
    (axes,) = figure.axes
    answers = axes.images[0].get_array()
    assert (answers[:, :100] == 0).all()
    assert (answers[:, 101:] == 1).all()
    np.testing.assert_allclose(axes.images[0].get_extent(), [-0.1, 1.1, -0.1, 1.1])
    assert [points.get_offsets().tolist() for points in axes.collections] == [
        [[0, 0]],
        [[0, 1], [1, 0], [1, 1]],
    ]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["no", "yes"]
    assert figure.get_suptitle() == "accuracy 0.7500"


def test_the_plane_of_one_output_has_its_colours() -> None:
    model = model_of(nn.Linear(2, 1), loss=losses.MeanSquaredError())
    figure = plots.decision_boundary(model, XOR, [[0.0], [1], [1], [0]])
    plane, points = figure.axes[0].collections
    assert points.get_array().tolist() == [0, 1, 1, 0]
    assert points.get_clim() == plane.get_clim()


def test_what_is_no_plane_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"decision_boundary: expected x of shape \(n, 2\), got \(4, 3\)"):
        plots.decision_boundary(model_of(nn.Linear(3, 2)), np.ones((4, 3)), [0, 1, 1, 0])
    with pytest.raises(
        ConfigError, match="decision_boundary: expected classes, or a network with one output, got"
    ):
        plots.decision_boundary(model_of(nn.Linear(2, 2), loss=losses.MeanSquaredError()), XOR, XOR)
