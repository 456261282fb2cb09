"""The report of a study: one HTML page that contains its pictures, and its tables as CSV files."""

import base64
import csv
import dataclasses
import importlib
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
from types import ModuleType
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup, escape

from xpnet import data
from xpnet._util.output import say
from xpnet.errors import ConfigError
from xpnet.plots import drawing
from xpnet.plots.drawing import Figure
from xpnet.studies.options import Options
from xpnet.train import folder as folders
from xpnet.train.config import Config
from xpnet.train.experiment import versions

PAGE, PRINTED = "report.html", "report.pdf"
EXPECTATIONS = "expectations"
PIXELS_PER_INCH = 96  # of CSS


class Text(NamedTuple):
    """A paragraph, or lines of code."""

    text: str
    kind: str


class Cell(NamedTuple):
    """A cell of a table: the text on the page, and the full value in the CSV file."""

    shown: str
    value: str
    is_number: bool


class Table(NamedTuple):
    """Rows of cells; `file` is the name of the CSV file with the same rows."""

    caption: str
    columns: Sequence[str]
    rows: list[list[Cell]]
    file: str
    kind: str = "table"

    def is_number(self, column: int) -> bool:
        """Whether a column holds numbers, which stand on its right side."""
        return any(row[column].is_number for row in self.rows)


class File(NamedTuple):
    """A CSV file that the page links but does not show."""

    caption: str
    file: str
    kind: str = "file"


class Picture(NamedTuple):
    """An SVG image, as a data URI, its size in CSS pixels, and the same as a PDF page where one is wanted."""

    uri: str
    width: int
    height: int
    pdf: bytes


class Pictures(NamedTuple):
    """Images side by side, or one below the other on a narrow page."""

    images: list[Picture]
    caption: str
    alt: str
    kind: str = "figure"


class Section(NamedTuple):
    """A heading and the items under it."""

    title: str
    items: list[Any]


class Expectation(NamedTuple):
    """A claim made before the experiment, the result, and whether they agree."""

    claim: str
    result: str
    holds: bool


class Report:
    """Collect the results of a study in the order of the page, and write the page.

    Texts are plain; text between backquotes is shown as code. `table` writes its CSV file at once, and makes
    the folder first if needed; `write` writes the page.

    Arguments:
        name: name of the study.
        title: heading of the page.
        options: options of the study; `output_dir` is the folder, which must be new.
        introduction: paragraphs at the top.
        command: command line that runs the study again.
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
        self.facts: dict[str, str] = {}  # what the numbers may depend on, once the page is written
        self.failure = ""  # why the study ended early
        self.dataset: data.Dataset | None = None
        self.files = {f"{EXPECTATIONS}.csv"}
        self.started, self.began_at = time.monotonic(), datetime.now().astimezone()

    @cached_property
    def folder(self) -> Path:
        """The folder of the report, made on first access."""
        return folders.make(self.options.output_dir, self.name)

    @property
    def path(self) -> Path:
        """The file of the page."""
        return self.folder / PAGE

    def section(self, title: str) -> None:
        """Begin a section, with that heading."""
        self.sections.append(Section(title, []))

    def text(self, paragraph: str) -> None:
        """Add a paragraph."""
        self._add(Text(" ".join(paragraph.split()), "text"))

    def code(self, lines: str) -> None:
        """Add preformatted lines in a fixed-width font."""
        self._add(Text(lines.strip("\n"), "code"))

    def table(
        self,
        name: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        caption: str = "",
        formats: Mapping[str, str] | None = None,
    ) -> None:
        """Add a table, and write `name`.csv with the numbers in full precision.

        Arguments:
            name: name of the file, used once in a report.
            columns: headings of the columns.
            rows: strings, numbers, truth values, or None for an empty cell.
            caption: what the table shows.
            formats: number format of a column, `{"accuracy": ".4f"}`; default: four digits.

        Raises ConfigError for a row of another length, an unknown column in `formats`, or a name that was
        used before; CheckpointError where the file cannot be written.
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
        """Write `name`.csv as `table` does, and add a link instead of a table that would be too long."""
        cells = [[_cell(value) for value in row] for row in rows]
        self._add(File(caption, self._new_csv(name, columns, cells)))

    def figure(self, figures: Figure | Sequence[Figure], caption: str, alt: str = "") -> None:
        """Add a Matplotlib figure, or several side by side where there is room.

        A figure about 5 inches wide fills a phone, and half of a wide page; text in it should be 9 points
        or more. `alt` is the text for screen readers; default: the caption.
        """
        figures = [figures] if isinstance(figures, Figure) else figures
        try:
            pictures = [_picture(figure, self.options.pdf) for figure in figures]
        except Exception as error:  # of any kind: Matplotlib, its fonts, memory
            reason = " ".join(str(error).split()) or type(error).__name__
            say(f"{self.folder}: not drawn ({reason}): {caption}", error=True)
            self.text(f"A picture is missing: it could not be drawn ({reason}). {caption}")
            return
        self._add(Pictures(pictures, caption, alt or caption))

    def expect(self, claim: str, result: str, holds: bool) -> None:
        """Add an expectation, the result, and whether they agree. The page lists them at the top."""
        self.expectations.append(Expectation(claim, result, bool(holds)))

    def config(self, settings: Config | Mapping[str, Any]) -> None:
        """Add settings of the study, besides its options. Later calls add more."""
        if isinstance(settings, Config):
            settings = dataclasses.asdict(settings) | {"train_metrics": "end"}  # as `sweep.train` measures
        self.settings |= {name: _cell(value).value for name, value in settings.items()}

    def trained_on(self, dataset: data.Dataset) -> None:
        """Record the data set that the study used."""
        self.dataset = dataset

    def verdict(self) -> str:
        """The number of expectations that agree with the results, in words."""
        agree, n = sum(each.holds for each in self.expectations), len(self.expectations)
        return f"{agree} of {n} expectations agree" if n else "no expectations"

    def too_small(self) -> bool:
        """Whether a quick run differs from an expectation: it is too small to judge."""
        return self.options.quick and not self.agrees()

    def agrees(self) -> bool:
        """Whether the study is complete, and all expectations agree with the results."""
        return not self.failure and all(each.holds for each in self.expectations)

    def judgement(self) -> str:
        """The verdict in a sentence or two."""
        small = (
            " This run is quick: too small to judge the expectations that differ. Run it without `--quick`."
        )
        return f"{self.verdict()} with the results.{small if self.too_small() else ''}"

    def write(self) -> Path:
        """Write the page, and the expectations as a CSV file; return the page's path.

        With the option `pdf`, write the same as PDF, too.
        """
        dataset = {} if self.dataset is None else {"data set": _describe(self.dataset)}
        self.facts = {"study": self.name} | facts(
            self.options, self.command, self.began_at, self.started, **dataset
        )
        if self.expectations:
            cells = [[_cell(value) for value in each] for each in self.expectations]
            _write_csv(self.folder / f"{EXPECTATIONS}.csv", ("expected", "result", "agrees"), cells)
        render(self.path, "report.html.j2", title=self.title, report=self)
        if self.options.pdf:
            printer().write(self.folder / PRINTED, [self])
        return self.path

    def _new_csv(self, name: str, columns: Sequence[str], cells: list[list[Cell]]) -> str:
        path = self.folder / f"{name}.csv"
        if path.name in self.files:
            raise ConfigError(f"table {name}: expected a name that this report does not use yet")
        self.files.add(path.name)
        _write_csv(path, columns, cells)
        return path.name

    def _add(self, item: Any) -> None:
        self.sections[-1].items.append(item)


def facts(options: Options, command: str, began_at: datetime, started: float, **more: str) -> dict[str, str]:
    """What the numbers of a run may depend on, and how long it has taken since `started`."""
    backend = options.make_backend()
    found = versions(backend)
    for library in ("matplotlib", "scipy", "optuna"):
        if library in sys.modules:
            found[library] = metadata.version(library)
    facts = {
        "command": f"`{command}`" if command else "",
        "started": f"{began_at:%Y-%m-%d %H:%M:%S %Z}",
        "time taken": f"{time.monotonic() - started:.1f} seconds",
        "size": "quick" if options.quick else "full",
        "seed": str(options.seed),
        "backend": f"{options.backend}, device {backend.device}",
        **more,
        "commit": commit(Path(__file__)) or commit(Path(sys.argv[0]).absolute()) or "not known",
        "versions": ", ".join(f"{name} {version}" for name, version in found.items()),
    }
    return {name: fact for name, fact in facts.items() if fact}


def render(path: Path, template: str, **values: Any) -> None:
    """Write a page from a template of this package."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("xpnet.studies", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = _prose
    folders.write_text(path, environment.get_template(template).render(values))


def printer() -> ModuleType:
    """The module that prints reports as PDF. Raises ConfigError where its libraries are not installed."""
    try:
        return importlib.import_module("xpnet.studies._pdf")
    except ImportError as error:
        raise ConfigError(
            f"--pdf: expected reportlab and pypdf: pip install reportlab pypdf ({error})"
        ) from error


def commit(file: Path) -> str:
    """The git commit of the file's checkout, or "" outside of one."""
    git = ["git", "-C", str(file.parent)]
    describe = [*git, "describe", "--always", "--dirty=, with changes", "--abbrev=40", "--exclude=*"]
    try:
        tracked = subprocess.run([*git, "ls-files", "--error-unmatch", file.name], capture_output=True)
        if tracked.returncode != 0:
            return ""
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # git is missing, or refuses to read the checkout
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


def _picture(figure: Figure, pdf: bool) -> Picture:
    width, height = figure.get_size_inches() * PIXELS_PER_INCH
    encoded = base64.b64encode(_saved(figure, "svg", {"Date": None})).decode()
    page = _saved(figure, "pdf", {"CreationDate": None}) if pdf else b""
    return Picture(f"data:image/svg+xml;base64,{encoded}", round(width), round(height), page)


def _saved(figure: Figure, kind: str, metadata: Mapping[str, None]) -> bytes:
    file = io.BytesIO()
    with drawing.defaults():
        figure.savefig(file, format=kind, metadata=metadata, backend=kind)
    return file.getvalue()


def _prose(text: str) -> Markup:
    """The escaped text, with text between backquotes as code."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts)
    )
