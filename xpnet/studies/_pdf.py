"""Print reports as PDF: text and tables by reportlab, figures by Matplotlib, all as vectors.

reportlab lays out the pages and leaves room for the figures. pypdf puts each figure, a PDF page that
Matplotlib wrote, into its room.
"""

import functools
import io
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.sax.saxutils import escape

import pypdf
from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFError, TTFont
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    KeepTogether,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    XPreformatted,
)

from xpnet.studies import report as reports
from xpnet.train import drawing
from xpnet.train import folder as folders

if TYPE_CHECKING:
    from xpnet.studies.combined import Contents
    from xpnet.studies.report import Report

MARGIN, GAP = 15 * mm, 3 * mm
WIDTH, HEIGHT = A4[0] - 2 * MARGIN, A4[1] - 2.2 * MARGIN
POINTS_PER_PIXEL = 72 / reports.PIXELS_PER_INCH
TABLE_SIZES = (8.5, 8, 7.5, 7, 6.5, 6)  # of type in points: the largest in which a table fits
ROWS_TOGETHER = 16  # of a table that does not begin on one page and end on the next
INK, QUIET, LINE, SHADE, GOOD, BAD = map(
    HexColor, ("#1c1c1e", "#55555c", "#bbbbc0", "#f4f4f6", "#1a7f37", "#b3261e")
)
SANS, BOLD, MONO = "DejaVu Sans", "DejaVu Sans Bold", "DejaVu Sans Mono"


def _style(size: float, font: str = SANS, **more: Any) -> ParagraphStyle:
    more = {"leading": 1.42 * size, "textColor": INK, "splitLongWords": 1, **more}
    return ParagraphStyle(font, fontName=font, fontSize=size, **more)


PROSE = _style(9, spaceAfter=5)
SMALL = _style(7.5, textColor=QUIET, spaceAfter=5)
CAPTION = _style(8, textColor=QUIET, spaceBefore=3, spaceAfter=3)
HEADINGS = [
    _style(17, BOLD, leading=21, spaceAfter=4),
    _style(12, BOLD, leading=15, spaceBefore=14, spaceAfter=5),
    _style(10, BOLD, leading=13, spaceBefore=10, spaceAfter=4),
]


def write(path: Path, collected: "Sequence[Report]", contents: "Contents | None" = None) -> None:
    """Write reports to one PDF file, with bookmarks; several begin with a table of contents."""
    fonts()
    pages: dict[str, int] = {}
    for _ in range(1 if contents is None else 2):  # the second time, it knows the pages of the first
        story: list[Flowable] = [] if contents is None else _contents(contents, pages)
        for report in collected:
            story += [PageBreak()] if story else []
            story += _story(report, 0 if contents is None else 1)
        title = collected[0].title if contents is None else contents.title
        document = _Document(title)
        document.build(story)
        pages = document.pages
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(document.file.getvalue()))
    for place in document.places:
        _put(writer.pages[place.page - 1], place)
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


def _put(page: pypdf.PageObject, place: _Place) -> None:
    figure = pypdf.PdfReader(io.BytesIO(place.pdf)).pages[0]
    move = pypdf.Transformation().scale(place.scale).translate(place.x, place.y)
    page.merge_transformed_page(figure, move)
    page.compress_content_streams()


class _Document(BaseDocTemplate):
    """Pages with a footer. Collects bookmarks, and the places of figures."""

    def __init__(self, title: str) -> None:
        self.file = io.BytesIO()
        super().__init__(self.file, pagesize=A4, title=title, author="xpnet", lang="en")
        frame = Frame(MARGIN, 1.2 * MARGIN, WIDTH, HEIGHT, 0, 0, 0, 0)
        self.addPageTemplates(PageTemplate("page", [frame], onPage=self.footer))
        self.pages: dict[str, int] = {}
        self.places: list[_Place] = []

    def footer(self, canvas: Any, _: Any) -> None:
        canvas.setFont(SANS, 7)
        canvas.setFillColor(QUIET)
        canvas.drawRightString(MARGIN + WIDTH, 0.7 * MARGIN, str(canvas.getPageNumber()))

    def afterFlowable(self, flowable: Flowable) -> None:  # reportlab's name
        if isinstance(flowable, _Heading):
            self.canv.bookmarkPage(flowable.key)
            self.canv.addOutlineEntry(flowable.plain, flowable.key, flowable.level)
            self.pages[flowable.key] = self.page


class _Heading(Paragraph):
    """A heading with a bookmark. It stays with what follows."""

    def __init__(self, text: str, level: int, key: str) -> None:
        super().__init__(marked(text, BOLD), HEADINGS[level])
        self.plain, self.level, self.key = text, level, key
        self.keepWithNext = 1


class _Figures(Flowable):
    """Figures side by side."""

    def __init__(self, pictures: "Sequence[reports.Picture]") -> None:
        super().__init__()
        self.pictures = pictures
        sizes = [(each.width * POINTS_PER_PIXEL, each.height * POINTS_PER_PIXEL) for each in pictures]
        room = (WIDTH - (len(pictures) - 1) * GAP) / len(pictures)
        self.scales = [min(1, room / width, 0.85 * HEIGHT / height) for width, height in sizes]
        self.lefts = [
            i * (room + GAP) + (room - w * s) / 2
            for i, ((w, _), s) in enumerate(zip(sizes, self.scales, strict=True))
        ]
        self.heights = [height * scale for (_, height), scale in zip(sizes, self.scales, strict=True)]

    def wrap(self, *_: float) -> tuple[float, float]:
        return WIDTH, max(self.heights) + 4

    def draw(self) -> None:
        document, top = self.canv._doctemplate, max(self.heights)
        for picture, left, height, scale in zip(
            self.pictures, self.lefts, self.heights, self.scales, strict=True
        ):
            x, y = self.canv.absolutePosition(left, top - height)
            document.places.append(_Place(self.canv.getPageNumber(), x, y, scale, picture.pdf))


def _contents(contents: "Contents", pages: Mapping[str, int]) -> list[Flowable]:
    rows = []
    for name, title, verdict, agrees in contents.rows:
        mark = _colored("✓ " if agrees else "✗ ", GOOD if agrees else BAD)
        link, page = f'<a href="#{name}">{marked(title)}</a>', str(pages.get(name, ""))
        cells = ((link, PROSE), (mark + marked(verdict), PROSE), (page, _style(9, alignment=TA_RIGHT)))
        rows.append([Paragraph(*cell) for cell in cells])
    return [
        _Heading(contents.title, 0, "contents"),
        Paragraph(marked(contents.introduction), PROSE),
        Table(rows, [0.55 * WIDTH, 0.37 * WIDTH, 0.08 * WIDTH], style=[*_LINES], splitInRow=1),
        _Heading("How it was run", 1, "contents-facts"),
        _facts(contents.facts),
    ]


def _story(report: "Report", level: int) -> list[Flowable]:
    """The flowables of a report, in the order of the page."""
    keys = (f"{report.name}{f'-{i}' if i else ''}" for i in range(1_000_000))
    quick = ", quick" if report.options.quick else ""
    story: list[Flowable] = [
        _Heading(report.title, level, next(keys)),
        Paragraph(marked(f"{report.name}, a study with xpnet, {report.began_at:%Y-%m-%d}{quick}"), SMALL),
    ]
    if report.failure:
        story.append(_boxed(["✗ Not complete: the study ended early", f"({report.failure})."], BAD))
    story += [Paragraph(marked(paragraph), PROSE) for paragraph in report.introduction]
    if report.expectations:
        story.append(_Heading("Expectations and results", level + 1, next(keys)))
        story.append(Paragraph(marked(report.judgement()), PROSE))
        for each in report.expectations:
            mark, color = ("✓ agrees", GOOD) if each.holds else ("✗ differs", BAD)
            story.append(_boxed([each.claim, each.result], color, f"{mark}: "))
    for section in report.sections:
        if section.title:
            story.append(_Heading(section.title, level + 1, next(keys)))
        for item in section.items:
            story += _item(item)
    story += [_Heading("How it was run", level + 1, next(keys)), _facts(report.facts())]
    if report.settings:
        story.append(
            Paragraph(f"Settings ({len(report.settings)})", _style(9, BOLD, spaceBefore=8, spaceAfter=3))
        )
        story.append(_facts(report.settings))
    return story


def _item(item: Any) -> list[Flowable]:
    match item.kind:
        case "text":
            return [Paragraph(marked(item.text), PROSE)]
        case "code":
            return [_code(item.text)]
        case "file":
            return [Paragraph(marked(f"{item.caption} `{item.file}`"), SMALL)]
        case "table":
            caption = [Paragraph(marked(item.caption), CAPTION)] if item.caption else []
            whole = [*caption, *_table(item), Spacer(1, 2), Paragraph(marked(f"`{item.file}`"), SMALL)]
            few = len(item.rows) <= ROWS_TOGETHER
            return [KeepTogether(whole)] if few else [CondPageBreak(25 * mm), *whole]
    rows = [_Figures(item.images[i : i + 2]) for i in range(0, len(item.images), 2)]
    caption = Paragraph(marked(item.caption), CAPTION)
    return [*rows[:-1], KeepTogether([rows[-1], caption]), Spacer(1, 4)]


_LINES = [
    ("LINEBELOW", (0, 0), (-1, -1), 0.4, LINE),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("TOPPADDING", (0, 0), (-1, -1), 2),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
]


def _boxed(paragraphs: Sequence[str], color: Any, mark: str = "") -> Flowable:
    """Paragraphs on a shade, with a line of that colour on the left; the mark begins the last one."""
    *first, last = map(marked, paragraphs)
    cell = [Paragraph(text, _style(9)) for text in (*first, _colored(mark, color) + last)]
    style = [("LINEBEFORE", (0, 0), (-1, -1), 2.5, color), ("BACKGROUND", (0, 0), (-1, -1), SHADE)]
    return Table([[cell]], [WIDTH], style=style, spaceAfter=4, splitInRow=1)


def _colored(text: str, color: Any) -> str:
    return f'<font name="{BOLD}" color="{color.hexval()}">{marked(text, BOLD)}</font>'


def _facts(facts: Mapping[str, str]) -> Flowable:
    rows = [
        [Paragraph(marked(name, BOLD), _style(8, BOLD)), Paragraph(marked(fact), _style(8))]
        for name, fact in facts.items()
    ]
    return Table(rows, [0.22 * WIDTH, 0.78 * WIDTH], style=_LINES, splitInRow=1)


def _code(text: str) -> Flowable:
    """Lines of code, in type so small that they fit, and wrapped where that would be too small to read."""
    lines = text.expandtabs().splitlines() or [""]
    advance = pdfmetrics.stringWidth("x", MONO, 1)
    size = min(8.5, max(6.5, (WIDTH - 12) / (advance * max(map(len, lines)) or 1)))
    most = int((WIDTH - 12) / (advance * size))
    wrapped = [part for line in lines for part in textwrap.wrap(line, most, drop_whitespace=False) or [""]]
    style = _style(size, MONO, backColor=SHADE, borderPadding=5, leftIndent=6, spaceBefore=8, spaceAfter=10)
    return XPreformatted("\n".join(marked(line, MONO, code=False) for line in wrapped), style)


def _table(table: "reports.Table") -> list[Flowable]:
    """The table in the largest type in which it fits, or in parts, one below the other."""
    for size in TABLE_SIZES:
        widths = [_widths(table, i, size) for i in range(len(table.columns))]
        if sum(least for least, _ in widths) <= WIDTH:
            return [_part(table, range(len(widths)), widths, size)]
    parts, used = [[0]], widths[0][0]
    for i, (least, _) in enumerate(widths[1:], 1):
        if used + least > WIDTH and parts[-1] != [0]:
            parts.append([0])  # each part begins with the first column
            used = widths[0][0]
        parts[-1].append(i)
        used += least
    found: list[Flowable] = []
    for part in parts:
        found += [_part(table, part, widths, size), Spacer(1, 6)]
    return found[:-1]


def _widths(table: "reports.Table", column: int, size: float) -> tuple[float, float]:
    """The least width of a column, which breaks no number and no usual word, and the one without wrapping."""
    cells = [row[column] for row in table.rows]
    words = table.columns[column].split() + [
        word for cell in cells for word in ([cell.shown] if cell.is_number else cell.shown.split())
    ]
    lines = [table.columns[column], *(cell.shown for cell in cells)]
    padding = size
    least = max((_width(word, size) for word in words), default=0)
    return min(least, WIDTH / 4) + padding, max(map(functools.partial(_width, size=size), lines)) + padding


def _width(text: str, size: float) -> float:
    return pdfmetrics.stringWidth(text, BOLD, size)


def _part(
    table: "reports.Table", columns: Iterable[int], widths: Sequence[tuple[float, float]], size: float
) -> Flowable:
    """Some columns of a table. What the least widths leave goes to the columns that want more."""
    columns = list(columns)
    least = [widths[i][0] for i in columns]
    wanted = [max(0, widths[i][1] - widths[i][0]) for i in columns]
    share = min(1, max(0, WIDTH - sum(least)) / (sum(wanted) or 1))
    right = [bool(table.rows) and table.rows[0][i].is_number for i in columns]
    styles = [_style(size, leading=1.3 * size, alignment=TA_RIGHT if each else 0) for each in right]
    bold = [_style(size, BOLD, leading=1.3 * size, alignment=TA_RIGHT if each else 0) for each in right]
    rows = [
        [Paragraph(marked(table.columns[i], BOLD), style) for i, style in zip(columns, bold, strict=True)]
    ]
    for row in table.rows:
        rows.append(
            [Paragraph(marked(row[i].shown), style) for i, style in zip(columns, styles, strict=True)]
        )
    return Table(
        rows,
        [few + share * more for few, more in zip(least, wanted, strict=True)],
        repeatRows=1,
        hAlign="LEFT",
        splitInRow=1,
        style=[
            *_LINES,
            ("LINEBELOW", (0, 0), (-1, 0), 1, QUIET),
            ("LEFTPADDING", (0, 0), (-1, -1), size / 2 - 0.1),
            ("RIGHTPADDING", (0, 0), (-1, -1), size / 2 - 0.1),
        ],
    )


def marked(text: str, font: str = SANS, code: bool = True) -> str:
    """The text as reportlab's markup: code between backquotes, and another font for letters that it lacks."""
    text = unicodedata.normalize("NFC", text)
    if not code:
        return _in_fonts(text, font)
    parts = text.split("`")
    return "".join(
        f'<font name="{MONO}">{_in_fonts(part, MONO)}</font>' if i % 2 else _in_fonts(part, font)
        for i, part in enumerate(parts)
    )


def _in_fonts(text: str, font: str) -> str:
    markup, letters = "", fonts()[font]
    for letter in text:
        if letter in letters or letter.isspace():
            markup += escape(letter)
        else:
            markup += _in_another(letter)
    return markup


@functools.cache
def _in_another(letter: str) -> str:
    """The letter in DejaVu Sans or in another installed font, or ? where none has it."""
    if letter in fonts()[SANS]:
        return f'<font name="{SANS}">{escape(letter)}</font>'
    for name in drawing.fonts_for(letter)[0]:
        try:
            pdfmetrics.registerFont(TTFont(name, drawing.font_file(name)))
        except TTFError:  # outlines of another kind than TrueType's
            continue
        return f'<font name="{name}">{escape(letter)}</font>'
    return "?"


@functools.cache
def fonts() -> dict[str, set[str]]:
    """Register the fonts, which come with Matplotlib, with reportlab. Returns the letters that each has."""
    files = {
        SANS: drawing.font_file("DejaVu Sans"),
        BOLD: drawing.font_file("DejaVu Sans", "bold"),
        MONO: drawing.font_file("DejaVu Sans Mono"),
    }
    for name, path in files.items():
        pdfmetrics.registerFont(TTFont(name, path))
    return {name: drawing.letters_of(path) for name, path in files.items()}
