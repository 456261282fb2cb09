"""Print reports as PDF: text and tables by reportlab, figures by Matplotlib, all as vectors.

reportlab lays out the pages and leaves room for the figures. pypdf puts each figure, a PDF page that
Matplotlib wrote, into its room.
"""

import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pypdf
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    KeepTogether,
    PageBreak,
    PageTemplate,
    Paragraph,
    Table,
)

from xpnet.studies import _pdf_parts as parts
from xpnet.studies import report as reports
from xpnet.studies._pdf_parts import HEIGHT, MARGIN, PROSE, SMALL, WIDTH, marked
from xpnet.train import folder as folders

if TYPE_CHECKING:
    from xpnet.studies.combined import Contents
    from xpnet.studies.report import Report

GAP = 8  # points between figures
POINTS_PER_PIXEL = 72 / reports.PIXELS_PER_INCH
ROWS_TOGETHER = 16  # of a table that does not begin on one page and end on the next
SETTINGS_TOGETHER = 12  # a longer list has two columns


def write(path: Path, collected: "Sequence[Report]", contents: "Contents | None" = None) -> None:
    """Write reports to one PDF file with bookmarks, after a table of contents if there is one."""
    parts.fonts()
    pages: dict[str, int] = {}
    for _ in range(1 if contents is None else 2):  # the second time, it knows the pages of the first
        story = _Story()
        if contents is not None:
            _add_contents(story, contents, pages)
        for report in collected:
            if story.flowables:
                story.flowables.append(PageBreak())
            _add_report(story, report, 0 if contents is None else 1)
        document = _Document(collected[0].title if contents is None else contents.title)
        document.build(story.flowables)
        pages = document.pages
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(document.file.getvalue()))
    for place in document.places:
        figure = pypdf.PdfReader(io.BytesIO(place.pdf)).pages[0]
        move = pypdf.Transformation().scale(place.scale).translate(place.x, place.y)
        writer.pages[place.page - 1].merge_transformed_page(figure, move)
    for page in writer.pages:
        page.compress_content_streams()
    file = io.BytesIO()
    writer.write(file)
    folders.write_bytes(path, file.getvalue())


class _Place(NamedTuple):
    """Where a figure stands: page, position of its lower left corner, scale, and the figure as PDF."""

    page: int
    x: float
    y: float
    scale: float
    pdf: bytes


class _Document(BaseDocTemplate):  # type: ignore[misc]  # reportlab has no types
    """Pages with a number. Collects the pages of headings, and the places of figures."""

    def __init__(self, title: str) -> None:
        self.file = io.BytesIO()
        super().__init__(self.file, pagesize=A4, title=title, author="xpnet", lang="en")
        frame = Frame(MARGIN, 1.2 * MARGIN, WIDTH, HEIGHT, 0, 0, 0, 0)
        self.addPageTemplates(PageTemplate("page", [frame], onPage=_number))
        self.pages: dict[str, int] = {}
        self.places: list[_Place] = []

    def afterFlowable(self, flowable: Flowable) -> None:  # reportlab calls it
        if isinstance(flowable, _Heading):
            self.canv.bookmarkPage(flowable.key)
            self.canv.addOutlineEntry(flowable.text_alone, flowable.key, flowable.level)
            self.pages[flowable.key] = self.page


def _number(canvas: Any, _: Any) -> None:
    canvas.setFont(parts.SANS, 7)
    canvas.setFillColor(parts.QUIET)
    canvas.drawRightString(MARGIN + WIDTH, 0.7 * MARGIN, str(canvas.getPageNumber()))


class _Heading(Paragraph):  # type: ignore[misc]
    """A heading with a bookmark."""

    def __init__(self, text: str, level: int, key: str) -> None:
        super().__init__(marked(text, parts.BOLD), parts.HEADINGS[level])
        self.text_alone, self.level, self.key = text, level, key


class _Figures(Flowable):  # type: ignore[misc]
    """Room for figures side by side."""

    def __init__(self, pictures: "Sequence[reports.Picture]") -> None:
        super().__init__()
        room = (WIDTH - (len(pictures) - 1) * GAP) / len(pictures)
        self.placed: list[tuple[float, float, float, bytes]] = []  # left, height, scale, figure
        for i, picture in enumerate(pictures):
            width, height = POINTS_PER_PIXEL * picture.width, POINTS_PER_PIXEL * picture.height
            scale = min(1, room / width, 0.85 * HEIGHT / height)
            left = i * (room + GAP) + (room - scale * width) / 2
            self.placed.append((left, scale * height, scale, picture.pdf))
        self.top = max(height for _, height, _, _ in self.placed)

    def wrap(self, *_: float) -> tuple[float, float]:
        return WIDTH, self.top + 4

    def draw(self) -> None:
        for left, height, scale, pdf in self.placed:
            x, y = self.canv.absolutePosition(left, self.top - height)
            place = _Place(self.canv.getPageNumber(), x, y, scale, pdf)
            self.canv._doctemplate.places.append(place)


class _Story:
    """The flowables of a document. A heading stays on the page of what follows."""

    def __init__(self) -> None:
        self.flowables: list[Flowable] = []
        self.headings: list[Flowable] = []

    def heading(self, text: str, level: int, key: str) -> None:
        self.headings.append(_Heading(text, level, key))

    def add(self, *flowables: Flowable, together: bool = True) -> None:
        block, self.headings = [*self.headings, *flowables], []
        self.flowables += [KeepTogether(block)] if together else [CondPageBreak(HEIGHT / 5), *block]

    def prose(self, text: str) -> None:
        self.add(Paragraph(marked(text), PROSE))


def _add_contents(story: _Story, contents: "Contents", pages: Mapping[str, int]) -> None:
    story.heading(contents.title, 0, "contents")
    story.prose(f"{contents.introduction}.")
    lines = []
    for name, title, verdict, agrees in contents.rows:
        mark = parts.colored("✓ ", parts.GOOD) if agrees else parts.colored("✗ ", parts.BAD)
        link = f'<a href="#{name}" color="#0b57d0">{marked(title)}</a>'
        right = parts.style(9, alignment=TA_RIGHT)
        cells = ((link, PROSE), (mark + marked(verdict), PROSE), (str(pages.get(name, "")), right))
        lines.append([Paragraph(*cell) for cell in cells])
    widths = [0.55 * WIDTH, 0.37 * WIDTH, 0.08 * WIDTH]
    story.add(Table(lines, widths, style=parts.LINES, splitInRow=1), together=False)
    story.heading("How it was run", 1, "contents-facts")
    story.add(parts.facts(contents.facts))


def _add_report(story: _Story, report: "Report", level: int) -> None:
    """Add a report, in the order of its HTML page."""
    keys = itertools.chain([report.name], (f"{report.name}-{i}" for i in itertools.count(1)))
    quick = ", quick" if report.options.quick else ""
    story.heading(report.title, level, next(keys))
    line = f"{report.name}, a study with xpnet, {report.began_at:%Y-%m-%d}{quick}"
    story.add(Paragraph(marked(line), SMALL))
    if report.failure:
        story.add(parts.boxed([f"the study ended early ({report.failure})."], parts.BAD, "✗ Not complete: "))
    for paragraph in report.introduction:
        story.prose(paragraph)
    if report.expectations:
        story.heading("Expectations and results", level + 1, next(keys))
        story.prose(report.judgement())
        for each in report.expectations:
            mark, color = ("✓ agrees: ", parts.GOOD) if each.holds else ("✗ differs: ", parts.BAD)
            story.add(parts.boxed([each.claim, each.result], color, mark))
    for section in report.sections:
        if section.title:
            story.heading(section.title, level + 1, next(keys))
        for item in section.items:
            _add_item(story, item)
    story.heading("How it was run", level + 1, next(keys))
    story.add(parts.facts(report.facts))
    if report.settings:
        story.heading(f"Settings ({len(report.settings)})", 2, next(keys))
        across = 1 if len(report.settings) <= SETTINGS_TOGETHER else 2
        story.add(parts.facts(report.settings, across), together=False)


def _add_item(story: _Story, item: Any) -> None:
    match item.kind:
        case "text":
            story.prose(item.text)
        case "code":
            story.add(parts.code(item.text), together=False)
        case "file":
            story.add(Paragraph(marked(f"{item.caption} `{item.file}`"), SMALL))
        case "table":
            caption = [Paragraph(marked(item.caption), parts.CAPTION)] if item.caption else []
            file = Paragraph(marked(f"`{item.file}`"), SMALL)
            together = len(item.rows) <= ROWS_TOGETHER
            story.add(*caption, *parts.table_of(item), file, together=together)
        case _:
            pairs = [item.images[i : i + 2] for i in range(0, len(item.images), 2)]
            *rows, last = map(_Figures, pairs)
            for row in rows:
                story.add(row)
            story.add(last, Paragraph(marked(item.caption), parts.CAPTION))
