"""Run studies: what `scripts/study.py` does."""

import dataclasses
import inspect
import itertools
import shlex
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from xpnet import studies
from xpnet._util.output import say
from xpnet._util.text import docstring
from xpnet.studies.options import Options
from xpnet.studies.report import Report
from xpnet.train import drawing
from xpnet.train import folder as folders

WITH_VALUE = ("--backend", "--device", "--dataset", "--data-dir", "--seed")  # options with a value after them


def run(
    name: str,
    options: Options | None = None,
    command: str = "",
    *,
    folder: Path | None = None,
    **more: Any,
) -> Report:
    """Run the study of that name, write its report, and return it.

    Arguments:
        name: name of the study.
        options: options that all studies share.
        command: command line to print in the report.
        folder: folder of a study to resume; default: a new folder from the options.
        more: arguments that this study alone takes.

    Raises ConfigError, BackendError or DataError, before it writes anything, where the name, the backend, the
    data set or the folder cannot be used, and CheckpointError where a file cannot be written. The report of a
    study that fails or is interrupted has what was found until then.
    """
    options = options or Options()
    study = studies.load(name)
    if options.output_dir and folder is None:
        folders.check_new(options.output_dir)
    options.make_backend()
    introduction = inspect.cleandoc(docstring(study)).split("\n\n")[1:]
    report = Report(name, studies.title(name), options, introduction, command)
    if folder is not None:
        report.folder = folder
    with drawing.settings():
        try:
            study.run(options, report, **more)
        except BaseException as error:
            if any(section.items for section in report.sections):  # keep what was found
                report.failure = " ".join(str(error).split()) or type(error).__name__
                with suppress(Exception):
                    report.write()
            raise
        report.write()
    return report


def run_and_print(name: str, options: Options, command: str = "") -> None:
    """`run`, and print a line about the report. "all" runs all studies, "list" prints their names."""
    if name == "list":
        width = max(map(len, studies.NAMES))
        for each in studies.NAMES:
            say(f"{each:{width}}  {studies.title(each)}")
        return
    names = [name]
    if name == "all":
        names = list(studies.NAMES)
        options.make_backend()
        options.load_dataset()
        folder = folders.make(options.output_dir, "studies")
    for each in names:
        if name == "all":
            options = dataclasses.replace(options, output_dir=str(folder / each))
        print_result(run(each, options, command if name == each else command_of(each, command)))


def command_of(name: str, command: str) -> str:
    """The command that runs one study alone, with the options of a command that runs all: to a new folder."""
    words = shlex.split(command)
    kept: list[str] = []
    for before, word in itertools.pairwise(["", *words]):
        if before == "--output-dir" or word.partition("=")[0] == "--output-dir":
            continue
        is_name = word == "all" and before not in WITH_VALUE
        kept.append(name if is_name else word)
    return shlex.join(kept)


def print_result(report: Report) -> None:
    """Print a line about a finished report."""
    seconds = time.monotonic() - report.started
    judged = f"{report.verdict()}{', but quick is too small to judge' if report.too_small() else ''}"
    say(f"{report.name}: {judged}; {report.path} ({seconds:.1f} s)")
