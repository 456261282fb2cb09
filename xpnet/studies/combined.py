"""One report of several studies: contents with the verdict of each, then the studies one after the other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from xpnet.studies import report as reports
from xpnet.studies.options import Options
from xpnet.studies.report import Report

TITLE = "All studies"
TOO_SMALL = ", but quick is too small to judge"


class Row(NamedTuple):
    """A study in the table of contents."""

    name: str
    title: str
    verdict: str
    agrees: bool


class Contents(NamedTuple):
    """The first page: introduction, the studies, and facts about the run."""

    title: str
    introduction: str
    rows: Sequence[Row]
    facts: Mapping[str, str]


def write(folder: Path, collected: Sequence[Report], options: Options, command: str = "") -> Path:
    """Write one page of these studies, whose folders are in it. With the option `pdf`, a PDF, too."""
    first = collected[0]
    facts = reports.facts(options, command, first.began_at, first.started)
    contents = Contents(TITLE, verdict(collected), [row(each) for each in collected], facts)
    path = folder / reports.PAGE
    reports.render(path, "all.html.j2", title=TITLE, contents=contents, reports=collected)
    if options.pdf:
        reports.printer().write(folder / reports.PRINTED, collected, contents)
    return path


def verdict(collected: Sequence[Report]) -> str:
    """How many expectations agree, over all studies."""
    expectations = [each for report in collected for each in report.expectations]
    agree = sum(each.holds for each in expectations)
    small = TOO_SMALL if any(report.too_small() for report in collected) else ""
    return f"{agree} of {len(expectations)} expectations of {len(collected)} studies agree{small}"


def row(report: Report) -> Row:
    """The line of a study."""
    agree, n = sum(each.holds for each in report.expectations), len(report.expectations)
    early = f", ended early ({report.failure})" if report.failure else ""
    return Row(report.name, report.title, f"{agree} of {n} agree{early}", report.agrees())
