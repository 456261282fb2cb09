"""Parts of a report as reportlab's flowables: text in fonts that have its letters, tables, code, boxes."""

import functools
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFError, TTFont
from reportlab.platypus import Flowable, Paragraph, Table, XPreformatted

from xpnet.plots import drawing
from xpnet.studies import report as reports

MARGIN = 15 * mm
WIDTH, HEIGHT = A4[0] - 2 * MARGIN, A4[1] - 2.2 * MARGIN
TABLE_SIZES = (8.5, 8, 7.5, 7, 6.5, 6)  # of type in points: the largest in which a table fits
SHORT = 14  # letters of a text in a table that is not wrapped
INK, QUIET, LINE, SHADE, GOOD, BAD = map(
    HexColor, ("#1c1c1e", "#55555c", "#bbbbc0", "#f4f4f6", "#1a7f37", "#b3261e")
)
SANS, BOLD, MONO = "DejaVu Sans", "DejaVu Sans Bold", "DejaVu Sans Mono"


def style(size: float, font: str = SANS, **more: Any) -> ParagraphStyle:
    """A style of paragraphs."""
    more = {"leading": 1.42 * size, "textColor": INK, "splitLongWords": 1, **more}
    return ParagraphStyle(font, fontName=font, fontSize=size, **more)


PROSE = style(9, spaceAfter=5)
SMALL = style(7.5, textColor=QUIET, spaceAfter=5)
CAPTION = style(8, textColor=QUIET, spaceBefore=3, spaceAfter=3)
HEADINGS = [
    style(17, BOLD, leading=21, spaceAfter=4),
    style(12, BOLD, leading=15, spaceBefore=14, spaceAfter=5),
    style(10, BOLD, leading=13, spaceBefore=10, spaceAfter=4),
]


LINES = [
    ("LINEBELOW", (0, 0), (-1, -1), 0.4, LINE),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("TOPPADDING", (0, 0), (-1, -1), 2),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
]


def boxed(paragraphs: Sequence[str], color: Any, mark: str = "") -> Flowable:
    """Paragraphs on a shade, with a line of that colour on the left; the mark begins the last one."""
    *first, last = map(marked, paragraphs)
    cell = [Paragraph(text, style(9)) for text in (*first, colored(mark, color) + last)]
    form = [("LINEBEFORE", (0, 0), (-1, -1), 2.5, color), ("BACKGROUND", (0, 0), (-1, -1), SHADE)]
    return Table([[cell]], [WIDTH], style=form, spaceAfter=4, splitInRow=1)


def colored(text: str, color: Any) -> str:
    """Markup of the text in bold, in that colour."""
    return f'<font name="{BOLD}" color="{color.hexval()}">{marked(text, BOLD)}</font>'


def facts(rows: Mapping[str, str], across: int = 1) -> Flowable:
    """Names and values, in so many columns."""
    size, share = 8.5 - across / 2, WIDTH / across
    cells = [
        [Paragraph(marked(name, BOLD), style(size, BOLD)), Paragraph(marked(value), style(size))]
        for name, value in rows.items()
    ]
    down = -(-len(cells) // across)
    cells += [["", ""]] * (across * down - len(cells))
    lines = [[cell for pair in cells[i::down] for cell in pair] for i in range(down)]
    first = (0.22 if across == 1 else 0.48) * share  # the width of the names
    return Table(lines, [first, share - first] * across, style=LINES, splitInRow=1)


def code(text: str) -> Flowable:
    """Lines of code, in type so small that they fit, and wrapped where that would be too small to read."""
    lines = text.expandtabs().splitlines() or [""]
    advance = pdfmetrics.stringWidth("x", MONO, 1)
    size = min(8.5, max(6.5, (WIDTH - 12) / (advance * max(map(len, lines)) or 1)))
    most = int((WIDTH - 12) / (advance * size))
    wrapped = [part for line in lines for part in textwrap.wrap(line, most, drop_whitespace=False) or [""]]
    form = style(size, MONO, backColor=SHADE, borderPadding=5, leftIndent=6, spaceBefore=8, spaceAfter=10)
    return XPreformatted("\n".join(marked(line, MONO, code=False) for line in wrapped), form)


class _Width(NamedTuple):
    """Widths of a column: the least, which breaks no number and no usual word; that of its cells in one
    line; that of its heading, too."""

    least: float
    cells: float
    whole: float


def table_of(table: reports.Table) -> list[Flowable]:
    """The table in the largest type in which it fits, or in several, one below the other."""
    for size in TABLE_SIZES:
        widths = [_width(table, i, size) for i in range(len(table.columns))]
        if sum(width.least for width in widths) <= WIDTH:
            return [_some_columns(table, range(len(widths)), widths, size)]
    parts, used = [[0]], widths[0].least
    for i, width in enumerate(widths[1:], 1):
        if used + width.least > WIDTH and parts[-1] != [0]:
            parts.append([0])  # each part begins with the first column
            used = widths[0].least
        parts[-1].append(i)
        used += width.least
    return [_some_columns(table, part, widths, size) for part in parts]


def _width(table: reports.Table, column: int, size: float) -> _Width:
    heading, lines = table.columns[column], [row[column].shown for row in table.rows]
    words = heading.split()
    for row in table.rows:
        text = row[column].shown
        words += [text] if row[column].is_number or len(text) <= SHORT else text.split()

    def width(texts: Iterable[str]) -> float:
        return max((pdfmetrics.stringWidth(text, BOLD, size) for text in texts), default=0) + size

    return _Width(min(width(words), WIDTH / 4), width(lines), width([heading, *lines]))


def _some_columns(
    table: reports.Table, columns: Sequence[int], widths: Sequence[_Width], size: float
) -> Flowable:
    """A table of these columns. The room that the least widths leave goes to the cells, then to headings."""
    found = [widths[i].least for i in columns]
    for wanted in ([widths[i].cells for i in columns], [widths[i].whole for i in columns]):
        more = [max(0, much - few) for few, much in zip(found, wanted, strict=True)]
        share = min(1, max(0, WIDTH - sum(found)) / (sum(more) or 1))
        found = [few + share * much for few, much in zip(found, more, strict=True)]
    sides = [{"alignment": TA_RIGHT} if table.is_number(i) else {} for i in columns]
    heads, forms = (
        [style(size, font, leading=1.3 * size, **side) for side in sides] for font in (BOLD, SANS)
    )
    rows = [[Paragraph(marked(table.columns[i], BOLD), head) for i, head in zip(columns, heads, strict=True)]]
    for row in table.rows:
        rows.append([Paragraph(marked(row[i].shown), form) for i, form in zip(columns, forms, strict=True)])
    return Table(
        rows,
        found,
        repeatRows=1,
        hAlign="LEFT",
        splitInRow=1,
        spaceAfter=4,
        style=[
            *LINES,
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
