"""Predict the classes of inputs in files with a trained network: what `scripts/predict.py` does."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from xpnet._util import files
from xpnet._util.output import deliver, say
from xpnet.backend import BACKENDS
from xpnet.errors import ConfigError
from xpnet.train.arguments import Parser
from xpnet.train.export import SUFFIX
from xpnet.train.exported_run import ExportedRun, load_exported
from xpnet.train.folder import user_path
from xpnet.train.trained_run import Scores, TrainedRun, load_run

KAGGLE = ("ImageId", "Label")


class Options(NamedTuple):
    """What to predict, and how.

    Fields:
        run_dir: the folder of the run, or an ONNX file.
        paths: the files and folders of inputs.
        weights, backend, device: see `load_run`.
        output: the CSV file to write; None: standard output.
        columns: the names of the two columns of a submission to Kaggle; None: all columns.
        prepared, resize, invert: see `TrainedRun.read`.
    """

    run_dir: Path
    paths: tuple[Path, ...]
    weights: str = "best"
    backend: str | None = None
    device: str | None = None
    output: Path | None = None
    columns: tuple[str, ...] | None = None
    prepared: bool = False
    resize: bool = False
    invert: bool = False


def parse(arguments: Sequence[str], prog: str, description: str) -> Options:
    """The options of a command line. ConfigError, in one line, for one that cannot be used."""
    parser = Parser(prog, description, "%(prog)s RUN_DIR INPUT [INPUT ...] [options]")
    add = parser.add_argument
    add("run_dir", metavar="RUN_DIR", help="folder of the run, or an .onnx file of it")
    add(
        "paths",
        metavar="INPUT",
        nargs="+",
        help="CSV, PNG, JPEG, idx, .npy or .npz file, or folder of pictures",
    )
    add("--weights", help="best: of the best epoch (default); last: of the last checkpoint")
    add("--backend", help=f"array library: {', '.join(BACKENDS)}; default: that of the run")
    add("--device", help="device of the array library, for example cuda:1")
    add("--output", metavar="FILE", help="CSV file to write; default: standard output")
    add("--kaggle", action="store_true", help=f"write two columns, {' and '.join(KAGGLE)}, for Kaggle")
    add("--columns", metavar="NAME,NAME", help="write two columns with these names")
    add(
        "--prepared",
        action="store_true",
        help="the numbers in files are inputs already, as xpnet.data.load gives them: do not scale them",
    )
    add("--resize", action="store_true", help="bring pictures of any size to that of the network")
    add("--invert", action="store_true", help="swap black and white: digits of MNIST are white on black")
    found = parser.options(arguments)
    columns = KAGGLE if found.pop("kaggle", False) else None
    if "columns" in found:
        columns = tuple(name.strip() for name in found.pop("columns").split(","))
        if len(columns) != 2 or not all(columns):
            raise ConfigError(
                f"--columns: expected two names such as {','.join(KAGGLE)}, got {','.join(columns)}"
            )
    if "output" in found:
        found["output"] = user_path("--output", found["output"])
        if found["output"].is_dir() or not found["output"].parent.is_dir():
            raise ConfigError(f"--output: expected a file in a folder that exists, got {found['output']}")
    found["run_dir"] = user_path("RUN_DIR", found["run_dir"])
    found["paths"] = tuple(user_path("INPUT", path) for path in found["paths"])
    return Options(columns=columns, **found)


def run(options: Options) -> None:
    """Predict, and write the rows when all are known."""
    trained = load(options)
    inputs = trained.read(
        *options.paths, prepared=options.prepared, resize=options.resize, invert=options.invert
    )
    scores = trained.scores(inputs.x)
    classes = [trained.class_names[label] for label in scores.labels.tolist()]
    if options.columns is None:
        rows = table(inputs.names, classes, scores, trained.class_names)
    else:
        rows = [options.columns, *zip(inputs.names, classes, strict=True)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    if options.output is None:
        deliver(text.getvalue())
        return
    with files.saving(options.output) as file:
        file.write(text.getvalue().encode(errors="surrogateescape"))
    say(f"{len(inputs.names):,} predictions in {options.output}")


def load(options: Options) -> TrainedRun | ExportedRun:
    """The run in a folder, or in an ONNX file. ConfigError for an option that needs the folder."""
    if options.run_dir.suffix != SUFFIX or options.run_dir.is_dir():
        return load_run(options.run_dir, options.weights, options.backend, options.device)
    for name in ("weights", "backend", "device"):
        value = getattr(options, name)
        if value != Options._field_defaults[name]:
            raise ConfigError(
                f"--{name}: expected the folder of a run with it, got {value} with {options.run_dir}"
            )
    return load_exported(options.run_dir)


def table(
    names: Sequence[str], classes: Sequence[str], scores: Scores, class_names: Sequence[str]
) -> list[Iterable[str]]:
    """The name and the class of each input, and a number for each class, as the loss has it.

    It is the probability, or the output; a loss whose outputs say nothing has none.
    """
    rows = [list(row) for row in zip(names, classes, strict=True)]
    if scores.numbers is None:
        return [("input", "class"), *rows]
    for row, values in zip(rows, scores.numbers.tolist(), strict=True):
        row += [f"{value:.6g}" for value in values]
    return [("input", "class", *(f"{scores.what}_{name}" for name in class_names)), *rows]
