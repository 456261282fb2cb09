"""Rounds of single layers. A contestant's process runs all layers; otherwise as `rounds` does for epochs."""

import math
from statistics import median

from bench.layer_contestants import LAYER_CASES, LAYER_CONTESTANTS, LAYER_REFERENCE
from bench.process import Workers
from bench.rounds import Record, Result, divide
from xpnet.nn import Dropout

WARM_UP, ROUNDS = 1, 8


class LayerWorkers:
    """A process for each layer contestant; a context manager that ends them."""

    def __init__(self, contestants: list[str], malloc: str) -> None:
        self.malloc = malloc
        self.workers = Workers("layers", {name: LAYER_CONTESTANTS[name] for name in contestants}, [], malloc)

    def __enter__(self) -> "LayerWorkers":
        return self

    def __exit__(self, *error: object) -> None:
        self.workers.stack.close()

    def compare(self, case_name: str, rounds: int | None) -> Result:
        """Run all rounds of one layer. AssertionError where the contestants' results differ."""
        missing, names = dict(self.workers.missing), []
        for name in self.workers.hellos:
            if "channels last" in name and len(LAYER_CASES[case_name].shape) != 4:
                missing[name] = "for images with channels only"
            else:
                names.append(name)
        answers = self.workers.turns([case_name] * (WARM_UP + (rounds or ROUNDS)), names)
        require_same_numbers(case_name, {name: series[0]["norms"] for name, series in answers.items()})
        times = {
            name: {kind: [answer[kind] for answer in series[WARM_UP:]] for kind in ("forward", "both")}
            for name, series in answers.items()
        }
        records = {name: self.record(case_name, name, times) for name in names}
        return Result(records, missing)

    def record(self, case_name: str, name: str, times: dict[str, dict[str, list[float]]]) -> Record:
        place = LAYER_CONTESTANTS[name].place
        record: Record = {
            "layer": case_name,
            "contestant": name,
            "place": place,
            "library": self.workers.hellos[name]["library"],
            "malloc": self.malloc,
        }
        for kind, seconds in times[name].items():
            rivals = [times[rival + place][kind] for rival in LAYER_REFERENCE if rival + place in times]
            fastest = min(rivals, key=median, default=None)
            record[kind] = {"seconds": seconds, "ratio to PyTorch": fastest and divide(seconds, fastest)}
        return record


def require_same_numbers(case_name: str, norms: dict[str, list[float]]) -> None:
    """AssertionError unless y and dx have the same norms for all; up to 2% where a layer is random."""
    tolerance = 2e-2 if isinstance(LAYER_CASES[case_name].layer, Dropout) else 1e-3
    reference_name, reference = next(iter(norms.items()))
    for name, values in norms.items():
        assert all(math.isclose(*pair, rel_tol=tolerance) for pair in zip(values, reference, strict=True)), (
            f"{case_name}: norms of y and dx are {values} for {name}, {reference} for {reference_name}"
        )
