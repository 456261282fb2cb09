"""The networks of an ensemble: each a model, and stacked while an epoch trains them at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from xpnet import tree
from xpnet._training import divergence
from xpnet._training.learner import Engine, Learner, engine
from xpnet._training.networks import Member, Networks
from xpnet._training.program import Program, compile_program
from xpnet._training.state import News, Progress, Start, State, Totals, Training
from xpnet._training.step import Augment, SharedObjective
from xpnet.tree import Tree


class Moment(NamedTuple):
    """What to set one network's training to; `companions` as in `Start`, to go back, or None."""

    training: Training
    state: State
    progress: Progress
    companions: dict[str, Any] | None = None


@dataclass
class Stacked:
    """The networks that an epoch trains, while it does.

    Fields:
        places: which networks of the ensemble they are.
        program: their program.
        like: trees with the names of the states of each.
        progress: where each of them was before the first of these steps.
        companions: the states of their schedules and callbacks then.
        news: what is to be told of the last step, for each.
        start: where the steps start.
        synced: the last state of the stack that `sync` brought the networks to, and theirs then.
        assigned: the states that callbacks have assigned to networks since, in a form of their own.
    """

    places: tuple[int, ...]
    program: Program
    like: list[State]
    progress: list[Progress]
    companions: list[dict[str, Any]]
    news: list[News | None]
    start: Start | None = None
    synced: tuple[State, list[State]] | None = None
    assigned: dict[int, State] = field(default_factory=dict)


NO_STATE = State({}, {}, {}, Totals(0.0, 0), None, None)  # type: ignore[arg-type]


class Team:
    """The networks of an ensemble.

    Each is a `Model` with its own training. While an epoch runs, the stack of those that it trains is ahead
    of them; `sync` brings them there.

    Arguments:
        models: the networks.
        augment, micro_batch: as in `Model`.

    Attributes:
        training: the progress of the whole; its state is the stack's.
        diverged: the message for each network that was taken out because it diverged.
        stopped: the networks that have stopped in the `fit` that runs, or was interrupted.
        fitting: whether a `fit` runs.
    """

    def __init__(self, models: Sequence[Learner], augment: Augment | None, micro_batch: int | None) -> None:
        self.models = tuple(models)
        self.backend = models[0].backend
        self.training = Training(NO_STATE, Progress())
        self.diverged: dict[int, str] = {}
        self.stopped: set[int] = set()
        self.fitting = False
        self._options: dict[str, Any] = {"augment": augment, "micro_batch": micro_batch}
        self._stacked: Stacked | None = None
        self._pending: list[Moment] = []
        self._programs: dict[tuple[int, ...], tuple[Any, Program]] = {}

    def engine(self, k: int) -> Engine:
        """The parts of network k."""
        return engine(self.models[k])

    def program(self, places: tuple[int, ...]) -> Program:
        """The program of these networks."""
        members = tuple([_member(self.models[k]) for k in places])
        kept = self._programs.get(places)
        if kept is not None and all(map(_is_same, kept[0], members)):
            return kept[1]
        networks = Networks(members, len(self.models))
        optimizer = networks.optimizer(self.backend)
        objective = SharedObjective(members[0].net, networks.loss(), networks.l2(self.backend))
        program = compile_program(
            objective, optimizer, self.backend, seed=members[0].seed, **self._options, networks=networks
        )
        everyone = tuple(range(len(self.models)))
        self._programs = {key: value for key, value in self._programs.items() if key == everyone}
        self._programs[places] = members, program
        return program

    def variables(self, places: tuple[int, ...]) -> Tree:
        """The parameters and statistics that these networks use outside training, stacked."""
        program = self.program(places)
        assert program.networks is not None
        state = program.networks.state(program.optimizer, [self.models[k].state for k in places])
        return state.variables(program.optimizer)

    def places(self) -> tuple[int, ...]:
        """The networks that train: those that have neither stopped nor diverged."""
        everyone = range(len(self.models))
        if self.training.unfinished:
            flags = self.backend.any_process_each([self.engine(k).training.stopping for k in everyone])
            stopping = {k for k in everyone if flags[k]} - self.stopped
            # One that stopped because it diverges takes part until that has been found and told.
            self.stopped |= {k for k in stopping if not divergence.has_diverged(self.models[k].state)}
        return tuple([k for k in everyone if k not in self.stopped and k not in self.diverged])

    def progress(self) -> Progress:
        """The progress of the whole, with the step of the epoch where its networks are, and its batches."""
        self.sync()
        each = [self.engine(k).training.progress for k in self.places()]
        first = next((own for own in each if own.epoch_step), self.training.progress._replace(epoch_step=0))
        return self.training.progress._replace(epoch_step=first.epoch_step, batches=first.batches)

    def take_over(
        self,
        trainings: Sequence[Training],
        whole: tuple[Progress, bool, dict[str, Any]],
        diverged: dict[int, str],
        stopped: set[int],
    ) -> None:
        """Continue with these trainings of the networks, and what `ensemble_files.restored` gave."""
        self.sync()
        progress, unfinished, companions = whole
        for k, training in enumerate(trainings):
            own = self.engine(k).training
            training.unfinished = False
            own.take_over(training)
        first = trainings[0].progress if trainings else progress
        for each in trainings:
            first = each.progress if each.progress.epoch_step else first
        progress = progress._replace(epoch_step=first.epoch_step, epoch_seconds=first.epoch_seconds)
        self.training.take_over(Training(NO_STATE, progress, companions))
        self.training.unfinished = unfinished
        self.diverged, self.stopped = diverged, stopped

    def all_diverged(self) -> str:
        """The message if no network is left."""
        k, fault = next(iter(self.diverged.items()))
        return f"all {len(self.models)} networks have diverged; network {k}: {fault}"

    # The stack, and the networks.

    def stack(self, places: tuple[int, ...], companions: list[dict[str, Any]]) -> Stacked:
        """Stack the states of these networks, for steps to follow; `companions` as in `Stacked`."""
        self.sync()
        program = self.program(places)
        assert program.networks is not None
        states = [self.models[k].state for k in places]
        like: list[Any] = [tree.map(lambda array: None, state) for state in states]
        progress = [self.engine(k).training.progress for k in places]
        self.training.state = program.networks.state(program.optimizer, states)
        news: list[News | None] = [None] * len(places)
        self._stacked = Stacked(places, program, like, progress, companions, news)
        return self._stacked

    def sync(self) -> None:
        """Bring the networks to where the stack is, if it is ahead of them; forget it after a `fit`."""
        stacked = self._stacked
        if self._pending:
            self.commit(self._pending)
        elif stacked is not None and stacked.start is not None:
            if self.fitting and stacked.synced is not None and stacked.synced[0] is self.training.state:
                return  # a callback may have assigned other parameters since
            moments = self.moments(stacked)
            if self.fitting:
                for moment in moments:
                    _apply(moment)
                stacked.synced = self.training.state, [moment.state for moment in moments]
            else:
                self.commit([*moments, Moment(self.training, NO_STATE, self.training.progress)])

    def take_in(self) -> bool:
        """Take over what callbacks have assigned to networks since `sync`.

        Returns whether the networks have another program now, so that no step of this one may follow.
        """
        stacked = self._stacked
        if stacked is None or stacked.synced is None:
            return False
        (_, before), stacked.synced = stacked.synced, None
        now = [self.models[k].state for k in stacked.places]
        changed = [i for i, state in enumerate(now) if not _has_same_arrays(state, before[i])]
        is_other = self.program(stacked.places) is not stacked.program
        if changed:
            networks, optimizer = stacked.program.networks, stacked.program.optimizer
            assert networks is not None
            states = networks.states_of(optimizer, self.training.state, stacked.like)
            for i in changed:
                # Another optimizer's state may not stack with those of the others; `assigned` keeps it.
                states[i] = now[i]._replace(optimizer=states[i].optimizer) if is_other else now[i]
                self.engine(stacked.places[i]).training.unfinished = True
            self.training.state = networks.state(optimizer, states)
            stacked.assigned = {i: now[i] for i in changed} if is_other else {}
        return is_other

    def commit(self, moments: list[Moment]) -> None:
        """Set all these networks to their moments, and forget the stack. If interrupted, `sync` ends it."""
        self._pending = moments
        self._stacked = None
        for moment in moments:
            _apply(moment)
        self._pending = []

    def moments(self, stacked: Stacked) -> list[Moment]:
        """Where the stack is, for each of its networks."""
        state, now, program = self.training.state, self.training.progress, stacked.program
        assert program.networks is not None
        states = program.networks.states_of(program.optimizer, state, stacked.like)
        went_back = stacked.start is not None and now is stacked.start.progress
        found = []
        for i, k in enumerate(stacked.places):
            progress, companions = stacked.progress[i], stacked.companions[i] if went_back else None
            if not went_back:
                rates: Any = now.learning_rate
                progress = progress.after_step(now.epoch_step, now.epoch_seconds, rates[i], stacked.news[i])
            state = stacked.assigned.get(i, states[i])
            found.append(Moment(self.engine(k).training, state, progress, companions))
        return found


def _member(model: Learner) -> Member:
    objective = model.objective
    return Member(objective.net, objective.loss, model.optimizer, model.seed, objective.l2)


def _is_same(member: Member, other: Member) -> bool:
    """Whether both are made of the same objects: arrays in them do not compare."""
    return all(a is b or (isinstance(a, int | float) and a == b) for a, b in zip(member, other, strict=True))


def _has_same_arrays(state: State, other: State) -> bool:
    leaves, others = tree.leaves(state), tree.leaves(other)
    return len(leaves) == len(others) and all(a is b for a, b in zip(leaves, others, strict=True))


def _apply(moment: Moment) -> None:
    training, state, progress, companions = moment
    if companions is None:
        training.change(state, progress)
    else:
        training.set_back(state, progress, companions)
