"""How long launches and single operations take."""

from collections.abc import Callable, Iterator
from typing import Any

from bench.gpu.card import Card, Line, Quantities
from bench.peaks import peak
from xpnet import tree
from xpnet.backend import ops
from xpnet.losses.fast import softmax_cross_entropy

PRODUCTS = ((128, 784, 512), (512, 2048, 2048), (131_072, 576, 128), (2048, 4608, 512))


def lines(card: Card) -> Iterator[Line]:
    yield "launches of graphs", lambda: launches(card)
    yield "calls from Python", lambda: calls(card)
    yield from operations(card)
    yield from products(card)


def launches(card: Card) -> Quantities:
    """Of small kernels, each of which needs the one before."""
    x, times = card.drawn(64), {}
    for n in (1, 101):
        graph, _ = card.graph(lambda n=n: [x.__iadd__(1) for _ in range(n)])
        times[n] = card.microseconds(graph.launch)
    return {"µs with 1 kernel": times[1], "µs for each other kernel": (times[101] - times[1]) / 100}


def calls(card: Card) -> Quantities:
    x, rows, row, matrix = card.drawn(64), card.drawn(3, 128), card.drawn(128), card.drawn(64, 64)
    found = {
        "µs for a small kernel": card.microseconds(lambda: x.__iadd__(1)),
        "µs for the copy of a row": card.microseconds(lambda: card.cupy.copyto(row, rows[1, ...])),
    }
    with card.recorder().section():
        found["µs for a product by cuBLAS"] = card.microseconds(lambda: card.cublas(matrix, matrix))
        card.stream.synchronize()
    return found


def operations(card: Card) -> Iterator[Line]:
    """Operations that a card could do as fast as it reads and writes arrays that its caches do not hold."""
    table = ops(card.cupy.empty(0))
    kernel, stride, padding, pair = (3, 3), (1, 1), ((1, 1), (1, 1)), (2, 2)
    copied: list[float] = []  # GB/s

    def scaled(n: int, *others: int) -> tuple[int, ...]:
        return (max(1, n // card.scale.rows), *others)

    def bandwidth(function: Callable[..., Any], *arrays: Any) -> Quantities:
        graph, results = card.graph(lambda: function(*arrays))
        microseconds = card.microseconds(graph.launch)
        speed = sum(each.nbytes for each in tree.leaves((arrays, results))) / microseconds / 1e3
        share = {"% of a copy": 100 * speed / copied[0]} if copied else {}
        return {"µs": microseconds, "GB/s": speed, **share}

    def copy(shape: tuple[int, ...]) -> Quantities:
        found = bandwidth(lambda x: x.copy(), card.drawn(*shape))
        copied.append(found["GB/s"])
        return found

    def windows(shape: tuple[int, ...]) -> Quantities:
        return bandwidth(lambda x: table.rows_of_windows(x, kernel, stride, padding), card.drawn(*shape))

    def pool(shape: tuple[int, ...]) -> Quantities:
        return bandwidth(lambda x: table.max_pool(x, pair, pair), card.drawn(*shape))

    def pool_gradient(shape: tuple[int, ...]) -> Quantities:
        x = card.drawn(*shape)
        y, positions = table.max_pool(x, pair, pair)
        return bandwidth(lambda dy, at: table.max_pool_gradient(dy, x, at, pair, pair), y, positions)

    def sums(shape: tuple[int, ...]) -> Quantities:
        return bandwidth(table.sum_of_rows, card.drawn(*shape))

    def sums_of_products(shape: tuple[int, ...]) -> Quantities:
        return bandwidth(table.sum_of_products, card.drawn(*shape), card.drawn(*shape))

    def cross_entropy(shape: tuple[int, ...]) -> Quantities:
        z, labels = card.drawn(*shape), card.labels(shape[0], 1)
        return bandwidth(lambda z, labels: softmax_cross_entropy(z, labels, 1 / shape[0]), z, labels)

    for name, measure, shape in (
        ("copy", copy, scaled(1 << 20, 64)),
        ("windows (3, 3)", windows, scaled(1024, 32, 32, 3)),
        ("windows (3, 3)", windows, scaled(128, 32, 32, 64)),
        ("windows (3, 3)", windows, scaled(512, 8, 8, 256)),
        ("max pooling (2, 2)", pool, scaled(512, 32, 32, 64)),
        ("max pooling (2, 2), gradient", pool_gradient, scaled(512, 32, 32, 64)),
        ("sums of columns", sums, scaled(1 << 20, 64)),
        ("sums of columns of a product", sums_of_products, scaled(1 << 20, 64)),
        ("softmax cross-entropy with its gradient", cross_entropy, scaled(1 << 20, 10)),
    ):
        yield f"{name}: {shape}", lambda measure=measure, shape=shape: measure(shape)


def products(card: Card) -> Iterator[Line]:
    for sizes in PRODUCTS:
        n, k, m = (size // card.scale.widths for size in sizes)
        for precision in ("float32", "tf32"):
            yield (
                f"({n}, {k}) @ ({k}, {m}), {precision}",
                lambda of=(n, k, m), precision=precision: product(card, *of, precision),
            )


def product(card: Card, n: int, k: int, m: int, precision: str) -> Quantities:
    x, w = card.drawn(n, k), card.drawn(k, m)
    graph, _ = card.graph(lambda: x @ w, tf32=precision == "tf32")
    microseconds = card.microseconds(graph.launch)
    speed, most = 2 * n * k * m / microseconds / 1e6, peak(card.backend.facts().device, precision)
    return {"µs": microseconds, "TFLOP/s": speed, "% of peak": most and 1e14 * speed / most}
