"""The notebooks in xpnet/docs: their cells run, and show what is stored in the files."""

import ast
import contextlib
import io
import json
import math
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from pages import NUMBER, ROOT, unit

DOCS = ROOT / "xpnet" / "docs"
NOTEBOOKS = sorted(DOCS.glob("*.ipynb"))
NEEDS = {"scikit-learn": ("sklearn",)}
ANEW = "python scripts/notebooks.py writes it anew"

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


@every_notebook
def test_a_notebook_shows_what_its_file_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module_name in NEEDS.get(path.stem, ()):
        pytest.importorskip(module_name, reason=f"{path.name} is about {module_name}")
    monkeypatch.setenv("MPLBACKEND", "agg")
    module = types.ModuleType(f"notebook_{path.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for number, cell in enumerate(cells(path, "code"), start=1):
        where = f"{path.name}, cell {number}"
        assert cell["execution_count"] == number, f"{where}: the cells did not run in order; {ANEW}"
        old, new = stored(cell), run("".join(cell["source"]), vars(module), where)
        assert len(old) == len(new), f"{where} showed {old}, but shows {new}; {ANEW}"
        for a, b in zip(old, new, strict=True):
            assert alike(a, b), f"{where} showed {a}, but shows {b}; {ANEW}"


def stored(cell: dict[str, Any]) -> list[str]:
    """What the file holds of a cell: the printed text, Matplotlib's own figures, the value.

    Of a figure or of scikit-learn's HTML it is the text that stands for it: they look otherwise from version
    to version.
    """
    printed, figures, values = "", [], []
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            printed += (
                "".join(output["text"]) if output["name"] == "stdout" else "an output on standard error"
            )
            continue
        data = {kind: "".join(text) for kind, text in output["data"].items()}
        html = data.get("text/html", "sk-")
        shown = data["text/plain"] if "sk-" in html else html
        (values if output["output_type"] == "execute_result" else figures).append(shown)
    return [printed, *figures, *values]


def run(source: str, names: dict[str, Any], where: str) -> list[str]:
    """Run a cell, as a notebook does, and return what it would show."""
    tree, out = ast.parse(source), io.StringIO()
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) and source[-1] != ";" else None
    with contextlib.redirect_stdout(out):
        exec(compile(tree, where, "exec"), names)
        value = None if last is None else eval(compile(ast.Expression(last.value), where, "eval"), names)
    pyplot = sys.modules.get("matplotlib.pyplot")
    figures = [repr(pyplot.figure(i)) for i in pyplot.get_fignums()] if pyplot else []
    if pyplot:
        pyplot.close("all")
    html = getattr(value, "_repr_html_", lambda: None)() or "sk-"  # Matplotlib's figures give None
    values = [] if value is None else [repr(value) if "sk-" in html else html]
    return [out.getvalue(), *figures, *values]


def alike(old: str, new: str) -> bool:
    """Whether texts have the same words, and numbers that are nearly the same: machines round differently."""
    words = {" ".join(NUMBER.sub("#", text).split()) for text in (old, new)}
    return len(words) == 1 and all(map(near, NUMBER.findall(old), NUMBER.findall(new)))


def near(old: str, new: str) -> bool:
    """Within 5%, or 0.02, or 2 in the last digit; whole numbers are equal."""
    digit = 2 * unit(old) * (1 + 1e-9) if "." in old else 0.0
    return old == new or (
        "." in old and math.isclose(float(old), float(new), rel_tol=0.05, abs_tol=max(0.02, digit))
    )


def test_a_difference_is_seen() -> None:
    assert alike("loss 0.50\n", "loss 0.51")
    assert alike("12 of 13, 0.7", "12  of 13, 0.6")
    assert not alike("12 of 13", "12 of 14")
    for other in ("loss 0.60", "loss 0.5 0.5", "cost 0.50", ""):
        assert not alike("loss 0.50", other)


@every_notebook
def test_a_notebook_is_small_and_its_links_lead_somewhere(path: Path) -> None:
    assert path.stat().st_size < 150_000
    text = "\n".join("".join(cell["source"]) for cell in cells(path, "markdown"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        assert (DOCS / target).exists(), target
    assert f"({path.name})" in (DOCS / "notebooks.md").read_text()


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["first-network", "own-layer", "scikit-learn"]
