"""Reports as PDF: all text, in its letters, inside the pages; figures as vectors."""

import sys
from pathlib import Path
from typing import Any

import pypdf
import pytest
from reportlab.pdfbase import pdfmetrics

from conftest import run_script
from xpnet.studies import _pdf_parts, combined, runner, search
from xpnet.studies.options import Options
from xpnet.studies.report import PRINTED, Cell, Report, Table
from xpnet.studies.sweep import axes_of

SCRIPT = Path(__file__).parents[1] / "scripts" / "study.py"
LETTERS = "ŷ² √ Σ β* x₁ dℓ/dβ = (ŷ - y) zᵀ ∂L/∂α ≤ 10⁻⁶ · ½ → ✓"


def new_report(folder: Path, name: str = "a-study") -> Report:
    return Report(
        name, f"The title of {name}", Options(output_dir=str(folder), quick=True, pdf=True), ["First."]
    )


def printed(report: Report) -> pypdf.PdfReader:
    report.write()
    return pypdf.PdfReader(report.folder / PRINTED)


def text_of(reader: pypdf.PdfReader) -> str:
    """The text of all pages, without its line breaks."""
    return " ".join(" ".join(page.extract_text() for page in reader.pages).split())


def operators(page: pypdf.PageObject) -> list[bytes]:
    """The operators that draw a page: `l` is a line, `BI` begins a picture of pixels."""
    return [operator for _, operator in pypdf.generic.ContentStream(page.get_contents(), page.pdf).operations]


def test_the_file_has_all_parts_of_the_page(tmp_path: Path) -> None:
    report = new_report(tmp_path / "run")
    report.section("A section")
    report.text(f"{LETTERS} and `code of {LETTERS}` < & >")
    report.code(f"  indented {LETTERS}\n\nlines")
    report.table("numbers", ["what", "ŷ²"], [["a", 1 / 3], ["long", 12345]], f"A table: {LETTERS}.")
    report.numbers("all", ["i"], [[1]], "All of them:")
    report.expect(f"More than {LETTERS}.", "It is.", True)
    report.expect("More.", "It is not.", False)
    report.config({"rate": 0.125})
    reader = printed(report)
    text = text_of(reader)
    assert text.count(LETTERS) == 5
    for words in (
        "The title of a-study", "First.", "A section", "and code of", "< & >", "indented", "0.3333", "12,345",
        "numbers.csv", "All of them: all.csv", "✓ agrees: It is.", "✗ differs: It is not.", "1 of 2 expectations",
        "too small to judge", "How it was run", "rate", "0.125", "numpy, device cpu",
    ):  # fmt: skip
        assert words in text, words
    assert [each["/Title"] for each in reader.outline if isinstance(each, dict)] == ["The title of a-study"]
    fonts = {
        font["/BaseFont"] for page in reader.pages for font in map(get, page["/Resources"]["/Font"].values())
    }
    assert all("DejaVuSans" in name or name == "/Helvetica" for name in fonts), fonts


def get(thing: Any) -> Any:
    return thing.get_object()


def test_figures_are_vectors_with_their_text(tmp_path: Path) -> None:
    report = new_report(tmp_path / "run")
    lines = []
    for i in range(2):
        figure, axes = axes_of(f"steps ŷ{i}", "loss β₁")
        axes.plot(range(50), [x**2 for x in range(50)])
        lines.append(figure)
    report.figure(lines, "Two figures.")
    reader = printed(report)
    text = text_of(reader)
    assert all(f"steps ŷ{i}" in text for i in range(2))
    assert "loss β₁" in text
    for page in reader.pages:
        assert not page.images
        assert b"BI" not in operators(page)
    assert sum(operators(page).count(b"l") for page in reader.pages) > 2 * 45


def test_a_picture_of_pixels_is_at_its_place(tmp_path: Path) -> None:
    figure, axes = axes_of("x", "y")
    axes.imshow([[0, 1], [2, 3]])
    report = new_report(tmp_path / "run")
    report.figure(figure, "Pixels.")
    assert [image.image.size for page in printed(report).pages for image in page.images if image.image]


@pytest.mark.parametrize("columns", [3, 9, 30])
def test_no_table_is_wider_than_the_page(columns: int) -> None:
    """Whatever its width, all of its cells are printed, and no number is broken."""
    _pdf_parts.fonts()
    cells = [Cell("a-name", "", False), *(Cell(f"{i}2,345.678", "", True) for i in range(1, columns))]
    parts = _pdf_parts.table_of(Table("", [f"column {i}" for i in range(columns)], [cells], ""))
    shown = [cell.text for part in parts for cell in part._cellvalues[1]]
    assert sorted(set(shown)) == sorted(cell.shown for cell in cells)
    assert (len(parts) > 1) == (columns == 30)
    for part in parts:
        assert sum(part._argW) <= _pdf_parts.WIDTH
        assert part._cellvalues[1][0].text == "a-name"
        for width, cell in zip(part._argW, part._cellvalues[1], strict=True):
            assert (
                pdfmetrics.stringWidth(cell.text, _pdf_parts.SANS, cell.style.fontSize)
                < width - cell.style.fontSize / 2
            )


def test_what_is_too_long_goes_on_the_next_page(tmp_path: Path) -> None:
    report = new_report(tmp_path / "run")
    word, words = "x" * 4000, "many words " * 800
    report.expect(words, words, True)
    report.table("cells", ["a", "b"], [[words, 1.5], [word, 2.5]], words)
    report.code("\n".join([word, *map(str, range(100))]))
    report.figure(axes_of("x", "y", size=(20, 40))[0], words)
    text = text_of(printed(report))
    assert text.count("many words") >= 4 * 800
    assert text.count("x") >= 2 * 4000


def test_a_heading_is_on_the_page_of_what_follows(tmp_path: Path) -> None:
    report = new_report(tmp_path / "run")
    report.code("\n".join(map(str, range(40))))  # leaves room for a heading, and not for a figure
    report.section("The heading")
    report.figure(axes_of("the axis", "y")[0], "A figure.")
    page, *_ = (text for page in printed(report).pages if "The heading" in (text := page.extract_text()))
    assert "the axis" in page


def test_letters_of_other_fonts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter that no installed font has is a question mark, not an error or a box."""
    _pdf_parts._in_another.cache_clear()
    monkeypatch.setattr("xpnet.plots.drawing.fonts_for", lambda text: ([], set(text)))
    assert _pdf_parts.marked("a 猫 `b 猫` ℓ") == f'a ? <font name="{_pdf_parts.MONO}">b ?</font> ℓ'
    assert _pdf_parts.marked("y\u0302") == "ŷ"
    _pdf_parts._in_another.cache_clear()


def test_without_the_libraries_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "xpnet.studies._pdf", raising=False)
    monkeypatch.setitem(sys.modules, "pypdf", None)
    for arguments in (["activation-descent"], ["all"]):
        status, out, err = run_script(SCRIPT, monkeypatch, capsys, *arguments, "--pdf")
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("study.py: --pdf: expected reportlab and pypdf: pip install reportlab pypdf (")
    assert not any(tmp_path.iterdir())


def test_one_report_of_several_studies(tmp_path: Path) -> None:
    reports = []
    for name, holds in (("first-one", True), ("second", False)):
        report = new_report(tmp_path / name, name)
        report.section("A section")
        report.table("numbers", ["a"], [[3]])
        report.figure(axes_of(f"x of {name}", "y")[0], "A figure.")
        report.expect("More.", f"Of {name}.", holds)
        report.write()
        reports.append(report)
        report.started -= 1e6  # the report has been written: its time stands
    page = combined.write(tmp_path, reports, Options(quick=True, pdf=True), "python study.py all").read_text()
    for words in (
        "1 of 2 expectations of 2 studies agree, but quick is too small to judge", '<a href="#second">The title of second</a>',
        '<article id="second">', "<h2>The title of second</h2>", "<h3>A section</h3>", 'href="second/numbers.csv"',
        "<code>python study.py all</code>", "✗ differs:</span> Of second.",
    ):  # fmt: skip
        assert words in page, words
    assert page.count("<h1>") == 1
    assert page.count("100000") == 1
    reader = pypdf.PdfReader(tmp_path / PRINTED)
    first, *rest = (each.extract_text() for each in reader.pages)
    assert len(rest) == 2
    for words in ("The title of first-one", "✓ 1 of 1", "✗ 0 of 1", "2\n", "3"):
        assert words in first
    for name, text in zip(("first-one", "second"), rest, strict=True):
        assert f"The title of {name}" in text
        assert f"x of {name}" in text
    links = [link for link in reader.pages[0]["/Annots"] if get(link)["/Subtype"] == "/Link"]
    assert len(links) == 2


def test_all_writes_one_report_also_where_a_study_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str, options: Options, command: str) -> Report:
        if name != "backprop-by-hand":
            raise MemoryError
        report = Report(name, name, options)
        report.write()
        return report

    monkeypatch.setattr(runner, "run", run)
    with pytest.raises(MemoryError):
        runner.run_and_print("all", Options(output_dir=str(tmp_path / "run"), pdf=True))
    assert (tmp_path / "run" / "report.html").exists()
    assert len(pypdf.PdfReader(tmp_path / "run" / PRINTED).pages) == 2


def test_a_search_may_be_printed_when_it_is_resumed(tmp_path: Path) -> None:
    search.write_settings(tmp_path, Options(quick=True), search.QUICK)
    assert "pdf" not in (tmp_path / "config.yaml").read_text()
    request = search.parse(["--resume", str(tmp_path), "--pdf"], "search.py", "")
    assert request.options == Options(quick=True, pdf=True)
