"""xpnet/docs/courses.md: every command runs at a small size, and leaves the file, row and value that it names."""

import dataclasses
import functools
import json
import math
import re
import shlex
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import quick_studies
import xpnet
from pages import ROOT
from xpnet import train
from xpnet.studies import options
from xpnet.train.command_line import parse

PAGE = ROOT / "xpnet" / "docs" / "courses.md"
ASSIGNMENTS = ("CS7643", "10-701", "IFT6135", "24-789", "24-789")


class Item(NamedTuple):
    """A row of the page."""

    assignment: str
    item: str
    command: str
    place: str
    answer: str


def items() -> Iterator[Item]:
    assignment = ""
    for line in PAGE.read_text().splitlines():
        assignment = line.removeprefix("## ") if line.startswith("## ") else assignment
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and cells[0] != "item" and not set(cells[0]) <= set("-:"):
            yield Item(assignment, *cells)


ITEMS = list(items())


def lines_of(name: str, file: str) -> list[list[str]]:
    """A CSV file that a study leaves at its quick size, with its heading."""
    rows = quick_studies.read(quick_studies.folder_of(name) / file)
    return [list(rows[0]), *(list(row.values()) for row in rows)]


def begins(row: list[str], cells: list[str]) -> bool:
    """Whether a row of a file begins with the cells that the page names."""
    return all(map(same, row, cells)) and len(row) >= len(cells)


def same(value: str, shown: str) -> bool:
    """Whether a value of a file is the one on the page, where a number may be rounded."""
    try:
        decimals = len(shown.partition(".")[2])
        return math.isclose(round(float(value), decimals), float(shown), abs_tol=1e-12)
    except ValueError:
        return value == shown


def check_table(item: Item, lines: list[list[str]], row: str, column: str) -> None:
    """The table has the row and the column; where both are named, the cell is the answer, if there is one."""
    columns, *rows = lines
    found = [each for each in rows if begins(each, row.split(" / "))] if row else rows
    assert found, f"no row {row}"
    if not column:
        return
    assert column in columns, f"no column {column}"
    values = [each[columns.index(column)] for each in found]
    assert any(values), f"no value of {column}"
    if row and item.answer:
        assert len(found) == 1, f"{len(found)} rows {row}"
        assert same(values[0], item.answer), f"{values[0]} is not {item.answer}"


def check_study(item: Item, name: str, file: str, row: str, column: str) -> None:
    if file.endswith(".csv"):
        return check_table(item, lines_of(name, file), row, column)
    if file == "report.pdf":  # tests/test_pdf.py reads one
        return None
    page = (quick_studies.folder_of(name) / file).read_text()
    _, heading, section = page.partition(f">{row}</h2>")
    assert heading, f"no section {row}"
    assert re.search(r"<p>\w|<table", section.partition("<h2>")[0]), f"nothing in the section {row}"
    return None


@functools.cache
def run_of(config: str, folder: Path) -> Path:
    """The folder of a short training with the options of a command."""
    chosen, _ = parse(shlex.split(config), "train.py")
    train.run(
        dataclasses.replace(chosen, epochs=1, train_fraction=0.1, output_dir=str(folder / "run"), quiet=True)
    )
    return folder / "run"


def check_training(item: Item, folder: Path, file: str, column: str) -> None:
    path = folder / file
    if file.endswith(".csv"):
        assert column in quick_studies.read(path)[0]
    elif file.endswith(".json"):
        value = json.loads(path.read_text())[column]
        assert not item.answer or str(value) == item.answer
    elif file.endswith(".npz"):
        assert sum(np.load(path)[name].size for name in np.load(path)) > 0
    else:
        assert path.stat().st_size > 1000


def check_reference(place: str) -> bool:
    """Whether the place is a name of the library, which must exist, instead of a section of a page."""
    name = re.match(r"\[`([\w.]+)`\]", place)
    if name:
        resolve(name[1])
    return bool(name)


def resolve(name: str) -> object:
    if name.startswith("Config."):
        return next(each for each in dataclasses.fields(train.Config) if each.name == name[7:])
    return attrgetter(name)(xpnet)


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: f"{item.assignment[:12]} {item.item}"[:60])
def test_an_item_is_answered(item: Item, tmp_path_factory: pytest.TempPathFactory) -> None:
    link = item.place.startswith("[")
    if link:
        assert not item.answer or not item.command
        check_reference(item.place)  # tests/test_docs.py follows links to sections
        return
    place = re.fullmatch(r"`([\w.-]+)`(?:: (.+?))?(?: → (.+))?", item.place)
    assert place, f"expected `file.csv`: row → column, got {item.place}"
    file, row, column = place[1], place[2] or "", place[3] or ""
    program, _, arguments = item.command.strip("`").partition(" ")
    if program == "study.py":
        name, _, own = options.parse(shlex.split(arguments), program, "")
        assert not own
        check_study(item, name, file, row, column)
    else:
        assert program == "train.py"
        check_training(item, run_of(arguments, tmp_path_factory.mktemp("run")), file, column)
