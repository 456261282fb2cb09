"""The speed suite's arithmetic and tables, without measurements."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1]))  # bench is not an installed package

from bench import (
    ensemble_contestants,
    ensembles,
    environment,
    estimators,
    peaks,
    points,
    publish,
    rounds,
    scaling,
    table,
)
from bench.contestants import CONTESTANTS, Unavailable
from bench.layer_contestants import LAYER_CONTESTANTS, LayerCase
from bench.workloads import WORKLOADS, Workload, convolve, dense, parts
from xpnet.nn import Conv2d, Flatten, Linear, ReLU
from xpnet.optim import SGD
from xpnet.train.config import Config

DENSE = WORKLOADS["784-128-10 sigmoid, batch 64"]


def record(contestant: str, seconds: list[float], **others: Any) -> table.Record:
    return {
        "suite": "epochs",
        "workload": DENSE.name,
        "contestant": contestant,
        "library": "lib 1.0",
        "gpu": None,
        "precision": "float32",
        "images": 640,
        "batch size": 64,
        "malloc": "default",
        "seconds": seconds,
        "ratio to PyTorch": None,
        "ratio to JAX": None,
        "ratio to limit": None,
        "share of peak": None,
    } | others


def test_a_step_has_three_products_a_layer_but_for_the_first_input() -> None:
    assert DENSE.step_flops == 2 * 64 * (2 * 784 * 128 + 3 * 128 * 10)
    conv = next(workload for workload in WORKLOADS.values() if workload.name.startswith("conv5x5"))
    # 24x24 windows of 25 on 1 channel, 8x8 windows of 25 on 16, and two dense layers
    products = (576 * 25 * 16, 64 * 400 * 32, 512 * 128, 128 * 10)
    assert conv.step_flops == 2 * 128 * (3 * sum(products) - products[0])


def test_ratios_are_of_the_same_round_and_to_the_reference_that_is_faster_by_its_median() -> None:
    seconds = {
        "xpnet on NumPy": [1.0, 2.0, 9.0],
        "PyTorch eager": [5.0, 5.0, 1.0],
        "PyTorch eager, channels last": [2.0, 4.0, 9.0],
        "JAX scan": [0.5, 0.5, 0.5],
        "JAX jit, CUDA": [0.1, 0.1, 0.1],
    }
    assert rounds.ratios("xpnet on NumPy", seconds) == {
        "ratio to PyTorch": [0.5, 0.5, 1.0],
        "ratio to JAX": [2.0, 4.0, 18.0],
        "ratio to limit": None,
    }


def test_contestants_that_do_not_learn_the_same_are_found() -> None:
    rounds.require_same_loss({"xpnet on NumPy": [2.0], "JAX jit": [2.001], "limit: products": [None]})
    rounds.require_same_loss({"xpnet on NumPy": [2.0], "scikit-learn": [2.03]})
    with pytest.raises(AssertionError, match=r"2\.01 for JAX jit, 2\.0 for xpnet on NumPy"):
        rounds.require_same_loss({"xpnet on NumPy": [2.0], "JAX jit": [2.01]})
    with pytest.raises(AssertionError, match=r"xpnet on NumPy: the training loss went from 2\.0 to 2\.1"):
        rounds.require_falling_loss({"xpnet on NumPy": [2.0, 1.5, 2.1]})


@pytest.mark.parametrize(
    ("gpu", "precision", "tflops"),
    [
        ("NVIDIA H200", "float32", 67),
        ("NVIDIA H200 NVL", "tf32", 417),
        ("NVIDIA A100-SXM4-80GB", "tf32", 156),
        ("NVIDIA L40S", "float32", 91.6),
        ("NVIDIA L40", "float32", None),
        ("Tesla T4", "tf32", None),
        ("NVIDIA Unheard-of", "float32", None),
    ],
)
def test_peaks_are_found_by_the_drivers_names(gpu: str, precision: str, tflops: float | None) -> None:
    assert peaks.peak(gpu, precision) == (tflops and tflops * 1e12)


def test_the_share_of_peak_is_operations_by_time_and_peak() -> None:
    on_gpu = record("xpnet on CuPy, CUDA", [0.5, 1.0], gpu="NVIDIA H200")
    assert rounds.share_of_peak(on_gpu, int(6.7e12))["share of peak"] == pytest.approx([0.2, 0.1])
    assert rounds.share_of_peak(on_gpu | {"gpu": "another"}, 1) == {"share of peak": None}
    assert rounds.share_of_peak(on_gpu | {"gpu": None}, 1) == {"share of peak": None}


def test_the_table_scales_times_and_gives_medians_and_quartiles() -> None:
    records = [
        record("xpnet on NumPy", [0.1, 0.2, 0.3], **{"ratio to JAX": [1.0, 2.0, 3.0]}),
        record("JAX jit", [0.1, 0.1, 0.1]),
    ]
    text = table.render(records, {"a, CUDA": "no device", "b, CUDA": "no device", "c": "not installed"})
    assert "784-128-10 sigmoid, batch 64: 3 rounds of 640 images, malloc default" in text
    row = next(line for line in text.splitlines() if "xpnet on NumPy " in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["xpnet on NumPy", "20.00", "15.000", "3,200", "", "2.00 (1.50-2.50)", ""]
    assert "peak" not in text
    assert "- a, CUDA; b, CUDA: no device\n- c: not installed" in text


def test_the_table_of_a_gpu_has_the_share_of_peak_or_says_that_it_is_unknown() -> None:
    known = record("xpnet on CuPy, CUDA", [0.1], gpu="NVIDIA H200", **{"share of peak": [0.5]})
    unknown = record("JAX jit, CUDA", [0.1], gpu="Card 9")
    text = table.render([known, unknown], {})
    assert "50.00 (50.00-50.00)" in text
    assert "Card 9: peak unknown" in text


def test_the_table_of_layers_compares_with_the_faster_pytorch() -> None:
    def layer(contestant: str, seconds: float, ratio: float) -> table.Record:
        times = {"seconds": [seconds], "ratio to PyTorch": [ratio]}
        return {
            "suite": "layers", "layer": "ReLU()", "place": "", "contestant": contestant, "forward": times, "both": times,
        }  # fmt: skip

    pytorch = [layer("PyTorch", 0.003, 1.5), layer("PyTorch, channels last", 0.002, 1.0)]
    text = table.render([*pytorch, layer("xpnet on NumPy", 0.008, 4.0)], {})
    row = next(line for line in text.splitlines() if "ReLU" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "ReLU()", "2.000", "2.000", "4.00 (4.00-4.00)", "4.00 (4.00-4.00)",
    ]  # fmt: skip


def test_memory_counts_each_array_once_and_not_what_is_shared() -> None:
    weight, x = np.zeros((4, 5), np.float32), np.zeros((3, 4), np.float32)
    residuals = ({"x": x}, (x[:, :2], x.T), weight.T, 7, None)
    assert points.own_bytes(residuals) == x.nbytes + weight.nbytes
    assert points.own_bytes(residuals, shared={"weight": weight}) == x.nbytes


def test_the_peak_of_a_step_holds_all_that_has_to_be_there() -> None:
    network = points.MEMORY["784-512-512-10 relu adam"]
    found, _ = points.memory_of_step(network[16])
    n_params = 784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10
    assert found["parameters"] == found["gradients"] == 4 * n_params
    assert 8 * n_params <= found["optimizer"] < 8 * n_params + 100
    assert found["activations"] >= 4 * 16 * (784 + 512 + 512)
    assert found["peak"] > sum(found[part] for part in points.PARTS)


def test_every_point_of_the_figure_is_whole_batches_of_its_data_set() -> None:
    for workload in points.POINTS.values():
        assert workload.images % workload.batch_size == 0
        assert 0 < workload.images <= workload.data_set
    assert points.PANELS["data set"][5_120].images == 5_120


def test_a_data_set_is_cut_into_parts_that_are_always_the_same() -> None:
    small = points.PANELS["data set"][1_280]
    (x, y), (other, _) = parts(small, 640)
    assert x.shape == (640, 784)
    assert x.dtype == np.float32
    assert y.shape == (640,)
    assert not np.array_equal(x, other)
    np.testing.assert_array_equal(x, parts(small, 640)[0][0])


def test_the_entries_of_the_scaling_figure_look_different() -> None:
    styles = [*scaling.STYLES.values(), *scaling.MEMORY_STYLES.values()]
    looks = [(style["color"], style.get("marker", ""), style.get("linestyle", "-")) for style in styles]
    assert len(set(looks)) == len(looks)


NESTEROV = SGD(0.05, momentum=0.9, nesterov=True)
L2 = Workload("", (20,), dense(ReLU, 20, 8, 4), NESTEROV, 16, 64, data_set=64, l2=0.1)
NORM = replace(
    L2, input_shape=(6, 6, 1), layers=(*convolve(3, 1, 4, norm=True), Flatten(), *dense(ReLU, 64, 8, 4, norm=True)), l2=0.0
)  # fmt: skip


def losses(contestant: str, workload: Workload) -> list[float]:
    CONTESTANTS[contestant].prepare(workload, parts(workload, workload.images))
    return [CONTESTANTS[contestant].epoch(number) for number in range(3)]


@pytest.mark.parametrize("contestant", ["PyTorch eager", "PyTorch eager, not fused", "JAX jit", "JAX scan"])
def test_l2_and_momentum_are_xpnets(contestant: str) -> None:
    """Their L2 is weight decay, as it is with xpnet, but for the loss that xpnet tells."""
    library = CONTESTANTS[contestant].library
    pytest.importorskip(library, reason=f"{library} is not installed")
    with_decay = replace(L2, l2=0.0, optimizer=replace(NESTEROV, weight_decay=0.1))
    assert losses(contestant, L2) == pytest.approx(losses("xpnet on NumPy", with_decay), rel=1e-5)


def test_the_penalty_is_taken_off_xpnets_loss() -> None:
    small = replace(L2, l2=1e-3)
    with_decay = replace(L2, l2=0.0, optimizer=replace(NESTEROV, weight_decay=1e-3))
    assert losses("xpnet on NumPy", small) == pytest.approx(losses("xpnet on NumPy", with_decay), rel=2e-4)


@pytest.mark.parametrize("contestant", ["PyTorch eager", "JAX jit"])
def test_batch_normalisation_is_xpnets(contestant: str) -> None:
    library = CONTESTANTS[contestant].library
    pytest.importorskip(library, reason=f"{library} is not installed")
    assert losses(contestant, NORM) == pytest.approx(losses("xpnet on NumPy", NORM), rel=1e-5)


def test_sklearn_has_xpnets_options() -> None:
    """It draws its own batches, so that losses tell little."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    losses("scikit-learn", L2)
    options = CONTESTANTS["scikit-learn"].net.get_params()
    assert (options["momentum"], options["nesterovs_momentum"], options["alpha"]) == (0.9, True, 0.1 * 16)
    with pytest.raises(Unavailable, match="scikit-learn has no BatchNorm, Conv2d, Flatten"):
        losses("scikit-learn", NORM)


def test_the_rows_of_numpy_differ_by_numba() -> None:
    numpy, numba = (CONTESTANTS[f"xpnet on NumPy{by}"] for by in ("", " with Numba"))
    assert (numpy.environment, numba.environment) == ({"XPNET_FAST": "0"}, {"XPNET_FAST": "1"})
    assert (numpy.also, numba.also) == ((), ("numba",))


def test_the_default_of_the_command_line_is_a_workload() -> None:
    workload, config = WORKLOADS["784-512-512-10 relu nesterov l2, batch 100"], Config()
    widths = [layer.n_out for layer in workload.layers if isinstance(layer, Linear)]
    assert widths == [*config.hidden, 10]
    assert workload.optimizer == SGD(config.learning_rate, config.momentum, config.nesterov)
    assert (workload.batch_size, workload.l2) == (config.batch_size, config.l2)


def test_contestants_with_other_numbers_of_threads_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    environment.require_same_threads({"PyTorch eager": 2, "JAX jit": 2})
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    with pytest.raises(
        RuntimeError, match=r"got 1 for xpnet on NumPy, 2 for JAX jit: unset .*OPENBLAS_NUM_THREADS"
    ):
        environment.require_same_threads({"xpnet on NumPy": 1, "JAX jit": 2})


def test_the_documents_have_the_figures_of_the_results() -> None:
    runs = [table.load(str(file)) for file in sorted(publish.RESULTS.glob("*.json"))]
    for path, text in publish.documents(runs).items():
        assert (publish.ROOT / path).read_text() == text, "python -m bench.publish writes it"


def test_the_table_of_the_documents_has_a_row_for_each_workload() -> None:
    assert list(publish.ROWS) == list(WORKLOADS)


def test_the_documents_table_shows_medians_and_leaves_out_empty_columns() -> None:
    def measured(contestant: str, *ratios: float) -> table.Record:
        return record(contestant, [1.0], **{"ratio to PyTorch": list(ratios), "ratio to JAX": list(ratios)})

    records = [
        measured("xpnet on NumPy with Numba", 0.5, 0.1, 0.25), measured("xpnet on NumPy", 0.75),
        measured("JAX jit", 0.5), measured("JAX scan", 0.4),
    ]  # fmt: skip
    found = {(each["workload"], each["contestant"]): each for each in records}
    header, _, row = publish.ratio_table(found, publish.ROWS, publish.COLUMNS).splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        "", "**xpnet on NumPy with Numba**", "**on NumPy**", "JAX", "NumPy with Numba / JAX",
    ]  # fmt: skip
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "784-128-10, batch 64",
        "0.25",
        "0.75",
        "0.40",
        "0.25",
    ]
    told = publish.paragraph(found, {"cores": 2, "cpu": {"brand_raw": "CPU"}})
    assert "takes 0.75 to 0.75 of the time of eager PyTorch on the 1 networks" in told.replace("\n", " ")
    assert "0.25 to 0.25 with Numba" in told.replace("\n", " ")


TINY = ensemble_contestants.Case(
    Workload("", (3,), dense(ReLU, 3, 4, 10), SGD(0.5, momentum=0.9), 64, 128, data_set=128), 2
)


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_networks_at_once_train_as_k_fits(library: str) -> None:
    """The peers see the order of the first network, as an ensemble with a shared order does."""
    pytest.importorskip(library, reason=f"{library} is not installed")
    peers = {"torch": ensemble_contestants.TORCH, "jax": ensemble_contestants.JAX}
    names = ["xpnet on NumPy: shared", peers.get(library, "xpnet on NumPy: each"), "xpnet on NumPy: K fits"]
    found = {}
    for name in names:
        contestant = ensemble_contestants.ENSEMBLE_CONTESTANTS[name]
        contestant.prepare(TINY)
        found[name] = [contestant.epoch(number) for number in range(2)]
    for number in range(2):
        ensembles.require_same_losses({name: series[number] for name, series in found.items()})
    shared, _, k_fits = (series[1] for series in found.values())
    assert len(shared) == 2
    assert not np.isclose(k_fits[1], shared[1], rtol=10 * ensembles.TOLERANCE)


def test_losses_of_networks_that_differ_are_found() -> None:
    ensembles.require_same_losses({"xpnet on NumPy: K fits": [2.0, 1.0], "jax.vmap": [2.0, 1.1]})
    with pytest.raises(
        AssertionError, match=r"\[2\.0, 1\.1\] for xpnet on NumPy: each, \[2\.0, 1\.0\] for xp"
    ):
        ensembles.require_same_losses(
            {"xpnet on NumPy: K fits": [2.0, 1.0], "xpnet on NumPy: each": [2.0, 1.1]}
        )
    with pytest.raises(AssertionError, match=r"\[2\.1\] for jax\.vmap, \[2\.0\] for xpnet on NumPy: each"):
        ensembles.require_same_losses({"xpnet on NumPy: each": [2.0, 1.0], "jax.vmap": [2.1, 1.0]})


def test_the_tables_of_ensembles_compare_with_k_fits_and_peers_in_the_same_place() -> None:
    case = "8 of 784-128-10, batch 64"
    seconds = {
        "xpnet on NumPy: K fits": [1.0, 2.0, 4.0],
        "xpnet on NumPy: each": [0.5, 0.5, 1.0],
        "xpnet on NumPy: shared": [0.5, 0.5, 1.0],
        "xpnet on JAX: shared": [1.0, 1.0, 1.0],
        "xpnet on JAX: shared, CUDA": [0.5, 0.5, 0.5],
        "jax.vmap": [0.5, 1.0, 2.0],
        "jax.vmap, CUDA": [1.0, 1.0, 1.0],
    }
    assert ensembles.ratios("xpnet on NumPy: shared", seconds) == {
        "ratio to K fits": [0.5, 0.25, 0.25], "ratio to torch.func.vmap": None, "ratio to jax.vmap": [1.0, 0.5, 0.5],
    }  # fmt: skip
    assert ensembles.ratios("xpnet on JAX: shared, CUDA", seconds)["ratio to jax.vmap"] == [0.5] * 3
    assert ensembles.ratios("jax.vmap", seconds)["ratio to K fits"] is None
    records = [
        {
            "suite": "ensembles", "workload": case, "contestant": name, "images": 6400, "malloc": "settled", "library": "lib 1.0", "seconds": times, **ensembles.ratios(name, seconds),
        }
        for name, times in seconds.items()
    ]  # fmt: skip
    text = table.render(records, {})
    assert f"{case}: 3 rounds of 6,400 examples, malloc settled" in text
    assert text.count("- xpnet on NumPy: lib 1.0") == 1
    row = next(line for line in text.splitlines() if "NumPy: shared" in line)
    cells = ["xpnet on NumPy: shared", "500.0", "0.25 (0.25-0.38)", "", "0.50 (0.50-0.75)"]
    assert [cell.strip() for cell in row.strip("|").split("|")] == cells
    found = {(each["workload"], each["contestant"]): each for each in records}
    shown = publish.ratio_table(found, publish.CASES, publish.ENSEMBLE_COLUMNS)
    header, _, row = shown.splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        "",
        'NumPy, `"each"`',
        "JAX / `jax.vmap`",
    ]
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["8 of 784-128-10", "0.25", "1.00"]
    document = publish.with_table(publish.ENSEMBLES, "## What it costs", shown)
    assert document.count(shown) == 1
    assert publish.ratio_table({}, publish.CASES, publish.ENSEMBLE_COLUMNS) == ""


def test_the_tables_of_the_documents_have_a_row_for_each_case_of_ensembles() -> None:
    assert publish.CASES.keys() == ensemble_contestants.CASES.keys()
    contestants = {name for names, _ in publish.ENSEMBLE_COLUMNS.values() for name in names}
    assert contestants <= ensemble_contestants.ENSEMBLE_CONTESTANTS.keys()


def fits(contestant: str, ratio: float) -> table.Record:
    """Of two rounds."""
    return {
        "suite": "estimators", "task": "digits, classifier, float32", "contestant": contestant, "epochs": 100,
        "library": "numpy 2, openblas 1, 2 threads", "malloc": "settled", "seconds": [ratio, ratio], "scores": [0.96, 0.98], "ratio to scikit-learn": [ratio, ratio],
    }  # fmt: skip


def test_the_tables_of_estimators_have_ratios_and_the_spread_of_the_scores() -> None:
    records = [
        fits("xpnet on NumPy with Numba", 0.25),
        fits("xpnet on NumPy", 0.5),
        fits(estimators.REFERENCE, 1.0),
    ]
    header, _, row = publish.sklearn_table(records).splitlines()
    assert header.startswith("| time / scikit-learn's, 2 threads | with Numba | on NumPy |"), header
    assert publish.sklearn_table([]) == ""
    cells = ["digits, classifier, float32", "0.25", "0.50", "0.9700 ± 0.0141", "0.9700 ± 0.0141"]
    assert [cell.strip() for cell in row.strip("|").split("|")] == cells
    document = publish.with_table(publish.SKLEARN, "## How fast it is", publish.sklearn_table(records))
    assert re.search(r"\n\n\| time / .*\n.*\n\| digits.*\n\n## On a GPU", document)
    text = table.render(records, {})
    assert "digits, classifier, float32: 2 rounds of 100 epochs, malloc settled" in text
    assert "0.50 (0.50-0.50) | 0.9700 ± 0.0141 |" in text


def test_estimators_below_the_spread_of_scikit_learns_scores_are_found() -> None:
    estimators.require_same_scores({"xpnet on NumPy": [0.9, 0.96], estimators.REFERENCE: [0.92, 0.99]})
    estimators.require_same_scores({"xpnet on NumPy": [0.9]})
    with pytest.raises(AssertionError, match=r"from 0\.9050, got \[0\.88, 0\.9\] for xpnet on NumPy"):
        estimators.require_same_scores({"xpnet on NumPy": [0.88, 0.9], estimators.REFERENCE: [0.92, 0.95]})


def test_estimators_fit_the_same_task(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    task = replace(estimators.TASKS["digits, regressor, float64"], epochs=2)
    for contestant in estimators.ESTIMATORS.values():
        contestant.prepare(task)
        assert contestant.data.train.y.dtype == np.float64
        first, again, other = (contestant.turn(number) for number in "112")
        assert first["score"] == again["score"] != other["score"]
    monkeypatch.setenv("XPNET_DATA", str(tmp_path))
    with pytest.raises(Unavailable, match="mnist"):
        estimators.TASKS["mnist, classifier, float32"].load()


@pytest.mark.parametrize("layer", [ReLU(), Linear(5, 3), Conv2d(2, 3, 3, padding="same")], ids=str)
def test_a_layer_is_run_as_a_training_step_runs_it(layer: Any) -> None:
    shape = (4, 6, 6, 2) if isinstance(layer, Conv2d) else (4, 5)
    case, contestant = LayerCase(layer, shape), LAYER_CONTESTANTS["xpnet on NumPy"]
    contestant.prepare()
    _, both = contestant.make(case)
    params, x, dy = case.draw()
    y, residuals = layer.forward(params, x)
    norms = [np.linalg.norm(y), np.linalg.norm(layer.backward(params, residuals, dy)[0])]
    assert contestant.numbers(both()) == pytest.approx(norms, rel=1e-5)
