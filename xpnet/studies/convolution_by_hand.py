"""Convolution by hand.

An image of 6×6 numbers and a filter of 3×3 are so small that every product can be checked on paper. They show
the parts of a convolutional network: convolution, zero padding, and pooling of the feature map.

As usual in deep learning, the filter is not flipped: `nn.Conv2d` computes a correlation.
"""

from collections.abc import Sequence
from string import ascii_uppercase
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
SECOND = np.array([[1, -1], [1, -1]], float)
AVERAGE = np.full((2, 2), 1 / 4)
LETTERS = [*ascii_uppercase, *(f"A{letter}" for letter in "abcdefghij")]  # of the outputs, row by row
J = divmod(LETTERS.index("J"), len(IMAGE))  # its row and column in the output, from 0


class Grids(NamedTuple):
    """The outputs of the layers.

    Fields:
        same: Y = F', the image with one zero around it, convolved with the filter.
        second: the image with one zero around it, convolved with the second filter.
        pooled: the average pooling of F'.
        averaged: the convolution of F' that equals it.
    """

    same: np.ndarray
    second: np.ndarray
    pooled: np.ndarray
    averaged: np.ndarray


def grids(options: Options) -> Grids:
    """All outputs. Shapes: (6, 6), (7, 7), (3, 3), (3, 3)."""
    same = _apply(options, nn.Conv2d(1, 1, kernel_size=3, padding=1, bias=False), IMAGE, FILTER)
    return Grids(
        same=same,
        second=_apply(options, nn.Conv2d(1, 1, kernel_size=2, padding=1, bias=False), IMAGE, SECOND),
        pooled=_apply(options, nn.AvgPool2d(kernel_size=2, stride=2), same),
        averaged=_apply(options, nn.Conv2d(1, 1, kernel_size=2, stride=2, bias=False), same, AVERAGE),
    )


def _apply(
    options: Options, layer: nn.Layer, image: np.ndarray, kernel: np.ndarray | None = None
) -> np.ndarray:
    """The layer's output for the image, as a grid: one example, one channel."""
    backend = options.make_backend("float64")
    params = {} if kernel is None else {"weight": backend.asarray(kernel[:, :, None, None])}
    y, _ = layer.forward(params, backend.asarray(image[None, :, :, None]))
    return backend.to_numpy(y)[0, :, :, 0]


def size(kernel: int, stride: int, padding: int) -> int:
    """The height and width of the output for the image, from `Conv2d.output_shape`; 0 where nothing fits."""
    n = len(IMAGE)
    if n + 2 * padding < kernel:
        return 0
    layer = nn.Conv2d(1, 1, kernel_size=kernel, stride=stride, padding=padding)
    return layer.output_shape((1, n, n, 1))[1]


def run(options: Options, report: Report) -> None:
    """Show all grids as pictures, and compare the numbers that are known beforehand."""
    result = grids(options)
    answers = [*_same(result, report), *_second(result, report), *_pooling(result, report)]
    report.section("The answers")
    report.table("answers", ["question", "answer"], answers, "All answers in one table.")


def _same(result: Grids, report: Report) -> list[list[Any]]:
    """One output on paper, and the padding that keeps the size."""
    report.section("Convolution with zero padding")
    (row, column), k, n = J, len(FILTER), len(IMAGE)
    padded = np.pad(IMAGE, 1)
    window = padded[row : row + k, column : column + k]
    products = [f"{_factor(w)}·{_factor(x)}" for w, x in zip(FILTER.flat, window.flat, strict=True)]
    lines = [" + ".join(products[i : i + k]) for i in range(0, k * k, k)]
    j = float(result.same[J])
    turned = "equals" if np.array_equal(FILTER, FILTER[::-1, ::-1]) else "differs from"
    report.text(
        f"With one zero on each side, the filter F is placed at {n}×{n} positions, and the output Y has the "
        f"size of the image X. Each output is the sum of nine products of a weight and the number under it. "
        f"The outputs are called A to Z and Aa to Aj, row by row: J is in row {row + 1}, column "
        f"{column + 1}. Its window is centred on the number {_number(IMAGE[J])} in the same place of the "
        f"image. (The filter {turned} itself turned by 180°, so a convolution that flips it has "
        f"{'the same' if turned == 'equals' else 'another'} result.)"
    )
    report.code("J =   {}\n    + {}\n    + {}\n  = {}".format(*lines, _number(j)))
    report.figure(
        [
            _picture([Grid("X with zeros around", padded, marked=J, border=True)]),
            _picture([Grid("F", FILTER), Grid("Y", result.same, marked=J, mark=1, letters=True)]),
        ],
        "The image with zeros around and the window of J; the filter, and the outputs with their letters.",
    )
    _table(report, "window", window, "The window of J.")
    _table(report, "same", result.same, "Y, which is also the feature map F' of the sections below.")
    report.expect(
        f"J is -6, in row 2, column 4 of the {n}×{n} output.",
        f"It is {_number(j)}, in row {row + 1}, column {column + 1}.",
        j == -6 and J == (1, 3),
    )
    report.section("The padding that keeps the size")
    rows = [[p, f"{n} + 2·{p} - {k} + 1", _size(size(k, 1, p)), size(k, 1, p) == n] for p in range(k)]
    keeping = [p for p, _, _, keeps in rows if keeps]
    report.table(
        "padding",
        ["zeros p", "n + 2p - k + 1", "output", "same size"],
        rows,
        f"The size of the output for n = {n}, k = {k}, stride 1 and p zeros on each side.",
    )
    report.text(
        f"For an image of n×n and a filter of k×k with stride 1, the size stays the same with p = (k - 1)/2, "
        f'here {(k - 1) / 2:g}. `padding="same"` computes it.'
    )
    found = ", ".join(map(str, keeping))
    report.expect(
        f"One zero on each side, (k - 1)/2, keeps the size of {n}×{n}.",
        f"The size is kept with p = {found}.",
        keeping == [1],
    )
    return [
        ["J", j],
        ["row and column of J", f"{row + 1}, {column + 1}"],
        ["padding that keeps the size with the 3×3 filter and stride 1", found],
    ]


def _second(result: Grids, report: Report) -> list[list[Any]]:
    """Whether a filter of another size can keep the size with one zero on each side."""
    report.section("A second filter, of another size, with p = 1")
    n, p, k = len(IMAGE), 1, len(SECOND)
    strides = range(1, 4)
    sizes = {kernel: [size(kernel, stride, p) for stride in strides] for kernel in range(1, n + 1)}
    report.table(
        "second-filter",
        ["kernel", *(f"stride {stride}" for stride in strides), "keeps the size"],
        [[_size(kernel), *map(_size, each), n in each] for kernel, each in sizes.items()],
        f"The size of the output for an image of {n}×{n} with p = {p}: ⌊(n + 2p - k)/s⌋ + 1.",
    )
    keeping = [kernel for kernel, each in sizes.items() if n in each]
    report.text(
        f"With p = {p}, the size is kept only by a kernel of {' or '.join(map(_size, keeping))}. A second "
        f"filter of {k}×{k} gives {' or '.join(map(_size, sizes[k]))} with strides of 1, 2 and 3: with "
        f"stride 1 one row and column too many, with a larger stride at most {_size(sizes[k][1])}. So no "
        "stride keeps the size. The same holds for every even k with stride 1, whatever p: n + 2p - k + 1 = "
        "n needs p = (k - 1)/2, "
        f'which is no whole number. `padding="same"` then adds one more zero at the end than at the start.'
    )
    report.figure(
        [_picture([Grid("second filter", SECOND), Grid("output, p = 1", result.second)])],
        f"The second filter, and its output for the image with p = {p} and stride 1.",
    )
    _table(report, "second-map", result.second, "The output of the second filter, with p = 1 and stride 1.")
    found = "none" if n not in sizes[k] else str(sizes[k].index(n) + 1)
    report.expect(
        f"With p = {p}, no stride gives a {k}×{k} kernel an output of {n}×{n}; only 3×3 has one.",
        f"Stride for {k}×{k}: {found}; kernels with one: {', '.join(map(_size, keeping))}.",
        found == "none" and keeping == [3],
    )
    even = [p for kernel in range(2, n + 1, 2) for p in range(n) if size(kernel, 1, p) == n]
    report.expect(
        "No even kernel keeps the size with stride 1, for any number of zeros that is the same on all sides.",
        f"Found for kernels of 2×2 to {_size(n)} and p up to {n - 1}: {len(even)}.",
        not even,
    )
    return [[f"stride that keeps the size with the {k}×{k} filter and p = {p}", found],
            ["kernels that keep the size with p = 1", ", ".join(map(_size, keeping))]]  # fmt: skip


def _pooling(result: Grids, report: Report) -> list[list[Any]]:
    """Average pooling of F', and the convolution that equals it."""
    report.section("Average pooling of F' is a convolution")
    report.text(
        "F' is the output of the first filter. Average pooling of 2×2 with stride 2 replaces each block of "
        "four of its numbers by their mean. A convolution with a filter of 2×2 whose four weights are 1/4, "
        "with stride 2 and no padding, adds up the same products. So average pooling is a convolution with "
        "fixed weights, applied to each channel separately."
    )
    report.figure(
        [
            _picture([Grid("F'", result.same, blocks=2), Grid("average pooling", result.pooled)], width=11.4),
            _picture([Grid("filter", AVERAGE), Grid("convolution, stride 2", result.averaged)]),
        ],
        "The blocks of F' and their means; the filter, and the convolution of F' with it.",
    )
    _table(report, "pooled", result.pooled, "Average pooling of F', 2×2 with stride 2.")
    _table(report, "filter-of-pooling", AVERAGE, "The filter of the equal convolution: stride 2, padding 0.")
    _table(report, "averaged", result.averaged, "The convolution of F' with this filter.")
    difference = float(np.abs(result.pooled - result.averaged).max())
    report.expect(
        "Average pooling 2×2 with stride 2 is a convolution with weights of 1/4, stride 2 and no padding.",
        f"The largest difference is {_number(difference)}.",
        difference == 0,
    )
    return [
        ["filter of the convolution that equals average pooling", "2×2, all weights 1/4"],
        ["its stride and padding", "2, 0"],
        ["largest difference from average pooling", difference],
    ]


def _size(n: int) -> str:
    return f"{n}×{n}"


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
        shown = _number(float(grid.values[row, column]))
        size_of_text = 12 if len(shown) < 5 else 9.5
        axes.text(*middle, shown, ha="center", va="center", fontsize=size_of_text)
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
