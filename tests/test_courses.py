"""xpnet/docs/courses.md: every command runs at a small size, and leaves the file, row and value that it names."""

import csv
import dataclasses
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml

import xpnet
from pages import ROOT
from quick_studies import QuickStudies
from xpnet import train
from xpnet.studies import options
from xpnet.train.command_line import parse

PAGE = ROOT / "xpnet" / "docs" / "courses.md"
COLUMNS = ["item", "command", "file and row", "answer"]


class Item(NamedTuple):
    """A row of the page: command, file, first cells of its row, columns, and answers."""

    item: str
    command: str
    place: str
    answer: str

    def parts(self) -> tuple[str, str, list[str]]:
        """File, row and columns."""
        found = re.fullmatch(r"`([\w.-]+)`(?:: (.+?))??(?: → (.+))?", self.place)
        assert found, f"expected `file`: row → columns, got {self.place}"
        return found[1], found[2] or "", found[3].split(" · ") if found[3] else []


def items() -> Iterator[Item]:
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")][1:-1]
        if cells and cells != COLUMNS and not set(cells[0]) <= set("-:"):
            yield Item(*cells)


ITEMS = list(items())
COMMANDS = list(dict.fromkeys(item.command.strip("`") for item in ITEMS if item.command))
STUDIES = [command for command in COMMANDS if command.startswith("study.py") and "--pdf" not in command]
TRAININGS = [command for command in COMMANDS if command.startswith("train.py")]


def of_command(command: str) -> list[Item]:
    return [item for item in ITEMS if item.command == f"`{command}`"]


def agrees(value: str, shown: str) -> bool:
    """Whether a value of a file is the answer on the page, where a number is rounded."""
    try:
        return f"{float(value):.{len(shown.partition('.')[2])}f}".replace("-0.0000", "0.0000") == shown
    except ValueError:
        return value == shown


def is_cell(value: str, shown: str) -> bool:
    """Whether a cell is the one that the page names: an equal number, or a text of which it may be the start."""
    try:
        return float(value) == float(shown)
    except ValueError:
        return value.startswith(shown[:-1].rstrip()) if shown.endswith("…") else value == shown


def problem_of_table(lines: Sequence[Sequence[str]], row: str, columns: list[str], answer: str) -> str:
    """What is missing or wrong in the lines of a CSV file, or ""."""
    names, *rows = lines
    cells = row.split(" / ") if row else []
    found = [each for each in rows if all(map(is_cell, each, cells))]
    if not found:
        return f"no row {row}"
    if unknown := set(columns) - set(names):
        return f"no columns {unknown} in {names}"
    for i, column in enumerate(columns):
        values = [each[names.index(column)] for each in found]
        if not any(values):
            return f"no value of {column}"
        if row and answer and not agrees(values[0], shown := answer.split(" · ")[i]):
            return f"{column} is {values[0]}, not {shown}"
    return ""


def problem_of_section(page: str, title: str) -> str:
    """The same for a section of a report, which has some text or a table."""
    for section in page.replace("&#39;", "'").split("<h2>")[1:]:
        heading, _, content = section.partition("</h2>")
        if is_cell(heading, title) and re.search(r"<p>\w|<tr>", content):
            return ""
    return f"no text under {title}"


@pytest.mark.parametrize("command", STUDIES)
def test_a_study_answers_its_items(command: str, quick: QuickStudies) -> None:
    name, _, own = options.parse(shlex.split(command)[1:], "study.py", "")
    assert not own
    problems = {}
    for item in of_command(command):
        file, row, columns = item.parts()
        path = quick[name] / file
        if not path.exists():
            problems[item] = "no file"
        elif file.endswith(".csv"):
            with path.open(newline="") as lines:
                problems[item] = problem_of_table(list(csv.reader(lines)), row, columns, item.answer)
        else:
            problems[item] = problem_of_section(path.read_text(), row)
    assert not any(problems.values()), "\n".join(f"{i.item}: {p}" for i, p in problems.items() if p)


@pytest.mark.parametrize("command", TRAININGS)
def test_a_training_answers_its_items(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = command.removeprefix("train.py --config ")
    chosen, _ = parse(["--config", str(ROOT / "scripts" / "configs" / config)], "train.py")
    found = [item for item in of_command(command) if not item.place.startswith("[")]
    if not found:
        return  # the page that a link leads to shows what the whole training gives
    folder = tmp_path / "run"
    train.run(dataclasses.replace(chosen, epochs=1, train_fraction=0.1, output_dir=str(folder), quiet=True))
    for item in found:
        file, _, columns = item.parts()
        text = (folder / file).read_bytes()
        if file.endswith(".csv"):
            names = text.decode().splitlines()[0].split(",")
        elif file.endswith((".json", ".yaml")):
            values = json.loads(text) if file.endswith(".json") else yaml.safe_load(text)
            names = list(values)
            assert not item.answer or str(values[columns[0]]) == item.answer, item
        elif file.endswith(".npz"):
            with np.load(folder / file) as arrays:
                assert sum(arrays[name].size for name in arrays) > 10_000
        else:
            assert len(text) > 10_000, item
        assert not columns or set(columns) <= set(names), item


@pytest.mark.parametrize("item", [item for item in ITEMS if "--pdf" in item.command], ids=str)
def test_a_report_can_be_printed(item: Item) -> None:
    """tests/test_pdf.py reads such a file."""
    _, chosen, _ = options.parse(shlex.split(item.command.strip("`"))[1:], "study.py", "")
    assert chosen.pdf
    assert item.place == "`report.pdf`"


def test_names_of_the_library_exist() -> None:
    """tests/test_docs.py follows their links to the reference."""
    names = [found[1] for item in ITEMS if (found := re.match(r"\[`([\w.]+)`\]", item.place))]
    assert len(names) > 40
    fields = {f"train.Config.{field.name}" for field in dataclasses.fields(train.Config)}
    for name in set(names) - fields:
        assert attrgetter(name)(xpnet), name


def test_every_item_has_a_place() -> None:
    assert len(ITEMS) > 200
    assert all(item.item and item.place for item in ITEMS)
    assert all(item.place.startswith("[") for item in ITEMS if not item.command)
    assert len({item for item in ITEMS if not item.item.startswith("…")}) == len(
        {(heading, item) for heading, item in headed()}
    )


def headed() -> Iterator[tuple[str, str]]:
    """The items that begin a question, with the assignment."""
    heading = ""
    for line in PAGE.read_text().splitlines():
        heading = line if line.startswith("## ") else heading
        if line.startswith("| ") and not line.startswith(("| …", "| item ")):
            yield heading, line


def test_the_known_answers_stand_in_full_precision(quick: QuickStudies) -> None:
    """The worked example of 10-701, computed again."""
    alpha = np.array(
        [[1, 1, 2, -3, 0, 1, -3], [1, 2, 1, 1, 1, 0, 2], [1, 3, 2, 2, 2, 2, 1], [1, 2, 0, 3, 1, -2, 2.0]]
    )
    beta = np.array([[1, 1, 2, -2, 3], [1, 2, -1, 3, 1], [1, 3, 1, -1, 1.0]])
    x, y = np.array([1, 1, 0, 1, 0, 1, 1.0]), np.array([0, 0, 1.0])
    a = alpha @ x
    z = np.append(1, 1 / (1 + np.exp(-a)))
    b = beta @ z
    yhat = np.exp(b) / np.exp(b).sum()
    loss = -np.log(yhat[2])
    dz = beta.T @ (yhat - y) * z * (1 - z)
    new_alpha, new_beta = alpha - np.outer(dz[1:], x), beta - np.outer(yhat - y, z)
    points = np.array([[-1, 0.4, 2], [3, 8, -4], [-3, 0.3, 3.2], [4, 10, -8.3], [-0.5, 5, -2.3]])
    hidden = np.maximum(points[:, :2] @ np.array([[0.2, 3.8], [-1.1, 2.3]]).T + [-1.3, 0.86], 0)
    known = {
        "-3": a[0], "0.0474": z[1], "4.0945": b[1], "0.4799": yhat[1], "2": yhat.argmax() + 1, "2.6912": loss,
        "1.9772": new_beta[1, 1], "0.5477": new_beta[0, 0], "2.": new_alpha[2, 4],
        "3.9712": loss + 0.01 * ((alpha[:, 1:] ** 2).sum() + (beta[:, 1:] ** 2).sum()),
        "209.4557": np.mean((hidden @ [-1.2, 0.7] - points[:, 2]) ** 2),
    }  # fmt: skip
    answers = {row["question"]: row["answer"] for row in quick.table("backprop-by-hand", "answers")}
    shown = [item for item in ITEMS if "`answers.csv`" in item.place and "backprop" in item.command]
    for number, value in known.items():
        item = next(item for item in shown if item.answer == number.rstrip("."))
        (question,) = [q for q in answers if item.place.endswith(f": {q} → answer")]
        assert float(answers[question]) == pytest.approx(float(value), rel=1e-12), question
    assert {item.answer for item in shown} >= {"tanh", "0.001", "3"}
    assert [i.answer for i in ITEMS if i.place == "`answers.csv`: J → answer"] == ["-6"]


def test_what_is_missing_or_wrong_is_found() -> None:
    lines = [["λ", "unit", "z"], ["0", "a", "0.25"], ["0.02", "b", "text, long"]]
    assert problem_of_table(lines, "0 / a", ["z"], "0.2") == ""
    assert problem_of_table(lines, "0.02 / b", ["z", "unit"], "text, long · b") == ""
    assert problem_of_table(lines, "0.02", ["z"], "") == problem_of_table(lines, "", ["λ"], "") == ""
    assert problem_of_table(lines, "0 / b", [], "") == "no row 0 / b"
    assert problem_of_table(lines, "0", ["y"], "").startswith("no columns {'y'}")
    assert problem_of_table(lines, "0", ["z"], "0.26") == "z is 0.25, not 0.26"
    assert agrees("-0.00004", "0.0000")
    assert not agrees("0.25006", "0.2500")
    assert problem_of_section("<h2>A</h2><p>x</p><h2>B</h2>", "A") == ""
    assert problem_of_section("<h2>A</h2><p>x</p><h2>B</h2>", "B") == "no text under B"
