"""Numbers from text, many at a time: the fields of a piece of a CSV file as an array.

`numpy.loadtxt` takes 8 s for 60,000 rows of 785 decimal numbers. Here NumPy's own loops find the separators,
take eight digits at a time out of the text as one integer of 64 bits, and leave unusual fields to `float`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PIECE = 1 << 17  # bytes of text at a time: its arrays stay in the cache
PADDING = 8  # zeros before the text, so that eight bytes end at each of its bytes
MOST_DIGITS = 18  # an integer of 64 bits always holds as many
MOST_DECIMALS = 16  # two times eight; more do not change a float32
LARGEST = 3e38  # a float32 is finite up to there
LARGE = 1 << 24  # a float32 does not hold all whole numbers above
TEN = np.power(10.0, np.arange(MOST_DIGITS + 1))
TENS = 10 ** np.arange(MOST_DIGITS + 1, dtype=np.uint64)
MINUS, PLUS, POINT, LINE_END, LOWER_E = b"-+.\ne"
# What 100 a + 10 b + c is worth; from `POINTED` on where the "digit" b is a point: a.c
POINTED = 15 * 111 + 1
WORTH = np.arange(2.0 * POINTED)
ONE_DECIMAL = np.add.outer(100 * np.arange(10), np.arange(10)) + 10 * (POINT & 15)
WORTH[POINTED + ONE_DECIMAL] = np.arange(100).reshape(10, 10) / 10
# The digits of the last n of eight bytes, and how the sums of neighbours become one number.
MASKS = np.array([0] + [0x0F0F0F0F0F0F0F0F << 8 * (8 - n) & (1 << 64) - 1 for n in range(1, 9)], np.uint64)
JOINS = tuple(
    tuple(map(np.uint64, row))
    for row in ((10, 8, 0x00FF00FF00FF00FF), (100, 16, 0x0000FFFF0000FFFF), (10_000, 32, 0x00000000FFFFFFFF))
)


class Fields(NamedTuple):
    """Where the fields of a piece of text are.

    Fields:
        text: bytes, after `PADDING` zeros.
        columns: in a row.
        start, end: of each field, row by row.
        others: the number of bytes in it that are no digits.
        last: in `marks`, the position of the mark that ends the field.
        marks: positions of all bytes that are no digits.
    """

    text: NDArray[np.uint8]
    columns: int
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    others: NDArray[np.int64]
    last: NDArray[np.int64]
    marks: NDArray[np.int64]

    def column(self, column: int) -> list[bytes]:
        """The text of the fields of one column."""
        text = self.text.tobytes()
        start, end = (each[column :: self.columns].tolist() for each in (self.start, self.end))
        places = zip(start, end, strict=True)
        return [text[start:end] for start, end in places]


def pieces(text: bytes, size: int = PIECE) -> Iterator[bytes]:
    """The text in pieces of about that size, which end with the ends of lines."""
    start = 0
    while start < len(text):
        end = text.find(b"\n", start + size) + 1 or len(text)
        yield text[start:end]
        start = end


def find(piece: bytes, separator: int, columns: int) -> Fields | None:
    """The fields of lines that all end with a line end; None unless each line has `columns` fields."""
    text = np.zeros(PADDING + len(piece), np.uint8)
    text[PADDING:] = np.frombuffer(piece, np.uint8)
    marks = np.flatnonzero(text - np.uint8(48) > 9)[PADDING:]  # in bytes, what is below "0" wraps around
    kinds = text[marks]
    is_end = (kinds == separator) | (kinds == LINE_END)
    whole = bool(is_end.all())  # no points, signs or other marks within fields
    last = np.arange(len(marks)) if whole else np.flatnonzero(is_end)
    ends = marks if whole else marks[last]
    line_ends = text[ends] == LINE_END
    rows = np.count_nonzero(line_ends)
    if len(ends) != rows * columns or not line_ends[columns - 1 :: columns].all():
        return None
    start = np.empty_like(ends)
    start[:1] = PADDING
    start[1:] = ends[:-1] + 1
    others = np.zeros(len(last), np.int64)
    if not whole:
        others[0] = last[0]
        others[1:] = last[1:] - last[:-1] - 1
    return Fields(text, columns, start, ends, others, last, marks)


def numbers(fields: Fields, chosen: Any) -> NDArray[Any]:
    """The numbers of the columns `chosen`, (rows, chosen).

    They are bytes if all are whole, from 0 to 255; else float32 or, for large whole numbers, float64. Not a
    number (NaN) stands where a field is none.
    """
    length = fields.end - fields.start
    ones, tens, hundreds, points = _three_characters(fields.text, fields.end)
    values: NDArray[Any] = ones + (length > 1) * tens + (length > 2) * hundreds
    long = (length > 3) | (length < 1) | (fields.others > 0)
    if not long.any():
        values = values.reshape(-1, fields.columns)[:, chosen]
        return values.astype(np.uint8 if values.max(initial=0) < 256 else np.float32)
    simple = points & (length == 3) & (fields.others == 1)
    values = WORTH[values + simple * np.uint16(POINTED)]
    rest = np.flatnonzero(long & ~simple)
    wanted = np.zeros(fields.columns, bool)
    wanted[chosen] = True
    if np.count_nonzero(wanted) < fields.columns:
        rest = rest[wanted[rest % fields.columns]]
    values[rest] = _decimals(fields, rest)
    values = values.reshape(-1, fields.columns)[:, chosen]
    if (values[:1] == np.floor(values[:1])).all() and _are_bytes(values):
        return values.astype(np.uint8)
    top = np.abs(values).max()
    exact = top < LARGE or (top < LARGEST and not (values == np.floor(values)).all())
    return values.astype(np.float32 if exact else np.float64)


def _are_bytes(values: NDArray[np.float64]) -> bool:
    with np.errstate(invalid="ignore"):
        return bool((values == values.astype(np.uint8)).all())


def _three_characters(text: NDArray[np.uint8], end: NDArray[np.int64]) -> Any:
    """The ones, tens and hundreds of the fields, if they are digits, and where a point is for the tens."""
    last, middle, first = text[end - 1], text[end - 2], text[end - 3]
    digit = np.uint8(15)
    ones = (last & digit).astype(np.uint16)
    return ones, (middle & digit) * np.uint16(10), (first & digit) * np.uint16(100), middle == POINT


def _decimals(fields: Fields, which: NDArray[np.int64]) -> NDArray[np.float64]:
    """The numbers of some fields: a sign, digits with a point and an exponent; each may lack."""
    text, _, start, end, others, last, marks = fields
    start, end, others, last = start[which], end[which], others[which], last[which]
    field_start = start
    first = text[start]
    negative = first == MINUS
    signed = negative | (first == PLUS)
    if signed.any():
        signed &= others > 0
        start, others = start + signed, others - signed
    stop, exponent = end, None
    point = marks[last - 1]
    is_point = text[point] == POINT
    unusual = np.flatnonzero((others > 0) & ~is_point)
    if len(unusual):
        stop, others, last, exponent = _exponents(text, marks, end, last, unusual, others)
        point = marks[last - 1]
        is_point = text[point] == POINT
    has_point = (others == 1) & is_point
    point = np.where(has_point, point, stop)
    whole = point - start
    decimals = stop - point - has_point
    known = ((others == 0) | has_point) & (whole + decimals > 0) & (whole <= MOST_DIGITS)
    whole *= known
    decimals *= known
    cut = np.flatnonzero(decimals > np.minimum(MOST_DIGITS - whole, MOST_DECIMALS))
    if len(cut):
        kept = np.minimum(MOST_DIGITS - whole[cut], MOST_DECIMALS)
        stop = stop.copy()
        stop[cut] -= decimals[cut] - kept
        decimals[cut] = kept
    value: NDArray[np.uint64]
    if whole.max(initial=0) <= 1:
        value = (text[start] & np.uint8(15)).astype(np.uint64) * (whole > 0)
    else:
        value = _digits(text, point, whole)
    value *= TENS[decimals]
    value += _digits(text, stop, decimals)
    known[cut] &= value[cut] > 10**8  # after many leading zeros, digits would be lost
    result = value.astype(np.float64)
    result /= TEN[decimals]
    if exponent is not None:
        with np.errstate(over="ignore"):
            result *= np.power(10.0, np.clip(exponent, 0, 308))
            result /= np.power(10.0, np.clip(-exponent, 0, 308))
    if signed.any():
        np.negative(result, out=result, where=negative)
    for i in np.flatnonzero(~known).tolist():
        field = text[field_start[i] : end[i]].tobytes().decode("latin-1")
        result[i] = number(field, np.nan)
        if np.isnan(result[i]):
            break  # one is enough
    return result


def _exponents(
    text: NDArray[np.uint8],
    marks: NDArray[np.int64],
    end: NDArray[np.int64],
    last: NDArray[np.int64],
    unusual: NDArray[np.int64],
    others: NDArray[np.int64],
) -> Any:
    """Where the digits before an exponent stop, the marks left, the mark there, and the exponents."""
    stop, others, last, exponent = end.copy(), others.copy(), last.copy(), np.zeros(len(end), np.int64)
    mark = last[unusual] - 1
    sign = text[marks[mark]]
    signed = (sign == MINUS) | (sign == PLUS)
    mark -= signed
    e = marks[mark]
    length = end[unusual] - e - 1 - signed
    good = (text[e] | 32 == LOWER_E) & (others[unusual] > signed) & (length >= 1) & (length <= 3)
    good &= ~signed | (marks[mark + 1] == e + 1)
    chosen, e, signed = unusual[good], e[good], signed[good]
    stop[chosen], last[chosen] = e, mark[good]
    others[chosen] -= 1 + signed
    values = _digits(text, end[chosen], length[good]).astype(np.int64)
    exponent[chosen] = np.where(sign[good] == MINUS, -values, values)
    others[unusual[~good]] = MOST_DIGITS  # more than a number may have
    return stop, others, last, exponent


def _digits(text: NDArray[np.uint8], end: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The whole numbers of `length` digits that end before the positions `end`."""
    # Eight bytes as an integer: its lowest byte is the first digit. Neighbours are joined, pairs, then fours.
    eights = np.ndarray(len(text) - 7, "<u8", text, strides=(1,))
    value = eights[end - 8]
    value &= MASKS[np.minimum(length, 8)]
    for factor, bits, mask in JOINS:
        high = value >> bits
        value *= factor
        value += high
        value &= mask
    more = np.flatnonzero(length > 8)
    if len(more):
        value[more] += np.uint64(10**8) * _digits(text, end[more] - 8, length[more] - 8)
    return value


def number(field: str, otherwise: Any = None) -> Any:
    """The number that a field holds, or `otherwise`."""
    try:
        # float() also accepts 1_000 and the digits of any script.
        return float(field) if field.isascii() and "_" not in field else otherwise
    except ValueError:
        return otherwise
