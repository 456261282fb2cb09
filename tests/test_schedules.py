"""Schedules: known values, and PyTorch's schedulers."""

import json
import math

import numpy as np
import pytest

import xpnet
from cases import SCHEDULES, ScheduleCase
from xpnet import losses, nn, optim, schedules
from xpnet.callbacks import Callback
from xpnet.errors import ConfigError
from xpnet.schedules import Cosine, Exponential, OneCycle, ReduceOnPlateau, Schedule, Step

every_schedule = pytest.mark.parametrize("case", SCHEDULES, ids=str)


def run(schedule: Schedule, case: ScheduleCase) -> dict[float, float]:
    """The values of the schedule; it receives the losses of the case, if any, after each epoch."""
    found = {}
    for time in sorted(case.values):
        if case.losses and time > 0:
            schedule.on_epoch(case.losses[int(time) - 1])
        found[time] = schedule(time)
    return found


@every_schedule
def test_known_values(case: ScheduleCase) -> None:
    assert run(case.make(), case) == pytest.approx(case.values, abs=1e-15)


@every_schedule
def test_gives_a_python_number_of_at_least_0(case: ScheduleCase) -> None:
    """A compiled step takes the value as an argument, so it must not be an array."""
    schedule = case.make()
    for time in (0, 0.5, 1, 3.75, 10, 1e6):
        assert type(schedule(time)) is float
        assert schedule(time) >= 0
        assert schedule(time) == schedule(time)
    assert schedule(np.float64(0.5)) == schedule(0.5)


@every_schedule
def test_goes_on_from_its_state(case: ScheduleCase) -> None:
    """The state in a checkpoint, through JSON, restores a schedule completely."""
    for first in range(int(max(case.values))):
        before, after = case.make(), case.make()
        for time in range(first):
            before.on_epoch(case.losses[time] if case.losses else None)
        after.load_state(json.loads(json.dumps(before.state())))
        for time in range(first, int(max(case.values))):
            before.on_epoch(case.losses[time] if case.losses else None)
            after.on_epoch(case.losses[time] if case.losses else None)
            assert after(time + 1) == before(time + 1)
        assert after.state() == before.state()


@every_schedule
def test_is_public_and_a_schedule(case: ScheduleCase) -> None:
    schedule = case.make()
    assert isinstance(schedule, Schedule)
    assert getattr(schedules, type(schedule).__name__) is type(schedule)


@every_schedule
def test_is_over_only_where_the_factor_stays(case: ScheduleCase) -> None:
    schedule, times = case.make(), sorted(case.values)
    over = [schedule.is_over(time) for time in times]
    assert over == sorted(over)  # once over, over for good
    assert len({schedule(time) for time, is_over in zip(times, over, strict=True) if is_over}) <= 1
    assert over[0] is False
    assert over[-1] is (type(schedule) in (Cosine, OneCycle))


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
    """PyTorch's OneCycleLR peaks at step pct_start · total_steps - 1."""
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


@pytest.mark.parametrize("mode", ["rel", "abs"])
@pytest.mark.parametrize(
    ("patience", "cooldown", "threshold"), [(0, 0, 0.1), (1, 2, 0.0), (2, 3, 0.3), (0, 1, 1e-4)]
)
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_every_option_of_reduce_on_plateau_is_that_of_pytorch(
    mode: str, patience: int, cooldown: int, threshold: float
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    options = {"patience": patience, "cooldown": cooldown, "threshold": threshold, "threshold_mode": mode}
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, min_lr=0.1, **options)
    ours = ReduceOnPlateau(0.5, min_factor=0.05, **options)
    seen = set()
    falling = 3 * 0.9 ** np.arange(60)
    course = falling * np.random.default_rng(0).choice([1, 1.2], 60)
    course[40:] = course[40]
    for epoch, loss in enumerate(course):
        assert 2 * ours(epoch) == optimizer.param_groups[0]["lr"], epoch
        ours.on_epoch(float(loss))
        theirs.step(float(loss))
        seen.add(ours(epoch))
    assert len(seen) > 2
    assert min(seen) == 0.05


def test_reduce_on_plateau_takes_the_state_of_an_old_checkpoint() -> None:
    schedule = ReduceOnPlateau()
    schedule.load_state({"reduction": 0.1, "best": 2.0, "bad_epochs": 1})
    assert schedule.state() == {"reduction": 0.1, "best": 2.0, "bad_epochs": 1, "resting": 0}


def test_reduce_on_plateau_needs_validation() -> None:
    with pytest.raises(ConfigError, match="ReduceOnPlateau: expected validation data, got none"):
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
        (lambda: OneCycle(0), "OneCycle: expected epochs to be a finite number and above 0, got 0"),
        (lambda: OneCycle(5, rise=1), "OneCycle: expected rise to be a number below 1 and above 0, got 1"),
        (lambda: ReduceOnPlateau(1.0), "ReduceOnPlateau: expected factor to be a number below 1 and above 0, got 1.0"),
        (lambda: ReduceOnPlateau(0.1, -1), "ReduceOnPlateau: expected patience to be a finite number and at least 0"),
        (lambda: ReduceOnPlateau(cooldown=-1), "ReduceOnPlateau: expected cooldown to be a finite number and at least 0"),
        (lambda: ReduceOnPlateau(min_factor=1), "ReduceOnPlateau: expected min_factor to be a number below 1 and at least 0"),
        (lambda: ReduceOnPlateau(threshold=1), "ReduceOnPlateau: expected threshold to be a number below 1 and at least 0"),
        (lambda: ReduceOnPlateau(threshold_mode="relative"), "ReduceOnPlateau: expected threshold_mode 'rel' or 'abs', got 'relative'"),
        (lambda: Step(True), "Step: expected every to be a finite number and above 0, got True"),
    ],
)  # fmt: skip
def test_refuses_arguments_out_of_range(make, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("every", [0.1, 0.2, 0.3, 0.7, 1 / 3, 1.1])
def test_steps_come_in_time(every: float) -> None:
    """However time and period are rounded, a whole number of periods is that number."""
    schedule = Step(every, 0.5)
    for periods in range(1000):
        for time in (periods * every, sum([every] * periods) if periods < 3 else periods * every):
            assert schedule(time) == 0.5**periods
    assert [round(-math.log2(Step(0.1, 0.5)(step / 10))) for step in range(100)] == list(range(100))
    assert Step(2, 0.5)(2 - 1e-9) == 1


X, Y = np.eye(3), np.array([0, 1, 0])


def make_model() -> xpnet.Model:
    return xpnet.Model(nn.Linear(3, 2), losses.CrossEntropy(), optim.SGD(0.5))


class Rates(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
        self.seen.append(model.learning_rate / 0.5)


@pytest.mark.parametrize(("batch_size", "warmup"), [(3, 1), (3, 2), (1, 1), (2, 1.5)])
def test_the_first_step_of_a_warm_up_is_not_wasted(batch_size: int, warmup: float) -> None:
    model, rates = make_model(), Rates()
    n_steps = -(-3 // batch_size)
    before = np.array(model.params["weight"])
    schedule = Cosine(4, warmup=warmup)
    model.fit(X, Y, epochs=1, batch_size=batch_size, schedule=schedule, callbacks=[rates])
    assert not np.array_equal(model.params["weight"], before)
    model.fit(X, Y, epochs=3, batch_size=batch_size, schedule=schedule, callbacks=[rates])
    times = np.arange(4 * n_steps) / n_steps
    ends = times + 1 / n_steps
    wanted = [min(end / warmup, 1) if t < warmup else schedule(t) for t, end in zip(times, ends, strict=True)]
    assert rates.seen == pytest.approx(wanted, rel=1e-12)
    assert min(rates.seen) > 0
    assert max(rates.seen) == 1


class Zero(Schedule):
    def __call__(self, epoch: float) -> float:
        return 0.0


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Cosine(2), r"schedule Cosine\(2\) is over at epoch 2, where the model is: its factor stays 0; "),
        (
            Cosine(1, final=0.1),
            "its factor stays 0.1; pass a schedule that ends at epoch 5, or set model.epoch = 0",
        ),
        (OneCycle(2), "is over at epoch 2"),
        (Zero(), r"Zero\(\) is 0 from epoch 2, where the model is, to epoch 5; pass"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_schedule_that_is_over_is_told_of(schedule: Schedule, message: str) -> None:
    model = make_model()
    model.fit(X, Y, epochs=2, schedule=Cosine(2))
    with pytest.warns(UserWarning, match=message) as told:
        model.fit(X, Y, epochs=3, schedule=schedule)
    assert len(told) == 1
    assert told[0].filename == __file__
    model.fit(X, Y, epochs=0, schedule=schedule)
    model.fit(X, Y, epochs=1, schedule=Cosine(6))
    model.epoch = 0
    if not isinstance(schedule, Zero):
        model.fit(X, Y, epochs=2, schedule=schedule)
