"""Convolution by hand.

An image of 6×6 numbers and a filter of 3×3 are so small that every product can be checked on paper. They show
the parts of a convolutional network: convolution, zero padding and pooling.

As usual in deep learning, the filter is not flipped: `nn.Conv2d` computes a correlation.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xpnet import nn
from xpnet.studies.options import Options
from xpnet.studies.report import Report
from xpnet.train.drawing import Figure, Rectangle

IMAGE = np.array(
    [
        [-1, 0, -2, 3, 4, 1],
        [2, 9, 5, 6, 0, -1],
        [0, -3, 1, 3, 4, 4],
        [6, 5, 2, 0, 6, 8],
        [-5, 4, -3, 1, 3, -2],
        [4, 1, 2, 8, 9, 7],
    ],
    float,
)
FILTER = np.array([[-2, -2, -2], [-2, 5, -2], [-2, -2, -2]], float)
AVERAGE = np.full((2, 2), 1 / 4)
LETTERS = "ABCDEFGHIJKLMNOP"  # of the outputs, row by row
J = LETTERS.index("J")


class Grids(NamedTuple):
    """The outputs of the layers for the image."""

    valid: np.ndarray
    same: np.ndarray
    pooled: np.ndarray
    averaged: np.ndarray


def grids(options: Options) -> Grids:
    """The convolution without and with zero padding, average pooling, and the convolution that equals it.

    Shapes: (4, 4), (6, 6), (3, 3), (3, 3).
    """
    return Grids(
        valid=_apply(options, nn.Conv2d(1, 1, kernel_size=3, bias=False), FILTER),
        same=_apply(options, nn.Conv2d(1, 1, kernel_size=3, padding="same", bias=False), FILTER),
        pooled=_apply(options, nn.AvgPool2d(kernel_size=2, stride=2)),
        averaged=_apply(options, nn.Conv2d(1, 1, kernel_size=2, stride=2, bias=False), AVERAGE),
    )


def _apply(options: Options, layer: nn.Layer, kernel: np.ndarray | None = None) -> np.ndarray:
    """The layer's output for the image, as a grid: one example, one channel."""
    backend = options.make_backend("float64")
    params = {} if kernel is None else {"weight": backend.asarray(kernel[:, :, None, None])}
    y, _ = layer.forward(params, backend.asarray(IMAGE[None, :, :, None]))
    return backend.to_numpy(y)[0, :, :, 0]


def run(options: Options, report: Report) -> None:
    """Show all grids as pictures, and compare the numbers that are known beforehand."""
    result = grids(options)
    _valid(result.valid, report)
    _same(result, report)
    _pooling(result, report)


def _valid(valid: np.ndarray, report: Report) -> None:
    report.section("Convolution without padding")
    row, column = divmod(J, valid.shape[1])
    window = IMAGE[row : row + 3, column : column + 3]
    products = [f"{_factor(w)}·{_factor(x)}" for w, x in zip(FILTER.flat, window.flat, strict=True)]
    lines = [" + ".join(products[i : i + 3]) for i in (0, 3, 6)]
    report.text(
        f"The filter is placed at each of the {valid.shape[0]}×{valid.shape[1]} positions where it fits. "
        "Each output is the sum of nine products of a weight and the number under it. The outputs are called "
        f"A, B, C and so on, row by row. J is in row {row + 1}, column {column + 1}:"
    )
    report.code("J =   {}\n    + {}\n    + {}\n  = {}".format(*lines, _number(valid.flat[J])))
    report.figure(
        [
            _picture([Grid("image", IMAGE, marked=(row, column)), Grid("filter", FILTER)]),
            _picture([Grid("output", valid, marked=(row, column), mark=1, letters=True)]),
        ],
        "The window of J in the image, the filter, and the outputs with their letters.",
    )
    _table(report, "valid", valid, "The convolution without padding.")
    report.expect("J is -6.", f"J is {_number(valid.flat[J])}.", valid.flat[J] == -6)


def _same(result: Grids, report: Report) -> None:
    report.section("Zero padding for the same size")
    k, n = len(FILTER), len(IMAGE)
    rows = []
    for p in range(k):
        _, height, width, _ = nn.Conv2d(1, 1, kernel_size=k, padding=p).output_shape((1, n, n, 1))
        rows.append([p, f"{n} + 2·{p} - {k} + 1", f"{height}×{width}", (height, width) == IMAGE.shape])
    keeping = [p for p, _, _, keeps in rows if keeps]
    report.table(
        "padding",
        ["zeros p", "n + 2p - k + 1", "output", "same size"],
        rows,
        f"The size of the output for n = {n}, k = {k} and p zeros on each side.",
    )
    report.text(
        f"For an image of n×n and a filter of k×k, the size stays the same with p = (k - 1)/2, here "
        f'{(k - 1) / 2:g}. `padding="same"` computes it. Where the filter lies within the image, nothing '
        "changes: the inner outputs equal those without padding."
    )
    report.figure(
        [
            _picture([Grid("image with zeros around", np.pad(IMAGE, 1), border=True)]),
            _picture([Grid("output", result.same, border=True)]),
        ],
        "Grey: the zeros that padding adds around the image, and the outputs that depend on them.",
    )
    _table(report, "same", result.same, "The convolution with zero padding.")
    report.expect(
        "One zero on each side, (k - 1)/2, keeps the size of 6×6.",
        f"The size is kept with p = {', '.join(map(str, keeping))}.",
        keeping == [1],
    )
    inner = result.same[1:-1, 1:-1]
    report.expect(
        "Without its border, the padded output is the output without padding.",
        f"The largest difference is {_number(np.abs(inner - result.valid).max())}.",
        np.array_equal(inner, result.valid),
    )
    tenth, (row, column) = result.same.flat[J], divmod(J, result.same.shape[1])
    report.text(
        f"Counted in this larger output, the tenth number is in row {row + 1}, column {column + 1}, and has "
        f"another window than J. It is {_number(tenth)}, "
        + ("by chance the same number." if tenth == result.valid.flat[J] else "a different number.")
    )


def _pooling(result: Grids, report: Report) -> None:
    report.section("Average pooling is a convolution")
    report.text(
        "Average pooling of 2×2 with stride 2 replaces each block of four numbers by their mean. A "
        "convolution with that stride whose four weights are 1/4 adds up the same products. So average "
        "pooling is a convolution with fixed weights, applied to each channel separately."
    )
    report.figure(
        [
            _picture([Grid("image", IMAGE, blocks=2), Grid("average pooling", result.pooled)]),
            _picture([Grid("filter", AVERAGE), Grid("convolution, stride 2", result.averaged)]),
        ],
        "The blocks of the image and their means; the filter, and the convolution with it.",
    )
    _table(report, "pooled", result.pooled, "Average pooling, 2×2 with stride 2.")
    difference = np.abs(result.pooled - result.averaged).max()
    report.expect(
        "Average pooling 2×2 with stride 2 equals a convolution with weights of 1/4 and stride 2.",
        f"The largest difference is {_number(difference)}.",
        difference == 0,
    )


def _table(report: Report, name: str, values: np.ndarray, caption: str) -> None:
    columns = ["row", *(str(j + 1) for j in range(values.shape[1]))]
    report.table(name, columns, [[i + 1, *row] for i, row in enumerate(values)], caption)


class Grid(NamedTuple):
    """A grid of numbers to draw.

    `marked` is the first row and column of a square of `mark` cells to outline; `blocks` is the size of
    squares that tile the grid, all outlined; `border` greys the outermost cells; `letters` names the cells.
    """

    title: str
    values: np.ndarray
    marked: tuple[int, int] | None = None
    mark: int = len(FILTER)
    blocks: int = 0
    border: bool = False
    letters: bool = False


def _picture(pictured: Sequence[Grid], width: float = 10.6, cell: float = 0.5) -> Figure:
    """Grids side by side: `width` of the picture in cells, `cell` size in inches."""
    height = max(len(grid.values) for grid in pictured) + 1.4
    figure = Figure(figsize=(width * cell, height * cell))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height - 1.1, -1.1), aspect="equal")
    axes.axis("off")
    columns = sum(grid.values.shape[1] for grid in pictured)
    gap = (width - columns) / (len(pictured) + 1)
    left = gap
    for grid in pictured:
        _draw(axes, grid, left)
        left += grid.values.shape[1] + gap
    return figure


def _draw(axes: Any, grid: Grid, left: float) -> None:
    rows, columns = grid.values.shape
    axes.text(left + columns / 2, -0.5, grid.title, ha="center", va="center", fontsize=12)
    for place, (row, column) in enumerate(np.ndindex(rows, columns)):
        outer = row in (0, rows - 1) or column in (0, columns - 1)
        face = "#e4e4e8" if grid.border and outer else "white"
        axes.add_patch(Rectangle((left + column, row), 1, 1, facecolor=face, edgecolor="#bbbbbb"))
        middle = (left + column + 0.5, row + (0.62 if grid.letters else 0.5))
        axes.text(*middle, _number(float(grid.values[row, column])), ha="center", va="center", fontsize=12)
        if grid.letters:
            axes.text(left + column + 0.07, row + 0.04, LETTERS[place], va="top", fontsize=9, color="#666666")
    squares = [] if grid.marked is None else [(*grid.marked, grid.mark)]
    if grid.blocks:
        starts = np.ndindex(rows // grid.blocks, columns // grid.blocks)
        squares += [(i * grid.blocks, j * grid.blocks, grid.blocks) for i, j in starts]
    for row, column, size in squares:
        outline = Rectangle((left + column, row), size, size, fill=False, edgecolor="#d95f02", linewidth=2.5)
        axes.add_patch(outline)


def _number(value: float) -> str:
    """Whole numbers without a point, and no negative zero."""
    return f"{value + 0:g}"


def _factor(value: float) -> str:
    return f"({value:g})" if value < 0 else f"{value:g}"
