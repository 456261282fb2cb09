"""The programs of xpnet: `python -m xpnet train`, `xpnet train` once it is installed, `scripts/train.py`.

Each function of `PROGRAMS` is a program: it takes the command-line arguments and a `Call`, and returns the
exit status, or None for 0. Its docstring is the description in `--help`, where PROGRAM stands for what the
user types.
"""

import inspect
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from xpnet._util.text import did_you_mean, docstring, short
from xpnet._util.version import __version__
from xpnet.errors import ConfigError


class Call(NamedTuple):
    """How a user calls a program.

    Fields:
        words: what the user types before the arguments: ("python", "scripts/train.py").
        prog: the name in the usage and at the beginning of an error line.
        description: what the program does.
    """

    words: tuple[str, ...]
    prog: str
    description: str


def train(arguments: Sequence[str], call: Call) -> int | None:
    """Train a network and write a folder with its metrics, parameters and pictures.

        PROGRAM                                       an MLP on the bundled sample of MNIST
        PROGRAM --dataset mnist --backend cupy        all of MNIST, on a GPU
        PROGRAM --config cnn.yaml                     another network; --help names all configs
        PROGRAM --backend jax --device gpu:all        on all GPUs of this machine
        PROGRAM --resume runs/20261121-081530-mlp     resume an interrupted run

    Exit status: 0, 2 for an option or a file that cannot be used, 3 where the loss diverged, 4 where another
    process of a --distributed run has ended, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, 138 after
    SIGUSR1.
    """
    from xpnet.train import command_line, experiment

    config, resume, launch = command_line.parse_run(arguments, call.prog, call.description)

    def action() -> int:
        summary = experiment.run(config, resume)
        return 128 + signal.Signals[summary["interrupted"]] if summary["interrupted"] else 0

    if launch is None:
        return action()
    from xpnet.train import together

    return together.run(launch, call.prog, action)


def study(arguments: Sequence[str], call: Call) -> int | None:
    """Run an experiment and write a report: one HTML file, and its numbers as CSV files.

        PROGRAM list                              list the experiments
        PROGRAM initialization                    on the bundled sample of MNIST
        PROGRAM learning-rate --dataset mnist     on all of MNIST
        PROGRAM all --quick                       all experiments, small, in minutes

    Exit status: 0, 2 for a name, an option or a file that cannot be used, 3 for an unexpected divergence of
    the loss, 130 after Ctrl-C.
    """
    from xpnet.studies import options, runner

    name, shared, own = options.parse(arguments, call.prog, call.description)
    runner.run_and_print(name, shared, command=shlex.join([*call.words, *arguments]), **own)
    return None


def search(arguments: Sequence[str], call: Call) -> int | None:
    """Search for hyper-parameters with Optuna and write a report: the study `hyperparameter-search`.

        PROGRAM                                          on the bundled sample of MNIST
        PROGRAM --dataset mnist --trials 24 --repeats 3  on all of MNIST
        PROGRAM --workers 4                              four trials at the same time
        PROGRAM --storage postgresql://user@host/name    one search of several computers
        PROGRAM --resume runs/20261121-081530-hyperparameter-search
                                                         resume an interrupted search

    Each finished trial is saved at once, so a search may be killed at any time. --resume also helps a search
    that runs, and with more --trials than before extends a finished one.

    Exit status: 0, 2 for an option, a file or a database that cannot be used, 3 for an unexpected divergence
    of the loss, 130 after Ctrl-C.
    """
    from xpnet._util.output import say
    from xpnet.studies import _search_run, runner, search

    options, settings, resume = search.parse(arguments, call.prog, call.description)
    command = shlex.join([*call.words, *search.without_password(arguments)])
    try:
        report = runner.run("hyperparameter-search", options, command, folder=resume, settings=settings)
    except _search_run.Elsewhere as others:
        say(str(others))
    else:
        runner.print_result(report)
    return None


def gradcheck(arguments: Sequence[str], call: Call) -> int | None:
    """Check the gradients of a network by finite differences, parameter by parameter.

        PROGRAM                                       the default network of training
        PROGRAM --config cnn.yaml                     all options of training
        PROGRAM --hidden 64 --activation tanh --l2 0.01
        PROGRAM --resume runs/20261121-081530-mlp     the best parameters of a run

    The batch is the first 16 images of the data set (or --batch-size, if that is less), with a little noise.
    The network is in training mode, in float64.

    Exit status: 0, 1 for a wrong gradient, 2 for an option or a file that cannot be used, 130 after Ctrl-C.
    """
    from xpnet.train import command_line, gradients

    rows = gradients.check(*command_line.parse(arguments, call.prog, call.description))
    print(gradients.table(rows))
    wrong = sum(not row.is_right for row in rows)
    right = f"{len(rows) - wrong} of {len(rows)} parameters"
    print(f"\n{right} have gradients that agree with finite differences")
    return 1 if wrong else 0


def doctor(arguments: Sequence[str], call: Call) -> int | None:
    """What does this machine give xpnet, and are the numbers right?

        PROGRAM                          check every array library that is installed
        PROGRAM --backend numpy torch    check these only
        PROGRAM --json doctor.json       write all that was found to a file, too

    Paste the output, or attach the file, when you report a problem. It takes about half a minute.

    Exit status: 0, 1 if a backend that is here gives wrong numbers or an error, 2 for an option or a file
    that cannot be used, 130 after Ctrl-C. A library that is not installed is not an error.
    """
    from xpnet.train.doctor import command

    return command.run(arguments, call.prog, call.description)


def predict(arguments: Sequence[str], call: Call) -> int | None:
    """Predict the classes of new inputs with a trained run, and write them as CSV.

        PROGRAM runs/20261121-081530-mlp test.csv                   classes and probabilities
        PROGRAM runs/20261121-081530-mlp digit.png                  a picture, several, or a folder of them
        PROGRAM runs/20261121-081530-mlp paint.png --resize --invert    a large one, drawn in black on white
        PROGRAM runs/20261121-081530-mlp t10k-images-idx3-ubyte.gz --output predictions.csv
        PROGRAM runs/20261121-081530-mlp test.csv --kaggle --output submission.csv
        PROGRAM model.onnx test.csv                                 a run that `export` wrote to a file

    Inputs are scaled and normalized as those of the run, and classes have the names that its data set gives.

    Exit status: 0, 2 for an option, a run or a file that cannot be used, 130 after Ctrl-C.
    """
    from xpnet.train import predict

    predict.run(predict.parse(arguments, call.prog, call.description))
    return None


def export(arguments: Sequence[str], call: Call) -> int | None:
    """Write the network of a trained run as an ONNX file, which other programs execute.

        PROGRAM runs/20261121-081530-mlp model.onnx
        PROGRAM runs/20261121-081530-mlp model.onnx --probabilities    end with the softmax
        PROGRAM runs/20261121-081530-mlp model.onnx --no-normalization

    The graph normalizes its inputs as the run did; the metadata hold the names of the classes. It is compared
    with the trained network before the file is written.

    Exit status: 0, 2 for an option, a run or a file that cannot be used, 130 after Ctrl-C.
    """
    from xpnet.train import export

    export.run(export.parse(arguments, call.prog, call.description))
    return None


PROGRAMS: dict[str, Callable[[Sequence[str], Call], int | None]] = {
    each.__name__: each for each in (train, predict, export, study, search, gradcheck, doctor)
}


def main(arguments: Sequence[str] | None = None, words: Sequence[str] | None = None) -> int:
    """Run the program that the first argument names. Returns its exit status.

    Arguments:
        arguments: default: the command line.
        words: what the user types before them; default: `xpnet` or `python -m xpnet`.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if words is None:
        words = ("python", "-m", "xpnet") if Path(sys.argv[0]).name == "__main__.py" else ("xpnet",)
    prog = " ".join(words)
    name, *rest = arguments or [""]
    if name in PROGRAMS:
        return run(name, rest, (*words, name), f"{prog} {name}")
    return guarded(prog, lambda: print(about(name, prog)))


def script(name: str) -> int:
    """Run a program as `python scripts/NAME.py`, with the arguments of the command line."""
    return run(name, sys.argv[1:], ("python", sys.argv[0]), Path(sys.argv[0]).name)


def run(name: str, arguments: Sequence[str], words: tuple[str, ...], prog: str) -> int:
    """Run a program and return its exit status."""
    program = PROGRAMS[name]
    description = inspect.cleandoc(docstring(program)).replace("PROGRAM", " ".join(words))
    return guarded(prog, lambda: program(arguments, Call(words, prog, description)))


def guarded(prog: str, action: Callable[[], int | None]) -> int:
    """`exit_status`. Ctrl-C during its imports ends the process without a traceback."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))
    from xpnet.train.script import exit_status  # which handles Ctrl-C from here on

    return exit_status(prog, action)


def about(name: str, prog: str) -> str:
    """The text for `--help` or `--version`. ConfigError for any other name of a program."""
    if name == "--version":
        return f"xpnet {__version__}"
    if name in ("-h", "--help"):
        width = max(map(len, PROGRAMS))
        titles = {each: docstring(make).partition("\n")[0] for each, make in PROGRAMS.items()}
        lines = [f"  {each:{width}}  {title}" for each, title in titles.items()]
        return "\n".join(
            [f"usage: {prog} PROGRAM [options]", "", *lines, "", f"{prog} PROGRAM --help: all options"]
        )
    like = did_you_mean(name, PROGRAMS) or f"; see {prog} --help"
    raise ConfigError(
        f"expected one of {', '.join(PROGRAMS)}, got {short(name) if name else 'nothing'}{like}"
    )


if __name__ == "__main__":
    sys.exit(main())
