"""Runs of the studies at their quick size, each once for all tests of a session."""

import csv
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xpnet._util import files
from xpnet.studies import runner
from xpnet.studies.options import Options


class QuickStudies:
    """Runs a study when a test first asks for its results. Several processes may share the folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __getitem__(self, name: str) -> Path:
        """The folder of the study's report."""
        folder, done = self.root / name, self.root / f"{name}.done"
        with waiting_lock(self.root / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                runner.run(name, Options(quick=True, output_dir=str(folder), processes=1))
                done.touch()
        return folder

    def table(self, name: str, table: str) -> list[dict[str, str]]:
        """The rows of a table of the study."""
        with (self[name] / f"{table}.csv").open(newline="") as file:
            return list(csv.DictReader(file))


@contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(exist_ok=True)
    while True:
        try:
            with files.lock(path):
                yield
                return
        except BlockingIOError:
            time.sleep(0.05)
