"""The HTML report of a study, and its other files."""

import base64
import csv
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from xpnet import train
from xpnet.errors import ConfigError
from xpnet.studies.options import Options
from xpnet.studies.report import Report, commit
from xpnet.studies.sweep import axes_of

HOSTILE = '<script>alert("x")</script> & <b>'


class Page(HTMLParser):
    """A parser of the report: tags with attributes, and table rows as texts and as exact values."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.shown: list[list[str]] = []
        self.exact: list[list[str]] = []
        self.text = ""
        self.in_cell = False
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.shown.append([])
            self.exact.append([])
        elif tag in ("td", "th"):
            self.in_cell = True
            self.shown[-1].append("")
            self.exact[-1].append(dict(attributes).get("data-value") or "")

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_cell:
            self.shown[-1][-1] += data

    def attributes(self, tag: str, name: str) -> list[str]:
        return [value for each, attributes in self.tags if each == tag and (value := attributes.get(name))]


@pytest.fixture
def report(tmp_path: Path) -> Report:
    options = Options(output_dir=str(tmp_path / "run"), quick=True, seed=7)
    return Report(
        "a-study", "A title", options, ["An introduction.", "With `code`."], "python study.py a-study"
    )


def test_the_page_has_all_parts_and_needs_nothing_else(report: Report) -> None:
    report.section("A section")
    report.text("A paragraph with\n    `x < 1` in it.")
    report.code("  indented\nlines")
    report.table("numbers", ["what", "value"], [["a", 1.5]], "A table.")
    report.figure([axes_of("x", "y")[0], axes_of("x", "z")[0]], "Two pictures.")
    report.expect("Two is more than one.", "2 and 1.", True)
    report.expect("Two is more than three.", "2 and 3.", False)
    report.config(train.Config())
    assert report.settings["train_metrics"] == "end"  # what studies measure, whatever a run's default is
    report.settings.clear()
    report.config({"epochs": 12, "rate": 0.1})
    page = Page(report.write())
    for words in (
        "A title", "An introduction.", "A section", "A paragraph with x < 1 in it.", "  indented\nlines", "A table.",
        "Two pictures.", "1 of 2 expectations agree", "python study.py a-study", "numpy, device cpu", "quick",
    ):  # fmt: skip
        assert words in page.text
    rows = dict(row for row in page.shown if len(row) == 2)
    assert rows["seed"] == "7"
    assert rows["epochs"] == "12"
    assert rows["rate"] == "0.1"
    assert f"numpy {np.__version__}" in rows["versions"]
    assert "commit" in rows
    assert re.fullmatch(r"\d+\.\d seconds", rows["time taken"])
    assert page.text.index("✓ agrees: 2 and 1.") < page.text.index("✗ differs: 2 and 3.")
    assert page.attributes("meta", "name") == ["viewport", "color-scheme"]
    assert page.attributes("img", "alt") == ["Two pictures."] * 2
    for source in page.attributes("img", "src"):
        kind, _, encoded = source.partition(";base64,")
        assert kind == "data:image/svg+xml"
        assert b"<svg" in base64.b64decode(encoded)
    assert "link" not in {tag for tag, _ in page.tags}
    assert page.attributes("script", "src") == []
    assert page.attributes("a", "href") == ["numbers.csv"]
    assert {path.name for path in report.folder.iterdir()} == {
        "report.html",
        "numbers.csv",
        "expectations.csv",
    }


def test_the_csv_file_has_the_table_in_full(report: Report) -> None:
    columns = ["name", "accuracy", "loss", "count", "finished", "missing"]
    rows = [
        ['a, "quoted"', 1 / 3, np.float32(0.1), 12345, True, None],
        ["b", 0.5, float("nan"), np.int64(2), np.False_, None],
    ]
    report.table("results", columns, rows, formats={"accuracy": ".2f"})
    page = Page(report.write())
    with (report.folder / "results.csv").open(newline="") as file:
        written = list(csv.reader(file))
    assert written == [
        columns,
        ['a, "quoted"', repr(1 / 3), repr(float(np.float32(0.1))), "12345", "true", ""],
        ["b", "0.5", "nan", "2", "false", ""],
    ]
    assert page.shown[:3] == [
        columns,
        ['a, "quoted"', "0.33", "0.1", "12,345", "yes", ""],
        ["b", "0.50", "–", "2", "no", ""],
    ]
    for exact, line in zip(page.exact[1:3], written[1:], strict=True):
        assert exact[1:4] == line[1:4]  # the text that the button copies


def test_numbers_that_are_too_many_to_show_are_a_link(report: Report) -> None:
    report.numbers("all", ["i"], [[i] for i in range(3)], "All of them:")
    assert 'All of them: <a href="all.csv">' in report.write().read_text()
    assert (report.folder / "all.csv").read_text() == "i\n0\n1\n2\n"


def test_nothing_that_is_put_in_becomes_html(tmp_path: Path) -> None:
    report = Report(HOSTILE, HOSTILE, Options(output_dir=str(tmp_path / "run")), [HOSTILE], HOSTILE)
    report.section(HOSTILE)
    report.text(f"{HOSTILE} `{HOSTILE}`")
    report.code(HOSTILE)
    report.table("numbers", [HOSTILE], [[HOSTILE]], HOSTILE)
    report.figure(axes_of("x", "y")[0], HOSTILE)
    report.expect(HOSTILE, HOSTILE, True)
    report.config({HOSTILE: HOSTILE})
    text = report.write().read_text()
    assert "<script>alert" not in text
    assert "<b>" not in text
    assert text.count("&lt;script&gt;alert") >= 14


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("t", ["a", "b"], [[1]]), r"table t: expected rows of 2 cells, got \[1\]"),
        (("t", ["a"], [[1]], "", {"b": ".2f"}), "table t: expected formats for a, got 'b'"),
        (("taken", ["a"], [[1]]), "table taken: expected a name that this report does not use yet"),
        (("expectations", ["a"], [[1]]), "table expectations: expected a name that this report"),
    ],
)
def test_a_wrong_table_is_refused(report: Report, arguments: tuple, message: str) -> None:
    report.table("taken", ["a"], [[1]])
    with pytest.raises(ConfigError, match=message):
        report.table(*arguments)
    assert (report.folder / "taken.csv").read_text() == "a\n1\n"


def test_no_folder_is_written_over(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report.write()
    again = Report("a-study", options=report.options)
    with pytest.raises(ConfigError, match="--output-dir: expected a folder that does not exist"):
        again.write()
    monkeypatch.chdir(tmp_path)
    first, second = (Report("a-study").write() for _ in range(2))
    assert first.parent != second.parent
    assert re.fullmatch(r"\d{8}-\d{6}-a-study", first.parent.name)
    assert first.parent.parent == Path("runs")


def test_the_commit_is_that_of_the_checkout(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("")
    assert commit(script) == ""
    if shutil.which("git") is None:
        return
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *arguments], check=True)
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert commit(script) == head
    script.write_text("1")
    assert commit(script) == f"{head}, with changes"
    other = tmp_path / "installed.py"  # in an ignored folder of the checkout, say
    other.write_text("")
    assert commit(other) == ""


@pytest.mark.parametrize("error", [MemoryError(), ValueError("two\nlines")])
def test_a_picture_that_fails_leaves_the_report(
    error: Exception, report: Report, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    figure = axes_of("x", "y")[0]
    monkeypatch.setattr(figure, "savefig", fail)
    report.figure([axes_of("x", "y")[0], figure], "Two pictures.")
    report.table("numbers", ["a"], [[1]])
    page = Page(report.write())
    reason = "two lines" if str(error) else "MemoryError"
    assert f"A picture is missing: it could not be drawn ({reason}). Two pictures." in page.text
    assert page.attributes("img", "src") == []
    assert capsys.readouterr().err == f"{report.folder}: not drawn ({reason}): Two pictures.\n"


@pytest.mark.parametrize(
    ("quick", "holds", "words"),
    [(True, False, True), (True, True, False), (False, False, False)],
)
def test_a_quick_run_that_differs_says_that_it_is_too_small(
    quick: bool, holds: bool, words: bool, tmp_path: Path
) -> None:
    report = Report("a-study", options=Options(output_dir=str(tmp_path / "run"), quick=quick))
    report.expect("More is more.", "It is.", holds)
    assert ("too small to judge" in Page(report.write()).text) == words


def test_long_lines_of_code_wrap(report: Report) -> None:
    """On a narrow page and in print, a `pre` block would be cut."""
    (style,) = re.findall(r"^pre \{(.*)\}$", report.write().read_text(), re.MULTILINE)
    assert "white-space: pre-wrap" in style
    assert "overflow-x" not in style
