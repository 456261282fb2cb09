"""The schedule and the callbacks of one `fit`: their states, and their calls."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet._training.state import News, Start, Training
from xpnet.backend import Backend
from xpnet.callbacks import Callback, Stateful
from xpnet.errors import CheckpointError
from xpnet.metrics import EpochMetrics
from xpnet.schedules import Schedule

if TYPE_CHECKING:
    from xpnet.model import Model

SCHEDULE = "schedule"  # its name in checkpoints
FIRST_STATE = "_state_before_first_fit"  # the attribute of a schedule or a callback that keeps it


class Hooks:
    """The schedule and the callbacks of one `fit`, called with its model.

    Attributes:
        schedule: the schedule, or None.
        every_step: whether any callback must be called after every step.
    """

    def __init__(
        self, model: "Model", training: Training, schedule: Schedule | None, callbacks: Sequence[Callback]
    ) -> None:
        self.model = model
        self.training = training
        self.schedule = schedule
        self.callbacks = tuple(callbacks)
        self.named = _named(schedule, callbacks)
        called = [name for name, each in self.named.items() if _has_own(each, "on_step")]
        self.called_after_steps = tuple(called)
        self.every_step = any(getattr(self.named[name], "every_step", True) for name in called)

    def restore_states(self) -> None:
        """Restore the states from a loaded checkpoint; else those before the first `fit` of each.

        If the last `fit` was interrupted, those of its participants that take part again keep their states.
        """
        training = self.training
        last = training.participants if training.unfinished else {}
        for name, each in self.named.items():
            is_new = _keep_first_state(each)
            if name in training.loaded:
                try:
                    each.load_state(training.loaded[name])
                except (LookupError, TypeError, AttributeError) as error:
                    message = f"fit: expected a checkpoint with the state of {name}, got another ({error!r})"
                    raise CheckpointError(message) from error
            elif last.get(name) is each:
                if name in training.rewound:
                    each.load_state(_copied(training.rewound[name]))
            elif not is_new:
                _load_first_state(each)
        news, number, before = self._news()
        if news is not None:  # the interrupted fit has not told all: those who take part again hear it now
            names = tuple(name for name in news.names[number:] if last.get(name) is self.named.get(name))
            before = before if names[:1] == news.names[number : number + 1] else None
            left = news._replace(names=names, before=before)
            training.progress = training.progress._replace(news=left)
        training.participants, training.loaded = self.named, {}
        training.forget_later_states()

    def start(self, backend: Backend) -> Start:
        """Where the training is now, with the states of all participants."""
        return Start.of(backend, self.training, self.states())

    def states(self) -> dict[str, Any]:
        """Copies of the states of all participants that can tell them, by name."""
        states = {name: _state(each) for name, each in self.named.items()}
        return {name: state for name, state in states.items() if state is not None}

    @contextmanager
    def from_start_to_end(self) -> Iterator[None]:
        """Call each `on_start` before the block, and `on_end` of those that started after it, also on errors.

        Raises the first exception; later ones become notes to it.
        """
        started: list[Callback] = []
        first: BaseException | None = None
        try:
            for callback in self.callbacks:
                callback.on_start(self.model)
                started.append(callback)
            yield
        except BaseException as error:
            first = error
        for callback in reversed(started):
            try:
                callback.on_end(self.model)
            except BaseException as error:
                if first is None:
                    first = error
                else:
                    first.add_note(f"{type(callback).__name__}.on_end: {error!r}")
        if first is not None:
            raise first

    def news_of_step(self, step: int, n_steps: float) -> News | None:
        """What `tell` then tells: this step has ended. None if no callback wants to know."""
        return News(self.called_after_steps, step=(step, n_steps)) if self.called_after_steps else None

    def news_of_epoch(self, metrics: EpochMetrics) -> News:
        """What `tell` then tells: this epoch has ended."""
        return News(tuple(self.named), epoch=metrics)

    def tell(self) -> None:
        """Tell the schedule and the callbacks the news.

        If that is interrupted, the next `fit` tells the others. Who was interrupted at the end of an epoch is
        told again, in the state before; who was interrupted in `on_step`, or raised an exception, is not.
        """
        training = self.training
        news, number, before = self._news()
        if news is None:
            return
        for name in news.names[number:]:
            each: Any = self.named[name]
            number += 1
            if news.step is not None:
                training.told = news, number, None
                each.on_step(self.model, *news.step)
                continue
            if before is None:
                training.told = news, number - 1, _state(each)
            else:
                each.load_state(_copied(before))
            assert news.epoch is not None
            try:
                if name == SCHEDULE:
                    each.on_epoch(news.epoch.validation_loss)
                else:
                    each.on_epoch(self.model, news.epoch)
            except Exception:
                training.told = news, number, None
                raise
            training.told, before = (news, number, None), None

    def _news(self) -> tuple[News | None, int, dict[str, Any] | None]:
        """The news, how many have been told, and the state of the next one before it was told."""
        news = self.training.progress.news
        if news is None or self.training.told[0] is news:
            return self.training.told if news is not None else (None, 0, None)
        return news, 0, news.before


def _named(schedule: Schedule | None, callbacks: Sequence[Callback]) -> dict[str, Stateful]:
    """The schedule and the callbacks by the names that they have in checkpoints."""
    named: dict[str, Stateful] = {} if schedule is None else {SCHEDULE: schedule}
    for callback in callbacks:
        kind = type(callback).__name__
        number = sum(type(other) is type(callback) for other in named.values())
        named[f"{kind}-{number + 1}" if number else kind] = callback
    return named


def _has_own(companion: Stateful, hook: str) -> bool:
    """Whether its class defines this hook of `Callback`."""
    return isinstance(companion, Callback) and getattr(type(companion), hook) is not getattr(Callback, hook)


def _state(companion: Stateful) -> dict[str, Any] | None:
    """A copy of its state, which its hooks may change later; None if it cannot tell its state."""
    try:
        state: dict[str, Any] = _copied(companion.state())
    except Exception:
        return None
    return state


def _copied(state: Any) -> Any:
    """A copy of a state. Arrays on a device are shared: hooks make new ones."""
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    if type(state) in (list, tuple):
        return type(state)(map(_copied, state))
    return state.copy() if isinstance(state, np.ndarray) else state


def _keep_first_state(companion: Stateful) -> bool:
    """Before the first `fit` of a companion, keep a copy of its state, for later ones to start from.

    Returns whether it was the first.
    """
    if FIRST_STATE in vars(companion):
        return False
    try:
        state = copy.deepcopy(companion.state())
    except Exception:  # it makes its state in `on_start`, each time
        state = None
    object.__setattr__(companion, FIRST_STATE, state)  # it may be frozen
    return True


def _load_first_state(companion: Stateful) -> None:
    state = vars(companion)[FIRST_STATE]
    if state is None:
        return
    try:
        companion.load_state(copy.deepcopy(state))
    except Exception as error:
        error.add_note(f"fit starts {type(companion).__name__} afresh, with the state before its first fit")
        raise
