"""Run studies: what `scripts/study.py` does."""

import dataclasses
import inspect
import itertools
import shlex
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from xpnet import studies
from xpnet._util.output import say
from xpnet._util.text import docstring
from xpnet.plots import drawing
from xpnet.studies import combined
from xpnet.studies import report as reports
from xpnet.studies.options import Options, own_options
from xpnet.studies.report import Report
from xpnet.train import folder as folders
from xpnet.train.config import option_name

FLAGS = ("--quick", "--download", "--no-download", "--pdf")  # options without a value after them


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
        more: options that this study alone takes.

    Raises ConfigError, BackendError or DataError, before it writes anything, where the name, the backend, the
    data set or the folder cannot be used, and CheckpointError where a file cannot be written. The report of a
    study that fails or is interrupted has what was found until then.
    """
    options = options or Options()
    study = studies.load(name)
    if options.output_dir and folder is None:
        folders.check_new(options.output_dir)
    options.make_backend()
    if options.pdf:
        reports.printer()  # or an error before the work
    introduction = inspect.cleandoc(docstring(study)).split("\n\n")[1:]
    report = Report(name, studies.title(name), options, introduction, command)
    report.config({each: more.get(each, own.default) for each, own in own_options(name).items()})
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


def run_and_print(name: str, options: Options, command: str = "", **more: Any) -> None:
    """`run`, and print a line about the report. "all" runs all studies, "list" prints their names.

    With "all", each study takes those of the options `more` that it has.
    """
    if name == "list":
        width = max(map(len, studies.NAMES))
        for each in studies.NAMES:
            say(f"{each:{width}}  {studies.title(each)}")
        return
    if name != "all":
        print_result(run(name, options, command, **more))
        return
    options.make_backend()
    options.load_dataset()
    if options.pdf:
        reports.printer()
    folder = folders.make(options.output_dir, "studies")
    done: list[Report] = []
    try:
        for each in studies.NAMES:
            own = {option: more[option] for option in own_options(each) if option in more}
            where = dataclasses.replace(options, output_dir=str(folder / each))
            alone = command_of(each, command, more.keys() - own.keys())
            done.append(run(each, where, alone, **own))
            print_result(done[-1])
    finally:
        if done:
            path = combined.write(folder, done, options, command)
    say(f"all: {combined.verdict(done)}; {_files(path)}")


def command_of(name: str, command: str, others: Iterable[str] = ()) -> str:
    """The command that runs one study alone, with the options of a command that runs all: to a new folder.

    Arguments:
        name: name of the study.
        command: the command that runs all.
        others: options that this study does not take.
    """
    dropped = {"--output-dir", *map(option_name, others)}
    kept: list[str] = []
    for before, word in itertools.pairwise(["", *shlex.split(command)]):
        has_value = before.startswith("--") and "=" not in before and before not in FLAGS
        if word.partition("=")[0] in dropped or (has_value and before in dropped):
            continue
        kept.append(name if word == "all" and not has_value else word)
    return shlex.join(kept)


def print_result(report: Report) -> None:
    """Print a line about a finished report."""
    seconds = time.monotonic() - report.started
    judged = f"{report.verdict()}{combined.TOO_SMALL if report.too_small() else ''}"
    say(f"{report.name}: {judged}; {_files(report.path)} ({seconds:.1f} s)")


def _files(page: Path) -> str:
    printed = page.with_name(reports.PRINTED)
    return f"{page} and {printed.name}" if printed.exists() else str(page)
