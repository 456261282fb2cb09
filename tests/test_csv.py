"""Data sets in CSV files: the forms that load, and the line and column named for every kind of damage."""

import warnings

import numpy as np
import pytest

from data_files import check_arrays, fails
from xpnet.data import load

TRAIN_CSV = "0,0,51,255\n2,255,0,0\n1,0,0,102\n"
TEST_CSV = "1,51,0,0\n2,0,0,255\n"


def load_csv(folder, train=TRAIN_CSV, test=TEST_CSV, options="", **keywords):
    for name, text in (("train.csv", train), ("test.csv", test)):
        content = text if isinstance(text, bytes) else text.encode()
        (folder / name).write_bytes(content)
    return load(f"csv:{folder / 'train.csv'},{folder / 'test.csv'}{options}", **keywords)


def fractions(text):
    """The same rows with pixels scaled to 0 to 1."""
    rows = [line.split(",") for line in text.split()]
    return "".join(",".join([row[0], *(str(int(field) / 255) for field in row[1:])]) + "\n" for row in rows)


def label_last(text):
    rows = [line.split(",") for line in text.split()]
    return "".join(",".join([*row[1:], row[0]]) + "\n" for row in rows)


CSV_FORMS = {
    "plain": (str, ""),
    "label=first": (str, ",label=first"),
    "fractions": (fractions, ""),
    "label=last": (label_last, ",label=last"),
    "header": (lambda text: "label,pixel0,pixel1,pixel2\n" + text, ""),
    "spaces": (lambda text: text.replace(",", " , "), ""),
    "crlf": (lambda text: text.replace("\n", "\r\n"), ""),
    "bom": (lambda text: "\ufeff" + text, ""),
    "bom+header": (lambda text: "\ufefflabel,a,b,c\n" + text, ""),
    "no-end": (lambda text: text.rstrip("\n"), ""),
    "blank-lines": (lambda text: text.replace("\n", "\n\n"), ""),
    "floats": (lambda text: text.replace("255", "255.0"), ""),
    "exponent": (lambda text: text.replace("255", "2.55e2"), ""),
}


@pytest.mark.parametrize("form", CSV_FORMS)
def test_csv(tmp_path, form):
    edit, options = CSV_FORMS[form]
    dataset = load_csv(tmp_path, edit(TRAIN_CSV), edit(TEST_CSV), options)
    assert dataset.classes == 3
    check_arrays(dataset.train, (3, 3), 3)
    check_arrays(dataset.test, (2, 3), 3)
    np.testing.assert_allclose(dataset.train.x, [[0, 0.2, 1], [1, 0, 0], [0, 0, 0.4]], rtol=1e-6)
    np.testing.assert_allclose(dataset.test.x, [[0.2, 0, 0], [0, 0, 1]], rtol=1e-6)
    assert dataset.train.y.tolist() == [0, 2, 1]
    assert dataset.test.y.tolist() == [1, 2]


def test_csv_training_file_decides_the_scale(tmp_path):
    dataset = load_csv(tmp_path, test="1,1,0,1\n")
    np.testing.assert_allclose(dataset.test.x, [[1 / 255, 0, 1 / 255]], rtol=1e-6)
    dataset = load_csv(tmp_path, "0,1,0\n1,0,1\n", "1,1,0\n")
    assert dataset.test.x.tolist() == [[1, 0]]


def test_csv_with_more_classes_than_a_byte_holds(tmp_path):
    dataset = load_csv(tmp_path, "0,1\n300,255\n", "299,0\n")
    assert dataset.classes == 301
    assert dataset.test.y.tolist() == [299]


def test_relative_csv_path(tmp_path, monkeypatch):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here" / "a.csv").write_text("0,0\n1,1\n")
    (tmp_path / "there" / "a.csv").write_text("0,0\n1,1\n2,0\n")
    (tmp_path / "there" / "b.csv").write_text("1,0\n")
    dataset = load("csv:a.csv,b.csv", tmp_path / "there")
    assert dataset.name == "csv:a.csv,b.csv"
    assert dataset.train.y.tolist() == [0, 1]
    assert dataset.test.y.tolist() == [1]
    monkeypatch.setenv("XPNET_DATA", str(tmp_path / "there"))
    assert load("csv:a.csv,b.csv").test.y.tolist() == [1]
    with fails(r"c.csv: no such file in .*here or in .*there; the --data-dir option or \$XPNET_DATA"):
        load("csv:a.csv,c.csv")
    with fails("/nowhere/c.csv: No such file"):
        load("csv:a.csv,/nowhere/c.csv")


@pytest.mark.parametrize(
    "name", ["csv:", "csv:a.csv", "csv:a.csv,", "csv:a.csv,b.csv,c.csv", "csv:a,b,label=1"]
)
def test_csv_form(name):
    with fails(f"expected csv:TRAIN.csv,TEST.csv with the label .* got '{name}'"):
        load(name)


CSV_DAMAGE = {
    "empty": ("", TEST_CSV, "train.csv: expected rows of numbers, got none"),
    "empty test": (TRAIN_CSV, "\n\n", "test.csv: expected rows of numbers, got none"),
    "header only": ("label,a,b,c\n", TEST_CSV, "train.csv: expected rows of numbers, got none"),
    "two headers": (
        "l,a,b,c\nl,a,b,c\n" + TRAIN_CSV,
        TEST_CSV,
        "line 2, column 1: expected a number, got 'l'",
    ),
    "word": (TRAIN_CSV.replace("102", "x"), TEST_CSV, "line 3, column 4: expected a number, got 'x'"),
    "word after blank": ("\n" + TRAIN_CSV.replace("102", "x"), TEST_CSV, "train.csv: line 4, column 4"),
    "word in test": (TRAIN_CSV, "l,a,b,c\n1,0,?,3\n", "test.csv: line 2, column 3: .*, got '\\?'"),
    "half a header": (
        "label,1,2,3\n" + TRAIN_CSV,
        TEST_CSV,
        "line 1, column 1: expected a number, got 'label'",
    ),
    "quotes": (TRAIN_CSV.replace("102", '"102"'), TEST_CSV, "line 3, column 4: expected a number"),
    "no field": (TRAIN_CSV.replace("51", ""), TEST_CSV, "line 1, column 3: expected a number, got ''"),
    "semicolons": (TRAIN_CSV.replace(",", ";"), TEST_CSV, "train.csv: line 2: expected a label and at least"),
    "underscore": (TRAIN_CSV.replace("102", "1_02"), TEST_CSV, "expected a number, got '1_02'"),
    "long word": (TRAIN_CSV.replace("102", "x" * 99), TEST_CSV, f"got '{'x' * 40}'$"),
    "no text": (TRAIN_CSV.encode() + b"\xff\x00,1,2,3\n", TEST_CSV, "line 4, column 1: expected a number"),
    "nan": (
        TRAIN_CSV.replace("102", "nan"),
        TEST_CSV,
        "line 3, column 4: expected a finite number, got 'nan'",
    ),
    "inf": (
        TRAIN_CSV.replace("102", "inf"),
        TEST_CSV,
        "line 3, column 4: expected a finite number, got 'inf'",
    ),
    "nan label": ("0,3\nnan,4\n", "0,0\n", "line 2, column 1: expected a finite number, got 'nan'"),
    "ragged": (TRAIN_CSV + "1,0,0\n", TEST_CSV, "train.csv: line 4: expected 4 columns, got 3"),
    "longer row": (TRAIN_CSV + "1,0,0,0,0\n", TEST_CSV, "train.csv: line 4: expected 4 columns, got 5"),
    "labels only": ("0\n1\n", "0\n1\n", "train.csv: line 1: expected a label and at least one pixel, got 1"),
    "other width": (TRAIN_CSV, "1,0,0\n", "test.csv: line 1: expected 4 columns, got 3"),
    "too bright": (
        TRAIN_CSV.replace("102", "256"),
        TEST_CSV,
        "line 3, column 4: expected a pixel from 0 to 255",
    ),
    "negative": (TRAIN_CSV.replace("102", "-1"), TEST_CSV, "line 3, column 4: expected a pixel .*, got '-1'"),
    "scales differ": (
        "0,0.5\n1,1\n",
        "0,0\n1,128\n",
        "test.csv: line 2, column 2: .* pixel from 0 to 1, got '128'",
    ),
    "half a label": (
        "0,1\n0.5,0\n",
        "0,0\n",
        "line 2, column 1: expected a label, a whole number .*, got '0.5'",
    ),
    "negative label": (
        "0,1\n-1,0\n",
        "0,0\n",
        "line 2, column 1: expected a label, a whole number .*, got '-1'",
    ),
    "huge label": ("0,1\n1e9,0\n", "0,0\n", "line 2, column 1: expected a label, .* to 65535, got '1e9'"),
    "new label": (TRAIN_CSV, TEST_CSV + "3,0,0,0\n", "test.csv: line 3, column 1: .* from 0 to 2, got '3'"),
    "one class": ("0,1\n0,2\n", "0,1\n", "train.csv: every label .first column. is 0: .*label=last"),
}


@pytest.mark.parametrize("case", CSV_DAMAGE)
def test_damaged_csv(tmp_path, case):
    train, test, message = CSV_DAMAGE[case]
    with fails(message):
        load_csv(tmp_path, train, test)


def test_what_numpy_only_warns_of(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fails("train.csv: expected rows of numbers, got none"):
            load_csv(tmp_path, train="")
        dataset = load_csv(tmp_path, "0,0.5\n1,1\n", "1,0.25\n")
        assert dataset.train.x.tolist() == [[0.5], [1]]
