"""Schedules: known values, and PyTorch's schedulers."""

import math

import pytest

from xpnet import schedules
from xpnet.errors import ConfigError
from xpnet.schedules import Constant, Cosine, Exponential, OneCycle, ReduceOnPlateau, Schedule, Step


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (Constant(), {0: 1, 7.5: 1}),
        (Step(2, 0.5), {0: 1, 1.99: 1, 2: 0.5, 5: 0.25}),
        (Exponential(0.81), {0: 1, 1: 0.81, 0.5: 0.9, 2: 0.6561}),
        (Cosine(10), {0: 1, 5: 0.5, 10: 0, 12: 0}),
        (Cosine(10, warmup=2, final=0.2), {0: 0, 1: 0.5, 2: 1, 6: 0.6, 10: 0.2, 99: 0.2}),
        (OneCycle(10, 0.4, 0.2, 0.1), {0: 0.2, 2: 0.6, 4: 1, 7: 0.55, 10: 0.1, 11: 0.1}),
    ],
)
def test_known_values(schedule: Schedule, values: dict[float, float]) -> None:
    assert {epoch: schedule(epoch) for epoch in values} == pytest.approx(values, abs=1e-15)


def test_are_continuous_where_they_turn() -> None:
    for schedule, epoch in (
        (Cosine(10, warmup=3), 3),
        (OneCycle(10), 3),
        (Cosine(10, 3, 0.1), 10),
        (OneCycle(10), 10),
    ):
        assert schedule(epoch - 1e-9) == pytest.approx(schedule(epoch + 1e-9), abs=1e-8)


@pytest.mark.parametrize(
    ("ours", "name", "options"),
    [
        (Step(3, 0.3), "StepLR", {"step_size": 3, "gamma": 0.3}),
        (Exponential(0.7), "ExponentialLR", {"gamma": 0.7}),
        (Cosine(20), "CosineAnnealingLR", {"T_max": 20}),
        (Cosine(20, final=0.1), "CosineAnnealingLR", {"T_max": 20, "eta_min": 0.2}),
        (OneCycle(20), "OneCycleLR", {"max_lr": 2.0, "total_steps": 21, "pct_start": 7 / 21}),
        (OneCycle(20, 0.5, 0.1, 0.01), "OneCycleLR", {"max_lr": 2.0, "total_steps": 21, "pct_start": 11 / 21, "div_factor": 10, "final_div_factor": 10}),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_are_those_of_pytorch(ours: Schedule, name: str, options: dict) -> None:
    """(PyTorch puts the top of one cycle at step pct_start · total_steps - 1.)"""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0, momentum=0.9)
    theirs = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
    for epoch in range(21):
        assert 2.0 * ours(epoch) == pytest.approx(theirs.get_last_lr()[0], rel=1e-12), epoch
        if epoch < 20:
            theirs.step()


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_reduce_on_plateau_is_that_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2, threshold=0)
    ours = ReduceOnPlateau(0.5, patience=2)
    seen = []
    for epoch, loss in enumerate([5, 4, 4, 4, 4, 3, 3, 3, 3.5, 2, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5]):
        assert ours(epoch) == optimizer.param_groups[0]["lr"], epoch
        ours.on_epoch(loss)
        theirs.step(loss)
        seen.append(ours(epoch))
    assert set(seen) == {1, 0.5, 0.25, 0.125, 0.0625}


def test_reduce_on_plateau_needs_validation() -> None:
    with pytest.raises(ConfigError, match="ReduceOnPlateau: expected fit to have validation, got none"):
        ReduceOnPlateau().on_epoch(None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Step(0), "Step: expected every to be a finite number and above 0, got 0"),
        (lambda: Step(1, -1), "Step: expected factor to be a finite number and above 0, got -1"),
        (lambda: Exponential("1"), "Exponential: expected factor to be a finite number and above 0, got '1'"),
        (lambda: Cosine(5, warmup=5), "Cosine: expected epochs to be a finite number and above 5, got 5"),
        (lambda: Cosine(5, warmup=-1), "Cosine: expected warmup to be a finite number and at least 0, got -1"),
        (lambda: Cosine(5, final=math.nan), "Cosine: expected final to be a finite number and at least 0, got nan"),
        (lambda: OneCycle(5, rise=1), "OneCycle: expected rise to be a number below 1 and above 0, got 1"),
        (lambda: ReduceOnPlateau(1.0), "ReduceOnPlateau: expected factor to be a number below 1 and above 0, got 1.0"),
        (lambda: ReduceOnPlateau(0.1, -1), "ReduceOnPlateau: expected patience to be a finite number and at least 0"),
    ],
)  # fmt: skip
def test_refuses_arguments_out_of_range(make, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value).startswith(message)


def test_all_schedules_are_public() -> None:
    assert all(isinstance(s, Schedule) for s in (schedules.Constant(), schedules.ReduceOnPlateau()))
