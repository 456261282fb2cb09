"""`fit` of an ensemble: epochs of steps of all of its networks at once."""

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from xpnet._training import divergence, ensemble_data, judging, loop, outcome
from xpnet._training.divergence import StepRange
from xpnet._training.ensemble import NO_STATE, Moment, Stacked, Team
from xpnet._training.ensemble_sources import EnsembleArrays, EnsembleBatches
from xpnet._training.hooks import Hooks
from xpnet._training.inputs import naming
from xpnet._training.measuring import Measures
from xpnet._training.sources import Source
from xpnet._training.state import News, Start
from xpnet._training.step import zero_totals
from xpnet._util.warning import warn
from xpnet.errors import ConfigError, DivergedError, ShapeError
from xpnet.metrics import EpochMetrics, Evaluation


@dataclass
class Fit:
    """One `fit` of an ensemble.

    Arguments:
        team: the networks.
        source: the training data.
        measures: what to measure after each epoch.
        hooks: those of the ensemble.
        network_hooks: those of each network.
    """

    team: Team
    source: EnsembleArrays | EnsembleBatches
    measures: Measures
    hooks: Hooks
    network_hooks: list[Hooks]

    def run(self, epochs: int) -> None:
        """Train for a number of epochs, as `Ensemble.fit` does."""
        team, training = self.team, self.team.training
        team.fitting = False
        team.sync()
        trainings = {k: team.engine(k).training for k in range(len(team.models)) if k not in team.diverged}
        if not trainings:
            raise DivergedError(f"fit: {team.all_diverged()}")
        if not training.unfinished:
            team.stopped.clear()
        self._check_resume()
        batches = self.source.record
        training.stopping = False
        self.hooks.restore_states()
        training.progress = training.progress._replace(batches=batches)
        for k, own in trainings.items():
            own.stopping = False
            self.network_hooks[k].restore_states()
            own.progress = own.progress._replace(batches=batches)
        first = self.network_hooks[min(trainings)]
        loop._warn_if_over(first.schedule, first.training.progress.epoch, epochs, "ensemble")
        with ExitStack() as stack:
            for k in trainings:
                stack.enter_context(self.network_hooks[k].from_start_to_end())
            stack.enter_context(self.hooks.from_start_to_end())
            stack.callback(self._leave)  # before any `on_end`
            team.fitting = True
            for own in (training, *trainings.values()):
                own.unfinished = True
            self._tell(tuple(trainings))
            for _ in range(epochs):
                for own in trainings.values():
                    own.unfinished = True  # also after a callback has assigned other parameters
                if team.backend.any_process(training.stopping):
                    break
                if not (places := team.places()) or not self._epoch(places):
                    break
        goes_on = any(trainings[k].progress.epoch_step > 0 for k in team.places())
        training.unfinished = training.unfinished and goes_on
        for own in trainings.values():
            own.unfinished = own.unfinished and (goes_on or own.progress.epoch_step > 0)

    def _leave(self) -> None:
        self.team.fitting = False
        self.team.sync()

    def _check_resume(self) -> None:
        """ConfigError unless the networks are at the same step of an epoch of these batches."""
        team = self.team
        found = {k: team.engine(k).training.progress for k in team.places()}
        ahead = [k for k, progress in found.items() if progress.epoch_step]
        if not ahead:
            return
        first = found[ahead[0]]
        if any(each.epoch_step != first.epoch_step for each in found.values()):
            raise ConfigError(
                f"fit: expected all networks at the same step of an epoch, got network {ahead[0]} at step "
                f"{first.epoch_step}, and others not; set ensemble[{ahead[0]}].epoch_step = 0"
            )
        self.source.require_resumable(team.progress())
        if self.source.y is None:  # no batch has been read, for 0 epochs
            return
        totals = team.models[ahead[0]].state.totals
        judging.require_same_weights(totals, self.source.y, self.source.restart)

    def _tell(self, places: tuple[int, ...]) -> None:
        """Tell each network's schedule and callbacks, then the ensemble's."""
        for k in places:
            self.network_hooks[k].tell()
        self.hooks.tell()

    def _epoch(self, places: tuple[int, ...]) -> bool:
        """Train these networks for an epoch. Returns False if it was interrupted."""
        team, training = self.team, self.team.training
        self.source.begin(team.progress())
        began: dict[int, Callable[[], Start]] = {}
        while True:
            steps = _Steps(self, places, began)
            goes_on = steps.run()
            is_done = steps.source.is_complete(training.progress.epoch_step)
            moments = team.moments(steps.stacked)
            faults = steps.diverged(moments)
            if is_done:
                self.source.end()
            if is_done and len(faults) < len(places):
                moments, mean = self._measured(steps, moments, faults)
            moments = [moment for k, moment in zip(places, moments, strict=True) if k not in faults]
            places = tuple([k for k in places if k not in faults])
            progress = training.progress
            if is_done and places:
                progress = progress.after_epoch(mean, self.hooks.news_of_epoch(mean))
                progress = progress._replace(batches=self.source.record)
                if progress.epoch == 1:
                    loop._warn_of_scale(team.engine(places[0]).program, self.source, mean)
            team.diverged |= faults
            team.commit([*moments, Moment(training, NO_STATE, progress)])
            for k, fault in faults.items():
                warn(f"network {k} (seed {team.models[k].seed}) has diverged and is taken out: {fault}")
            if len(team.diverged) == len(team.models):
                raise DivergedError(f"fit: {team.all_diverged()}")
            if is_done:
                self._tell(places)
                return True
            places = team.places()
            if training.stopping or not places or not goes_on:
                return False

    def _measured(
        self, steps: "_Steps", moments: list[Moment], faults: dict[int, str]
    ) -> tuple[list[Moment], EpochMetrics]:
        """The moments after the epoch, with the metrics of each network, and the means of these.

        A network whose loss on the training data is not finite joins the faults.
        """
        team, measures, places = self.team, self.measures, steps.stacked.places
        program, state = steps.stacked.program, team.training.state
        n, at_end = steps.source.examples(team.training.progress.epoch_step), measures.train != 0
        measured_at_all = at_end or measures.validation or measures.test
        variables = state.variables(program.optimizer) if measured_at_all else {}

        def measured(name: str, data: Any, examples: int | None = None) -> list[Evaluation]:
            with naming(name):
                return ensemble_data.evaluate(program, places, variables, data, examples=examples)

        nothing: list[Any] = [(None, None)] * len(places)
        if at_end:
            train = measured("training data", self.source.data(), measures.train)
        else:
            train = ensemble_data.of_totals(team.backend, state.totals, n, [0.0] * len(places))
        validation = measured("validation", measures.validation) if measures.validation else nothing
        test = measured("test", measures.test) if measures.test else nothing
        found, after = [], []
        for i, k in enumerate(places):
            moment, seconds = moments[i], steps.seconds
            if at_end and k not in faults and not np.isfinite(train[i].loss):
                faults[k] = steps.set_back(i, moment, train[i].loss)
            metrics = EpochMetrics(
                epoch=moment.progress.epoch + 1,
                train_loss=train[i].loss,
                train_accuracy=train[i].accuracy,
                validation_loss=validation[i][0],
                validation_accuracy=validation[i][1],
                learning_rate=moment.progress.learning_rate,
                seconds=seconds,
                images_per_second=n / seconds,
                test_loss=test[i][0],
                test_accuracy=test[i][1],
                train_metrics="end" if at_end else "running",
            )
            if k not in faults:
                found.append(metrics)
            progress = moment.progress.after_epoch(metrics, self.network_hooks[k].news_of_epoch(metrics))
            after.append(moment._replace(progress=progress._replace(batches=self.source.record)))
        return after, mean_metrics(found, team.training.progress.epoch + 1)


def mean_metrics(metrics: list[EpochMetrics], epoch: int) -> EpochMetrics:
    """The means over networks of their metrics of an epoch, with its number in the ensemble."""

    def mean(values: tuple[Any, ...]) -> Any:
        numbers = [value for value in values if value is not None]
        if not numbers:
            return None
        return numbers[0] if isinstance(numbers[0], str) else float(np.mean(numbers))

    if not metrics:
        return EpochMetrics(epoch, np.nan, None, None, None, np.nan, np.nan, np.nan)
    return EpochMetrics(*map(mean, zip(*metrics, strict=True)))._replace(epoch=epoch)


class _Steps:
    """The steps that are left of an epoch, for some networks.

    Arguments:
        fit, places: of which `fit`, and the networks.
        began: gives where each network began the epoch, if it was broken off for one that stopped; else these
            steps are entered.

    Attributes:
        stacked: the networks.
        source: their steps.
        seconds: the duration of those taken.
    """

    def __init__(self, fit: Fit, places: tuple[int, ...], began: dict[int, Callable[[], Start]]) -> None:
        self.fit, self.began, team = fit, began, fit.team
        for i, k in enumerate(places):
            began.setdefault(k, partial(self._start, i))
        companions = [fit.network_hooks[k].states() for k in places]
        self.stacked: Stacked = team.stack(places, companions)
        program, own = self.stacked.program, self.stacked.progress
        epochs = [progress.epoch for progress in own]
        self.source = fit.source.for_networks(places, epochs)
        schedules = [fit.network_hooks[k].schedule for k in places]
        each = [
            self.source.learning_rates(float(team.models[k].optimizer.learning_rate), schedule, epoch)
            for k, epoch, schedule in zip(places, epochs, schedules, strict=True)
        ]
        self.rates: list[Any] = type(each[0])(zip(*each, strict=True))  # type: ignore[arg-type]
        self.is_scheduled = any(schedule is not None for schedule in schedules)
        self.skipped, seconds = own[0].epoch_step, own[0].epoch_seconds
        training = team.training
        state = training.state
        if not self.skipped:
            x, y = fit.source.x, fit.source.y
            totals = zero_totals(program.objective, team.backend, x, y, program.networks)
            zero = team.backend.from_host(np.zeros(len(places), np.int32))
            state, seconds = state._replace(totals=totals, finite_steps=zero), 0.0
        rate: Any = self.rates[max(self.skipped - 1, 0)]
        self.stacked.progress = [
            progress._replace(epoch_seconds=seconds, learning_rate=its_rate, news=None)
            for progress, its_rate in zip(own, rate, strict=True)
        ]
        progress = training.progress._replace(
            epoch_step=self.skipped, epoch_seconds=seconds, learning_rate=rate, news=None
        )
        training.change(state, progress)
        self.stacked.start = self.start = fit.hooks.start(team.backend)
        self.seconds = seconds

    def run(self) -> bool:
        """Take the steps, until the last one or until a network or the ensemble stops.

        Returns whether a network has stopped, and the others go on.
        """
        fit, backend = self.fit, self.fit.team.backend
        training = fit.team.training
        hooks: Any = _StepHooks(fit, self.stacked)
        began = time.perf_counter() - self.seconds
        program, source = self.stacked.program, self.source
        try:
            with closing(self._ranges(source, self.rates, self.skipped)) as ranges:
                loop._take_steps(program, training, source, ranges, self.rates, hooks, self.start, began)
        except BaseException as error:
            if isinstance(error, ShapeError):  # values that do not fit, found when they were read
                training.go_back(self.start)
            if lost := source.lost():
                error.add_note(lost)
            raise
        backend.to_numpy(
            training.state.finite_steps
        )  # waits for the steps; JAX waits long for all arrays alive
        self.seconds = time.perf_counter() - began
        paused: bool = backend.any_process(hooks.paused)
        if paused:  # some networks go on, unless a process stops them all
            training.stopping = backend.any_process(hooks.ending)
        return paused

    def _ranges(self, source: Source, rates: list[Any], skipped: int) -> Generator[StepRange, None, None]:
        return source.ranges(rates if self.is_scheduled else None, skipped)

    def diverged(self, moments: list[Moment]) -> dict[int, str]:
        """What is wrong with each network that is not finite any more, which is then back at the start."""
        team, state = self.fit.team, self.fit.team.training.state
        places = self.stacked.places
        arrays = state.totals.loss, state.params, state.statistics
        finite = divergence.finite_networks(team.backend, arrays, len(places))
        return {places[i]: self._trace(i, moments[i]) for i in np.flatnonzero(~finite).tolist()}

    def _trace(self, i: int, moment: Moment) -> str:
        """Set network i back, and find where it diverged by taking its steps alone."""
        k = self.stacked.places[i]
        program = self.fit.team.engine(k).program
        moment.training.change(moment.state, moment.progress)
        rates: Any = type(self.rates)([rates[i] for rates in self.rates])
        source, start = self.source.of_network(i), self.began[k]()
        ranges = self._ranges(source, rates, start.progress.epoch_step)
        return str(loop._diverged(program, moment.training, source, start, ranges, rates))

    def set_back(self, i: int, moment: Moment, loss: float) -> str:
        """Set network i back, whose loss after the last step is not finite; what is wrong."""
        k = self.stacked.places[i]
        program, start = self.fit.team.engine(k).program, self.began[k]()
        variables = moment.state.variables(program.optimizer)
        moment.training.go_back(start)
        progress = moment.progress
        problem = (
            f"epoch {progress.epoch + 1}, after its last step, learning rate {progress.learning_rate:g}: "
            f"expected a finite loss, got {loss}"
        )
        try:
            outcome.diverged(program.backend, problem, variables)
        except DivergedError as error:
            return str(error)

    def _start(self, i: int) -> Start:
        """Where these steps of network i started."""
        stacked, start = self.stacked, self.start
        networks = stacked.program.networks
        assert networks is not None
        states = networks.states_of(stacked.program.optimizer, start.state, stacked.like)
        return start._replace(state=states[i], progress=stacked.progress[i], companions=stacked.companions[i])


class _StepHooks:
    """The hooks of the ensemble and of its networks, as `loop` calls them between steps.

    Attributes:
        paused: whether a network has stopped within the epoch, and the others wait to go on.
        ending: whether `stop` of the ensemble was called.
    """

    def __init__(self, fit: Fit, stacked: Stacked) -> None:
        self.fit, self.stacked = fit, stacked
        self.of_networks = [fit.network_hooks[k] for k in stacked.places]
        self.every_step = any(hooks.every_step for hooks in (fit.hooks, *self.of_networks))
        self.paused = self.ending = False

    def news_of_step(self, step: int, n_steps: float) -> News | None:
        found = [hooks.news_of_step(step, n_steps) for hooks in self.of_networks]
        self.stacked.news = found
        news = self.fit.hooks.news_of_step(step, n_steps)
        return News((), step=(step, n_steps)) if news is None and any(found) else news

    def tell(self) -> None:
        team = self.fit.team
        team.training.stopping = team.training.stopping and not self.paused  # set below; other processes lag
        if any(self.stacked.news):
            team.sync()
            for hooks in self.of_networks:
                hooks.tell()
        self.fit.hooks.tell()
        stopping = team.take_in() or any(team.engine(k).training.stopping for k in self.stacked.places)
        self.ending = self.ending or team.training.stopping
        self.paused = self.paused or (stopping and not self.ending)
        team.training.stopping = self.ending or self.paused
