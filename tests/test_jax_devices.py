"""JAX on 4 devices and in 2 processes: the numbers of one device, one sum of the gradients a step, clear ends."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from conftest import MISSING
from xpnet import Callback, Ensemble, Model, backend, distributed, losses, nn, optim, schedules, train
from xpnet._training import progress_bar
from xpnet._training.memory import Need
from xpnet._training.summary import StepMemory
from xpnet.backend import Backend
from xpnet.backend import _jax_processes as processes
from xpnet.errors import BackendError, ConfigError
from xpnet.train import together
from xpnet.train.command_line import Launch, Run, parse_run

ROOT = Path(__file__).parents[1]
needs_jax = pytest.mark.skipif("jax" in MISSING, reason="needs JAX")
TOLERANCE = 1e-12


def environment(devices: int) -> dict[str, str]:
    """For a process in which JAX has so many devices. Compiling takes most of the time."""
    more = {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
    return os.environ | more | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def four() -> dict[str, Any]:
    """What `four_devices.py` found."""
    command = [sys.executable, "-W", "error", str(ROOT / "tests" / "four_devices.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(4))
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@needs_jax
def test_four_devices_give_the_numbers_of_one(four: dict[str, Any]) -> None:
    """Also with batches that 4 does not divide, from the host, and resumed on more and on fewer devices."""
    assert four["devices"] == "<xpnet backend jax, 4 cpu devices, float32>"
    differences = {name: each for name, each in four.items() if isinstance(each, float)}
    assert len(differences) == 8
    assert {name: each for name, each in differences.items() if not each <= TOLERANCE} == {}
    of_one, of_four = four["saved"]  # of a quarter of the examples; of batch normalisation also of features
    assert 3.9 < of_one / of_four < 4
    of_one, of_four = four["not finite"]
    assert "nan at x[7, 0, 0, 0]" in of_one
    assert of_one == of_four


@needs_jax
def test_a_step_sums_the_gradients_once(four: dict[str, Any]) -> None:
    """One sum has the gradients of all parameters and the loss; the number of errors is an integer, so apart."""
    gradients = ["f64[8]", "f64[32,8]", "f64[3]", "f64[8,3]"]
    (kind, arrays), *others = four["collectives of the MLP"]
    assert kind == "all-reduce"
    assert sorted(arrays) == sorted([*gradients, "f64[]"])
    assert others == [["all-reduce", ["s64[]"]]]


@needs_jax
def test_batch_normalisation_adds_three_sums(four: dict[str, Any]) -> None:
    """Of the mean and the variance, and of both sums in its backward pass. Augmentation needs none."""
    found = [
        (kind, [each for each in arrays if each != "f64[]"])
        for kind, arrays in four["collectives of the CNN"]
    ]
    assert {kind for kind, _ in found} == {"all-reduce"}
    assert sorted(len(arrays) for _, arrays in found) == [1, 1, 2, 3]
    assert ["f64[18,3]", "f64[3]", "f64[12,3]"] in [arrays for _, arrays in found]


@needs_jax
def test_the_networks_of_an_ensemble_share_each_sum(four: dict[str, Any]) -> None:
    """Each device computes its part of each batch for both networks."""
    kinds, arrays = zip(*four["collectives of the ensemble"], strict=True)
    assert set(kinds) == {"all-reduce"}
    gradients = ["f64[2,8]", "f64[2,32,8]", "f64[2,3]", "f64[2,8,3]"]
    assert sorted(map(sorted, arrays)) == [sorted([*gradients, "f64[2]"]), ["s64[2]"]]


def test_other_libraries_name_the_one_that_has_many_devices() -> None:
    with pytest.raises(BackendError) as error:
        backend.get("numpy", "cpu:all")
    assert str(error.value) == (
        "backend 'numpy': expected device 'cpu', got 'cpu:all'; backend 'jax' trains on many devices"
    )


@needs_jax
def test_all_devices_of_a_kind_are_named() -> None:
    import jax

    if jax.device_count() == 1:
        assert backend.get("jax", "cpu:all").device == jax.devices()[0]
    for wrong in ("abacus:all", "cpu:every"):
        with pytest.raises(BackendError, match=f"expected device .* or ':all', got '{wrong}'"):
            backend.get("jax", wrong)


# Several processes.

NETWORK = {"hidden": (8,), "batch_norm": True, "dropout": 0.2, "activation": "tanh", "random_crop": 1}


@pytest.fixture
def config(tmp_path: Path) -> train.Config:
    """A small training on images of a CSV file, in float64 on NumPy."""
    rng = np.random.default_rng(0)
    for name, n in (("train", 60), ("test", 20)):
        labels = rng.integers(3, size=n)
        pixels = rng.random((n, 16)) + (np.arange(16) % 3 == labels[:, None])
        rows = np.column_stack([labels, pixels])
        np.savetxt(
            tmp_path / f"{name}.csv", rows, "%.3f", delimiter=",", header="label" + ",p" * 16, comments=""
        )
    dataset = f"csv:{tmp_path / 'train.csv'},{tmp_path / 'test.csv'},shape=4x4"
    return train.Config(
        dataset=dataset,
        dtype="float64",
        batch_size=12,
        epochs=1,
        quiet=True,
        checkpoint_every=0.001,
        **NETWORK,
    )


def start(number: int, address: str, *arguments: str) -> subprocess.Popen:
    """Process `number` of two, with two devices each."""
    program = [sys.executable, "-W", "error", str(ROOT / "scripts" / "train.py")]
    joined = ["--coordinator-address", address, "--num-processes", "2", "--process-id", str(number)]
    return subprocess.Popen(
        [*program, *arguments, "--distributed", *joined],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(2),
    )  # fmt: skip


def epochs_of(folder: Path) -> int:
    return (folder / "metrics.csv").read_text().count("\n") - 1


@needs_jax
def test_a_killed_process_ends_the_others_and_the_run_resumes(config: train.Config, tmp_path: Path) -> None:
    """One process begins, two go on, one of these is killed, one process ends the run: all as if unbroken.

    Process 0 is killed, and with it JAX's service: JAX aborts the other one.
    """
    folder = tmp_path / "broken"
    train.run(replace(config, output_dir=str(folder)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    resumed = ["--resume", str(folder), "--backend", "jax", "--epochs", "100000"]
    processes = [start(i, address, *resumed) for i in range(2)]
    try:
        deadline = time.monotonic() + 240
        while epochs_of(folder) < 3 and all(each.poll() is None for each in processes):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        processes[0].kill()
        killed, (out, error) = [each.communicate(timeout=60) for each in processes]
    finally:
        for each in processes:
            each.kill()
    assert killed == ("", "")
    assert (processes[1].returncode, error, out) == (4, f"train.py: {together.ENDED}\n", "")
    config = replace(config, epochs=epochs_of(folder) + 1)
    train.run(replace(config, quiet=True), resume=folder)
    train.run(replace(config, output_dir=str(tmp_path / "unbroken")))
    for file in ("metrics.csv", "best.npz"):
        found, unbroken = (numbers(tmp_path / name / file) for name in ("broken", "unbroken"))
        np.testing.assert_allclose(found, unbroken, rtol=0, atol=TOLERANCE)


def numbers(path: Path) -> np.ndarray:
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return np.concatenate([arrays[name].ravel() for name in sorted(arrays)])
    return np.genfromtxt(path, delimiter=",", skip_header=1, usecols=range(6))


@pytest.mark.parametrize(
    ("ending", "status", "output"),
    [
        (
            'os.write(2, b"E0101 1:2 3 coordination_service_agent.cc:9] gone\\nmore\\n"); ctypes.CDLL(None).abort()',
            4,
            f"a.py: {together.ENDED}\n",
        ),
        ('raise RuntimeError("Gloo all-reduce failed")', 4, f"a.py: {together.ENDED}\n"),
        (
            'os.write(2, b"I0101 1:2 3 coordination_service.cc:9] fine\\n[Gloo] Rank 3\\n1\\n")',
            0,
            "I0101 1:2 3 coordination_service.cc:9] fine\n",
        ),
    ],
    ids=["JAX aborts", "a sum fails", "a harmless line"],
)
def test_all_that_jax_says_of_a_lost_process_is_one_line(ending: str, status: int, output: str) -> None:
    """In place of JAX, code that ends as JAX does."""
    program = f"""
import ctypes, os, sys
from xpnet import distributed
from xpnet.backend import Backend
from xpnet.backend import _jax_processes as processes
from xpnet.train import together
processes.count = lambda: 2
distributed.initialize = distributed.leave = lambda *launch: None
def action():
    {ending}
sys.exit(together.run((), "a.py", action))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment(1))
    assert (done.returncode, done.stderr, done.stdout) == (status, output, "")


def test_the_options_of_a_process_belong_to_distributed() -> None:
    def parsed(*arguments: str) -> Run:
        return parse_run(arguments, "train.py")

    assert parsed("--epochs", "3").launch is None
    found = parsed("--backend", "jax", "--distributed", "--coordinator-address", "a:1", "--process-id=1")
    assert found.launch == Launch("a:1", None, 1)
    for arguments, message in (
        (["--process-id", "1"], "--process-id: expected --distributed with it, got none"),
        (["--distributed"], "--distributed: expected --backend jax, got numpy"),
        (
            ["--distributed", "--backend", "jax", "--num-processes", "two"],
            "--num-processes: expected int, got two",
        ),
    ):
        with pytest.raises(ConfigError) as error:
            parsed(*arguments)
        assert str(error.value) == message


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (("here", 2, 0), {}, "initialize: expected coordinator_address to be HOST:PORT, got 'here'"),
        (("a:1", 2, 2), {}, "initialize: expected process_id to be below num_processes, 2, got 2"),
        (("a:1", 0, 0), {}, "initialize: expected num_processes to be an integer of at least 1, got 0"),
        (
            ("a:1", 2),
            {"JAX_PROCESS_ID": "x"},
            "expected the variable JAX_PROCESS_ID to be an integer of at least 0, got 'x'",
        ),
    ],
)
def test_initialize_refuses_wrong_values(
    arguments: tuple, variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as error:
        distributed.initialize(*arguments)
    assert str(error.value) == message


def test_arrays_that_differ_between_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "gathered", lambda own: np.stack([own, own, own + 1]))
    processes.require_equal(np.zeros(()))  # every process computes it for itself
    with pytest.raises(BackendError) as error:
        processes.require_equal(np.zeros(3))
    assert str(error.value) == (
        "backend 'jax': expected the same arrays in all processes, got an array of shape (3,) whose values "
        "differ in processes 0 and 2; pass the whole data and the same seed in each"
    )


def test_processes_have_as_many_devices_as_each_other() -> None:
    class Device(NamedTuple):
        process_index: int

    processes.require_alike([Device(0), Device(1), Device(0), Device(1)])
    with pytest.raises(BackendError) as error:
        processes.require_alike([Device(0), Device(0), Device(1), Device(0)])
    assert str(error.value) == (
        "initialize: expected as many devices in each process, got 3 in process 0 and 1 in process 1"
    )


@needs_jax
def test_an_address_without_process_0_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError) as error:
            distributed.initialize(address, 2, 0)
    assert str(error.value) == (
        f"initialize: expected coordinator_address to have a port that is free here, got {address!r} "
        "(Address already in use)"
    )
    with pytest.raises(ConfigError, match=f"expected process 0 at '{address}', got no answer in 0 seconds"):
        distributed.initialize(address, 2, 1, timeout=0)


def test_settings_that_differ_between_processes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads in place of processes."""
    barrier, sent = threading.Barrier(3), {}

    def gathered(values: np.ndarray) -> np.ndarray:
        sent[threading.get_ident()] = values
        barrier.wait(timeout=10)
        found = np.stack([sent[each.ident] for each in threads])
        barrier.wait(timeout=10)
        return found

    def errors_of(*settings: dict[str, object]) -> list[str]:
        def call(i: int) -> None:
            try:
                processes.require_same("fit: ", settings[i])
            except ConfigError as error:
                found[i] = str(error)

        found = [""] * 3
        threads[:] = [threading.Thread(target=call, args=(i,)) for i in range(3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return found

    threads: list[threading.Thread] = []
    monkeypatch.setattr(processes, "count", lambda: 3)
    monkeypatch.setattr(processes, "gathered", gathered)
    assert errors_of(*[{"layer": object()} for _ in range(3)]) == [""] * 3  # without its address
    same = {"epochs": 3, "net": "a" * 200}
    found = errors_of(same, same, same | {"net": "a" * 199 + "b"})
    assert len(set(found)) == 1
    assert found[0] == (
        f"fit: expected the same net in all processes, got …{'a' * 31} in process 0 and …{'a' * 30}b in process 2"
    )


def test_fit_compares_its_model_its_data_and_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[dict[str, object]] = []
    monkeypatch.setattr(Backend, "spans_processes", True)
    monkeypatch.setattr(Backend, "require_same", lambda self, what, settings: found.append(dict(settings)))
    x, y = np.random.default_rng(0).normal(size=(200, 4)), np.arange(200) % 2

    def fitted(rate: float, y: np.ndarray, kind: type = Model, **options: Any) -> dict[str, str]:
        network = nn.Sequential(nn.Linear(4, 2)), losses.CrossEntropy(), optim.SGD(rate)
        model = kind(*network, **({} if kind is Model else {"seeds": [0, 1]}))
        model.fit(x, y, epochs=1, batch_size=50, **options)
        return {name: str(value) for name, value in found.pop().items()}

    one = fitted(0.1, y)
    assert one["y"].startswith("(200,) int64, checksum ")

    def differing(other: dict[str, str]) -> set[str]:
        return {name for name, text in one.items() if other[name] != text}

    assert differing(fitted(0.1, y.copy(), progress=False)) == set()
    assert differing(fitted(0.2, 1 - y)) == {"optimizer", "y"}
    given = {"validation": (x[:3], y[:3]), "data_on_device": False, "schedule": schedules.Exponential(0.9)}
    assert differing(fitted(0.1, y, **given)) == given.keys()
    one = fitted(0.1, y, Ensemble, shuffle="shared", validation=(x, y, np.ones(200)))
    assert one["seed"] == "[0, 1]"
    assert differing(fitted(0.1, y, Ensemble, validation=(x, y, np.ones(200)))) == {"shuffle"}
    given = {"shuffle": "shared", "validation": (x, y, np.arange(200))}
    assert differing(fitted(0.1, y, Ensemble, **given)) == {"weights of validation"}
    given = {"shuffle": "shared", "validation": (x, y, np.ones(200)), "test": (x, y, np.ones((2, 200)))}
    assert differing(fitted(0.1, y, Ensemble, **given)) == {"test", "weights of test"}


def test_networks_that_stop_in_one_process_stop_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads in place of processes: networks stop within an epoch and between two, then all."""
    barrier, sent = threading.Barrier(2, timeout=10), {}

    def gathered(flags: list[bool]) -> list[bool]:
        sent[threading.get_ident()] = flags
        barrier.wait()
        found = [any(each) for each in zip(*sent.values(), strict=True)]
        barrier.wait()
        return found

    def agreement(self: Any) -> Any:
        before = False

        def agreed(flag: bool) -> bool:
            nonlocal before
            (now,) = gathered([flag])
            before, result = now, before
            return result

        return agreed

    class Stops(Callback):
        each_network = True

        def __init__(self, here: set[tuple[int, int, int]]) -> None:
            self.here = here

        def on_step(self, model: Any, step: int, n_steps: int) -> None:
            if (model.seed, model.epoch, step) in self.here:
                model.stop()

        def on_epoch(self, model: Any, metrics: Any) -> None:
            self.on_step(model, 0, 0)

    class StopsAll(Callback):
        def on_step(self, ensemble: Any, step: int, n_steps: int) -> None:
            if (ensemble.epoch, step) == (3, 2):
                ensemble.stop()

    def train(i: int) -> None:
        callbacks = [[Stops({(0, 0, 1), (2, 3, 2)})], [Stops({(1, 2, 0)}), StopsAll()]][i]
        found[i].fit(x, y, epochs=6, batch_size=4, callbacks=callbacks)

    monkeypatch.setattr(Backend, "any_process", lambda self, flag: gathered([flag])[0])
    monkeypatch.setattr(Backend, "any_process_each", lambda self, flags: gathered(list(flags)))
    monkeypatch.setattr(Backend, "agreement", agreement)
    x, y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 2
    found = [
        Ensemble(nn.Linear(4, 2), losses.CrossEntropy(), optim.SGD(0.1), seeds=range(4)) for _ in range(2)
    ]
    threads = [threading.Thread(target=train, args=(i,)) for i in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for one, other in zip(*found, strict=True):
        assert (one.epoch, one.epoch_step) == (other.epoch, other.epoch_step)
        np.testing.assert_array_equal(one.params["weight"], other.params["weight"])
    found_at = [(each.epoch, each.epoch_step) for each in found[0]]
    assert found_at == [(0, 2), (2, 0), (3, 3), (3, 3)]  # within an epoch a step later


@needs_jax
def test_a_flag_of_any_process_counts_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    here = backend.get("jax")
    assert here.any_process_each([True, False, False]) == [True, False, False]
    monkeypatch.setattr(type(here), "spans_processes", True)
    monkeypatch.setattr(processes, "gathered", lambda own: np.stack([own, np.array([False, False, True])]))
    assert here.any_process_each([True, False, False]) == [True, False, True]


def test_data_go_to_the_devices_if_they_fit_in_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    here, step = backend.get("numpy"), StepMemory(1, 1, 1, 1, 1)
    monkeypatch.setattr(here, "free_bytes", lambda: 1000, raising=False)
    monkeypatch.setattr(here, "owns", lambda array: False, raising=False)
    need = Need(here, [np.zeros((2, 2))], 1, lambda shape, batch_size: step)
    assert need.fits()
    monkeypatch.setattr(here, "any_process", lambda flag: True, raising=False)
    assert not need.fits()


def test_one_process_shows_the_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    assert progress_bar.wanted(True)
    monkeypatch.setattr(processes, "index", lambda: 1)
    assert not progress_bar.wanted(True)


def test_without_initialize_there_is_one_process(tmp_path: Path) -> None:
    assert (distributed.process_id(), distributed.num_processes(), distributed.largest(7)) == (0, 1, 7)
    assert distributed.broadcast(b"all") == b"all"
    assert list(distributed.files_of_first([tmp_path])) == [tmp_path]
