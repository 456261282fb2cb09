"""What a study leaves: one HTML page with its pictures inside, and its tables as CSV files beside it."""

import base64
import csv
import dataclasses
import io
import math
import numbers
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from xpnet import data
from xpnet.errors import ConfigError
from xpnet.studies.options import Options
from xpnet.train import folder as folders
from xpnet.train.config import Config
from xpnet.train.experiment import versions

PAGE = "report.html"
EXPECTATIONS = "expectations"
PIXELS_PER_INCH = 96  # of CSS


class Text(NamedTuple):
    """A paragraph, or lines of code."""

    text: str
    kind: str


class Cell(NamedTuple):
    """What a table shows, and for a number what the CSV file has."""

    shown: str
    value: str
    is_number: bool


class Table(NamedTuple):
    """Rows of cells; `file` is the name of the CSV file that has them too."""

    caption: str
    columns: Sequence[str]
    rows: list[list[Cell]]
    file: str
    kind: str = "table"


class File(NamedTuple):
    """A CSV file that is not shown."""

    caption: str
    file: str
    kind: str = "file"


class Picture(NamedTuple):
    """An SVG image, as a data URI, and its size in CSS pixels."""

    uri: str
    width: int
    height: int


class Pictures(NamedTuple):
    """Images side by side, or one below the other where the page is narrow."""

    images: list[Picture]
    caption: str
    alt: str
    kind: str = "figure"


class Section(NamedTuple):
    """A heading and what is under it."""

    title: str
    items: list[Any]


class Expectation(NamedTuple):
    """What was expected, what came, and whether they agree."""

    claim: str
    came: str
    holds: bool


class Report:
    """Collects what a study finds, in the order of the page, and writes it.

    Texts are plain; what stands between backquotes is shown as code. Tables are written to their CSV
    files as they come, in a folder that is made for the first one; the page is written by `write`.

    Arguments:
        name: of the study.
        title: the page's heading.
        options: those of the study; their `output_dir` is the folder, which must be new.
        introduction: paragraphs at the top.
        command: the command line, to run it again.
    """

    def __init__(
        self,
        name: str,
        title: str = "",
        options: Options | None = None,
        introduction: Iterable[str] = (),
        command: str = "",
    ) -> None:
        self.name = name
        self.title = title or name
        self.options = options or Options()
        self.introduction = [" ".join(paragraph.split()) for paragraph in introduction]
        self.command = command
        self.sections = [Section("", [])]
        self.expectations: list[Expectation] = []
        self.settings: dict[str, str] = {}
        self.dataset: data.Dataset | None = None
        self.files = {f"{EXPECTATIONS}.csv"}
        self.started, self.began_at = time.monotonic(), datetime.now().astimezone()

    @cached_property
    def folder(self) -> Path:
        """The report's folder, made when it is first asked for."""
        return folders.make(self.options.output_dir, self.name)

    @property
    def path(self) -> Path:
        """The page's file."""
        return self.folder / PAGE

    def section(self, title: str) -> None:
        """Begin a section, with that heading."""
        self.sections.append(Section(title, []))

    def text(self, paragraph: str) -> None:
        """Add a paragraph."""
        self._add(Text(" ".join(paragraph.split()), "text"))

    def code(self, lines: str) -> None:
        """Add lines whose breaks and blanks count, in a fixed-width font."""
        self._add(Text(lines.strip("\n"), "code"))

    def table(
        self,
        name: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        caption: str = "",
        formats: Mapping[str, str] | None = None,
    ) -> None:
        """Add a table, and write `name`.csv with the numbers in full.

        Arguments:
            name: of the file, new in this report.
            columns: their headings.
            rows: of strings, numbers, truth values, or None for an empty cell.
            caption: what the table shows.
            formats: how to show the numbers of a column, `{"accuracy": ".4f"}`; others have four digits.

        Raises ConfigError for a row of another length, a column in `formats` that is not there, or a name
        that was used already; CheckpointError where the file cannot be written.
        """
        rows, formats = [list(row) for row in rows], formats or {}
        for row in rows:
            if len(row) != len(columns):
                raise ConfigError(f"table {name}: expected rows of {len(columns)} cells, got {row}")
        for column in formats:
            if column not in columns:
                raise ConfigError(f"table {name}: expected formats for {', '.join(columns)}, got {column!r}")
        cells = [
            [_cell(value, formats.get(column, "")) for value, column in zip(row, columns, strict=True)]
            for row in rows
        ]
        self._add(Table(caption, columns, cells, self._new_csv(name, columns, cells)))

    def numbers(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str) -> None:
        """Write `name`.csv, as `table` does, and add a link to it: for numbers that are too many to show."""
        cells = [[_cell(value) for value in row] for row in rows]
        self._add(File(caption, self._new_csv(name, columns, cells)))

    def figure(self, figures: Figure | Sequence[Figure], caption: str, alt: str = "") -> None:
        """Add a Matplotlib figure, or several that stand side by side where there is room.

        A figure about 5 inches wide fills a phone, and half of a wide page; text in it should be 9 points
        or more. `alt` tells what is to be seen to those who cannot; without it the caption does.
        """
        figures = [figures] if isinstance(figures, Figure) else figures
        self._add(Pictures([_picture(figure) for figure in figures], caption, alt or caption))

    def expect(self, claim: str, came: str, holds: bool) -> None:
        """Note what was expected, what came, and whether they agree; they are listed at the page's top."""
        self.expectations.append(Expectation(claim, came, bool(holds)))

    def config(self, settings: Config | Mapping[str, Any]) -> None:
        """Tell with what numbers the study was run, beside its options. A later call adds to them."""
        if isinstance(settings, Config):
            settings = dataclasses.asdict(settings)
        self.settings |= {name: _cell(value).value for name, value in settings.items()}

    def trained_on(self, dataset: data.Dataset) -> None:
        """Tell which data set the study used."""
        self.dataset = dataset

    def verdict(self) -> str:
        """How many expectations agree with what came, in words."""
        agree, n = sum(each.holds for each in self.expectations), len(self.expectations)
        return f"{agree} of {n} expectations agree" if n else "nothing was expected"

    def write(self) -> Path:
        """Write the page, and the expectations as a CSV file; return the page's path."""
        if self.expectations:
            cells = [[_cell(value) for value in each] for each in self.expectations]
            _write_csv(self.folder / f"{EXPECTATIONS}.csv", ("expected", "came", "agrees"), cells)
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("xpnet.studies", "."),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["prose"] = _prose
        page = environment.get_template("report.html.j2").render(report=self, facts=self._facts())
        folders.write_text(self.path, page)
        return self.path

    def _new_csv(self, name: str, columns: Sequence[str], cells: list[list[Cell]]) -> str:
        path = self.folder / f"{name}.csv"
        if path.name in self.files:
            raise ConfigError(f"table {name}: expected a name that is new in this report")
        self.files.add(path.name)
        _write_csv(path, columns, cells)
        return path.name

    def _add(self, item: Any) -> None:
        self.sections[-1].items.append(item)

    def _facts(self) -> dict[str, str]:
        """What was run: all that the numbers may depend on."""
        options, backend = self.options, self.options.make_backend()
        found = versions(backend)
        for library in ("matplotlib", "scipy", "optuna"):
            if library in sys.modules:
                found[library] = metadata.version(library)
        facts = {
            "study": self.name,
            "command": f"`{self.command}`" if self.command else "",
            "started": f"{self.began_at:%Y-%m-%d %H:%M:%S %Z}",
            "time taken": f"{time.monotonic() - self.started:.1f} seconds",
            "size": "quick" if options.quick else "full",
            "seed": str(options.seed),
            "backend": f"{options.backend}, device {backend.device}",
            "data set": "" if self.dataset is None else _describe(self.dataset),
            "commit": commit(Path(__file__)) or commit(Path(sys.argv[0]).absolute()) or "not known",
            "versions": ", ".join(f"{name} {version}" for name, version in found.items()),
        }
        return {name: fact for name, fact in facts.items() if fact}


def commit(file: Path) -> str:
    """The git commit of the checkout that the file belongs to, "" where it is in none."""
    git = ["git", "-C", str(file.parent)]
    describe = [*git, "describe", "--always", "--dirty=, with changes", "--abbrev=40", "--exclude=*"]
    try:
        tracked = subprocess.run([*git, "ls-files", "--error-unmatch", file.name], capture_output=True)
        if tracked.returncode != 0:
            return ""
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or a checkout that it refuses to read
        return ""


def _describe(dataset: data.Dataset) -> str:
    train, test = len(dataset.train.x), len(dataset.test.x)
    return f"{dataset.name}: {train:,} training and {test:,} test examples"


def _cell(value: Any, spec: str = "") -> Cell:
    if value is None:
        return Cell("", "", False)
    if isinstance(value, bool) or type(value).__name__ == "bool":  # NumPy's
        return Cell("yes" if value else "no", str(value).lower(), False)
    if isinstance(value, numbers.Integral):
        return Cell(format(int(value), spec or ","), str(int(value)), True)
    if isinstance(value, numbers.Real):
        number = float(value)
        return Cell("–" if math.isnan(number) else format(number, spec or ".4g"), repr(number), True)
    return Cell(str(value), str(value), False)


def _write_csv(path: Path, columns: Sequence[str], rows: list[list[Cell]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[cell.value for cell in row] for row in rows])
    folders.write_text(path, text.getvalue())


def _picture(figure: Figure) -> Picture:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    width, height = figure.get_size_inches() * PIXELS_PER_INCH
    encoded = base64.b64encode(file.getvalue()).decode()
    return Picture(f"data:image/svg+xml;base64,{encoded}", round(width), round(height))


def _prose(text: str) -> Markup:
    """The text, escaped, with what stands between backquotes as code."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts)
    )
