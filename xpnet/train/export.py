"""Write the network of a run as an ONNX file: what `scripts/export.py` does."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from xpnet._util.output import say
from xpnet.errors import ConfigError
from xpnet.train.arguments import Parser, YesNo
from xpnet.train.folder import user_path
from xpnet.train.trained_run import load_run

SUFFIX = ".onnx"


class Options(NamedTuple):
    """What to export, and how.

    Fields:
        run_dir: the folder of the run.
        path: the file to write.
        weights: see `load_run`.
        probabilities, normalization: see `TrainedRun.export`.
    """

    run_dir: Path
    path: Path
    weights: str = "best"
    probabilities: bool = False
    normalization: bool = True


def parse(arguments: Sequence[str], prog: str, description: str) -> Options:
    """The options of a command line. ConfigError, in one line, for one that cannot be used."""
    parser = Parser(prog, description, "%(prog)s RUN_DIR FILE.onnx [options]")
    add = parser.add_argument
    add("run_dir", metavar="RUN_DIR", help="folder of the run")
    add("path", metavar="FILE.onnx", help="file to write; one that exists is replaced")
    add("--weights", help="best: of the best epoch (default); last: of the last checkpoint")
    add(
        "--probabilities",
        action=YesNo,
        help="return probabilities, not the logits that the network returns (default: no)",
    )
    add(
        "--normalization",
        action=YesNo,
        help="take inputs as xpnet.data.load gives them and normalize them if the run did (default: yes)",
    )
    found = parser.options(arguments)
    found["run_dir"] = user_path("RUN_DIR", found["run_dir"])
    path = found["path"] = user_path("FILE.onnx", found["path"])
    if path.suffix != SUFFIX:
        raise ConfigError(f"FILE.onnx: expected a name that ends in {SUFFIX}, got {path}")
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(f"FILE.onnx: expected a file in a folder that exists, got {path}")
    return Options(**found)


def run(options: Options) -> None:
    """Export, and say what was written."""
    trained = load_run(options.run_dir, options.weights, backend="numpy")
    say(
        str(
            trained.export(
                options.path, probabilities=options.probabilities, normalization=options.normalization
            )
        )
    )
