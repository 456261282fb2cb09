"""Tables that notebooks show."""

from collections.abc import Sequence
from html import escape


def table(
    rows: Sequence[Sequence[str]], left: Sequence[int] = (), caption: str = "", total: bool = False
) -> str:
    """Cells as HTML, without colours: those of a dark or a light notebook.

    Arguments:
        rows: the texts of the cells; the first row is the head.
        left: the columns that are left-aligned; the others are right-aligned.
        caption: a line above the table.
        total: whether the last row is the sum of the others.
    """
    heads = (0, len(rows) - 1) if total else (0,)
    head, *body = [_row(row, left, "th" if i in heads else "td") for i, row in enumerate(rows)]
    foot = [f"<tfoot>{body.pop()}</tfoot>"] if total else []
    title = f'<caption style="text-align:left; white-space:nowrap">{escape(caption)}</caption>'
    parts = [f"<thead>{head}</thead>", f"<tbody>{''.join(body)}</tbody>", *foot]
    return "\n".join(["<table>", *([title] if caption else []), *parts, "</table>"])


def _row(cells: Sequence[str], left: Sequence[int], tag: str) -> str:
    styled = (
        f'<{tag} style="text-align:{"left" if i in left else "right"}">{escape(cell)}</{tag}>'
        for i, cell in enumerate(cells)
    )
    return f"<tr>{''.join(styled)}</tr>"
