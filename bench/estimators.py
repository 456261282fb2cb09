"""The estimators of `xpnet.sklearn` beside scikit-learn's multi-layer perceptrons: whole calls of `fit`.

In each round every contestant fits the task with the same `random_state`, in a random order, in a process of
its own, and then scores the test data. The rounds differ in `random_state`, and so show the spread of the
scores. All contestants have the same parameters of the same names, the defaults of scikit-learn.
"""

import time
import warnings
from dataclasses import dataclass
from statistics import mean, pstdev

from bench.contestants import Unavailable
from bench.contestants._xpnet import switch_numba
from bench.process import Workers
from bench.rounds import Record, Result, divide
from xpnet import data
from xpnet.errors import DataError

WARM_UP, ROUNDS = 1, 5


@dataclass(frozen=True)
class Task:
    """What to fit: 100 hidden units by Adam in batches of 200, as scikit-learn's defaults are.

    Arguments:
        kind: "classifier" of the digits, or "regressor" of the digit as a number.
        data: a name for `data.load`.
        dtype: of the inputs, and so of the training.
        epochs: the number of epochs, before which no contestant stops.
    """

    kind: str
    data: str
    dtype: str
    epochs: int

    @property
    def name(self) -> str:
        return f"{self.data.rpartition(':')[2]}, {self.kind}, {self.dtype}"

    def load(self) -> data.Dataset:
        """The data, rows of pixels. Raises Unavailable where they are missing."""
        try:
            found = data.load(self.data, download=False)
        except DataError as error:
            raise Unavailable(str(error)) from error
        return found._replace(train=self._rows(found.train), test=self._rows(found.test))

    def _rows(self, examples: data.Examples) -> data.Examples:
        x, y = examples
        y = y if self.kind == "classifier" else y.astype(self.dtype)
        return data.Examples(x.reshape(len(x), -1).astype(self.dtype), y)


TASKS = {
    task.name: task
    for task in (
        Task(kind, name, dtype, epochs)
        for kind in ("classifier", "regressor")
        for name, epochs in (("sklearn:digits", 100), ("mnist", 5))
        for dtype in ("float32", "float64")
    )
}


class Estimator:
    """An estimator in a process of its own.

    Arguments:
        library: the one that does the numerical work, "sklearn" or "numpy".
        numba: whether xpnet's loops are Numba's.
    """

    device, precision = "cpu", "float32"

    def __init__(self, library: str, numba: bool = False) -> None:
        self.library = library
        self.also: tuple[str, ...] = ()
        self.environment: dict[str, str] = {}
        switch_numba(self, numba)

    def prepare(self, task: Task) -> None:
        if self.library == "sklearn":
            from sklearn.neural_network import MLPClassifier as Classifier
            from sklearn.neural_network import MLPRegressor as Regressor
        else:
            from xpnet.sklearn import XPNetClassifier as Classifier
            from xpnet.sklearn import XPNetRegressor as Regressor
        self.make = Classifier if task.kind == "classifier" else Regressor
        self.task, self.data = task, task.load()

    def turn(self, number: str) -> dict[str, float]:
        """The seconds of a `fit` with `random_state=number`, and the score: the accuracy, or R²."""
        epochs = self.task.epochs
        estimator = self.make(max_iter=epochs, tol=0.0, n_iter_no_change=epochs, random_state=int(number))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not converged
            start = time.perf_counter()
            estimator.fit(*self.data.train)
            seconds = time.perf_counter() - start
        assert estimator.n_iter_ == epochs, f"expected {epochs} epochs, got {estimator.n_iter_}"
        return {"seconds": seconds, "score": float(estimator.score(*self.data.test))}


REFERENCE = "scikit-learn's MLP"
ESTIMATORS = {
    "xpnet on NumPy": Estimator("numpy"),
    "xpnet on NumPy with Numba": Estimator("numpy", numba=True),
    REFERENCE: Estimator("sklearn"),
}


def compare(task: Task, contestants: list[str], rounds: int | None, malloc: str) -> Result:
    """Run all rounds of one task.

    Raises AssertionError where the scores of xpnet are lower, RuntimeError where a process ends or has
    another number of threads.
    """
    records: dict[str, Record] = {}
    chosen = {name: ESTIMATORS[name] for name in contestants}
    with Workers("estimators", chosen, [task.name], malloc) as workers:
        turns = workers.turns(range(WARM_UP + (rounds or ROUNDS)))
    seconds, scores = (
        {name: [turn[key] for turn in each[WARM_UP:]] for name, each in turns.items()}
        for key in ("seconds", "score")
    )
    require_same_scores(scores)
    reference = seconds.get(REFERENCE)
    for name, hello in workers.hellos.items():
        records[name] = {
            "task": task.name,
            "epochs": task.epochs,
            "contestant": name,
            "library": hello["library"],
            "malloc": malloc,
            "seconds": seconds[name],
            "scores": scores[name],
            "ratio to scikit-learn": reference and divide(seconds[name], reference),
        }
    return Result(records, workers.missing)


def require_same_scores(scores: dict[str, list[float]]) -> None:
    """AssertionError if a mean score is more than two standard deviations below scikit-learn's.

    The deviation is the larger one of both; a single round has none, and shows nothing.
    """
    reference = scores.get(REFERENCE, [])
    for name, each in scores.items():
        if len(each) < 2 or not reference:
            continue
        lowest = mean(reference) - 2 * max(pstdev(reference), pstdev(each))
        assert mean(each) >= lowest, (
            f"expected scores in the spread of {REFERENCE}'s, from {lowest:.4f}, got {each} for {name}"
        )
