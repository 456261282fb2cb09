"""Run studies: what `scripts/study.py` does."""

import dataclasses
import inspect
import time
from pathlib import Path

from xpnet import studies
from xpnet.studies.options import Options
from xpnet.studies.report import Report
from xpnet.train import folder as folders


def run(name: str, options: Options | None = None, command: str = "") -> Report:
    """Run the study of that name, write its report, and return it.

    Raises ConfigError, BackendError or DataError before anything is written where the name, the backend,
    the data set or the folder cannot be used, and CheckpointError where a file cannot be written.
    """
    options = options or Options()
    study = studies.load(name)
    if options.output_dir:
        folders.check_new(Path(options.output_dir))
    options.make_backend()
    introduction = inspect.cleandoc(study.__doc__ or "").split("\n\n")[1:]
    report = Report(name, studies.title(name), options, introduction, command)
    study.run(options, report)
    report.write()
    return report


def run_and_tell(name: str, options: Options, command: str = "") -> None:
    """`run`, and print a line about it; with the name "all", run all of them; with "list", name them."""
    if name == "list":
        width = max(map(len, studies.NAMES))
        for each in studies.NAMES:
            print(f"{each:{width}}  {studies.title(each)}")
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
        start = time.monotonic()
        report = run(each, options, command)
        print(f"{each}: {report.verdict()}; {report.path} ({time.monotonic() - start:.1f} s)", flush=True)
