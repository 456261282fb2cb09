"""Data sets in CSV files: the forms that load, what is decided and told, and the place of every kind of damage."""

import bz2
import gzip
import json
import lzma
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from data_files import check_arrays, fails
from xpnet import train
from xpnet.data import Dataset, csv_numbers, csv_table, load
from xpnet.errors import ConfigError

TRAIN_CSV = "0,0,51,255\n2,255,0,0\n1,0,0,102\n"
TEST_CSV = "1,51,0,0\n2,0,0,255\n"


def load_csv(folder, train=TRAIN_CSV, test=TEST_CSV, options="", **keywords):
    for name, text in (("train.csv", train), ("test.csv", test)):
        content = text if isinstance(text, bytes) else text.encode()
        (folder / name).write_bytes(content)
    return load(f"csv:{folder / 'train.csv'},{folder / 'test.csv'}{options}", **keywords)


def load_one(folder, text, options="", **keywords) -> Dataset:
    (folder / "one.csv").write_text(text)
    return load(f"csv:{folder / 'one.csv'}{options}", **keywords)


def table(rows=60, columns=64, high=16, classes=10):
    """Labels and whole numbers from 0 to `high`, both of which occur."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, high + 1, (rows, columns))
    x[:, 1], x[:, 2] = 0, high
    return np.arange(rows) % classes, x


def rows_of(*columns, header="", separator=","):
    """The text of a table."""
    lines = zip(*(np.asarray(each).reshape(len(each), -1).tolist() for each in columns), strict=True)
    return header + "".join(
        separator.join(str(each) for part in line for each in part) + "\n" for line in lines
    )


def fractions(text):
    """The same rows with pixels scaled to 0 to 1."""
    rows = [line.split(",") for line in text.split()]
    return "".join(",".join([row[0], *(str(int(field) / 255) for field in row[1:])]) + "\n" for row in rows)


def label_last(text):
    rows = [line.split(",") for line in text.split()]
    return "".join(",".join([*row[1:], row[0]]) + "\n" for row in rows)


def second_column(text):
    rows = [line.split(",") for line in text.split()]
    return "".join(",".join([row[1], row[0], *row[2:]]) + "\n" for row in rows)


def numbered(text):
    return "".join(f"{i},{line}\n" for i, line in enumerate(text.split()))


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
    "signs": (lambda text: text.replace("255", "+255"), ""),
    "name": (lambda text: "a,kind,b,c\n" + second_column(text), ",label=kind"),
    "name in other case": (lambda text: "a,kind,b,c\n" + second_column(text), ",label=Kind"),
    "known name": (lambda text: "a,Label,b,c\n" + second_column(text), ""),
    "number of a column": (second_column, ",label=2"),
    "number from the end": (label_last, ",label=-1"),
    "numeric header": (lambda text: "label,0,1,2\n" + text, ""),
    "header=yes": (lambda text: "7,7,7,7\n" + text, ",header=yes"),
    "commented header": (lambda text: "# a,kind,b,c\n" + second_column(text), ",label=kind"),
    "index": (lambda text: ",label,a,b,c\n" + numbered(text), ""),
    "index of pandas": (lambda text: "Unnamed: 0,label,a,b,c\n" + numbered(text), ""),
    "names of rows by R": (lambda text: '"label","a","b","c"\n' + numbered(text), ""),
    "id": (lambda text: "Id,a,label,b,c\n" + numbered(second_column(text)), ""),
    "skip": (lambda text: "label,a,b,c,word\n" + text.replace("\n", ",word\n"), ",skip=word"),
    "skip a number": (lambda text: text.replace("\n", ",word\n"), ",skip=5"),
    "semicolons": (lambda text: text.replace(",", ";"), ""),
    "separator": (lambda text: text.replace(",", ";"), ",separator=semicolon"),
    "tabs": (lambda text: text.replace(",", "\t"), ""),
    "bars": (lambda text: text.replace(",", "|"), ""),
    "blanks": (lambda text: text.replace(",", "   "), ""),
    "leading blanks": (lambda text: " " + text.replace(",", "   ").replace("\n", "\n  "), ""),
    "decimal commas": (lambda text: text.replace(",", ";").replace("255", "255,0"), ""),
    "quotes": (lambda text: '"label","a","b","c"\n' + text.replace("102", '"102"'), ""),
    "quoted everywhere": (
        lambda text: '"' + text.strip().replace(",", '","').replace("\n", '"\n"') + '"\n',
        "",
    ),
    "comments": (lambda text: "# of 2024\n" + text.replace("\n", "\n# a comment, 1, 2, 3\n", 1), ""),
    "blank lines of blanks": (lambda text: "  \n" + text + " \t \n  ", ""),
    "lines of commas": (lambda text: text + ",,,\n,,,\n", ""),
    "comma at the end": (lambda text: text.replace("\n", ",\n"), ""),
    "comma at the end, header": (lambda text: "label,a,b,c\n" + text.replace("\n", ",\n"), ""),
    "old Mac": (lambda text: text.replace("\n", "\r"), ""),
    "UTF-16": (lambda text: ("label,a,b,c\n" + text).encode("utf-16"), ""),
    "UTF-16 without a mark": (lambda text: text.encode("utf-16-le"), ""),
    "UTF-32": (lambda text: text.encode("utf-32"), ""),
    "gzip": (lambda text: gzip.compress(text.encode()), ""),
    "bzip2": (lambda text: bz2.compress(text.encode()), ""),
    "xz": (lambda text: lzma.compress(text.encode()), ""),
    "scale": (str, ",scale=255"),
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


def test_csv_in_a_zip_archive(tmp_path):
    for name, text in (("train", TRAIN_CSV), ("test", TEST_CSV)):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr(f"{name}.csv", text)
            archive.writestr(f"__MACOSX/._{name}.csv", "resource fork")
    assert len(load(f"csv:{tmp_path / 'train.zip'},{tmp_path / 'test.zip'}").train.y) == 3


@pytest.mark.parametrize("columns", [[0, 1, 2], [2, 0, 1]])
def test_columns_go_by_name(tmp_path, columns):
    """The test file may have them in another order, and more of them."""
    values = np.array([[1, 51, 0], [2, 0, 255]])[:, columns]
    names = np.array(["label", "a", "b"])[columns]
    test = rows_of(values, ["x", "y"], header=",".join([*names, "note"]) + "\n")
    dataset = load_csv(tmp_path, "label,a,b\n0,0,255\n2,255,0\n1,0,102\n", test)
    np.testing.assert_allclose(dataset.test.x, [[0.2, 0], [0, 1]], rtol=1e-6)
    assert dataset.test.y.tolist() == [1, 2]


def test_header_of_consecutive_numbers_is_no_example(tmp_path):
    y, x = table()
    names = ",".join(map(str, range(65))) + "\n"
    dataset = load_csv(tmp_path, rows_of(y, x, header=names), rows_of(y, x, header=names))
    assert dataset.train.x.shape == (60, 64)
    assert "line 1, which counts, is a header (header=no: an example)" in dataset.notes
    counting = rows_of(np.arange(5 * 30).reshape(30, 5) % 7)
    assert load_one(tmp_path, counting, ",header=no").train.x.shape == (24, 4)


def test_example_that_pandas_took_for_a_header(tmp_path):
    """`read_csv` of a file without header, and `to_csv`: 0, 0.1, 0.2 stands above the columns of zeros."""
    y, x = table()
    dataset = load_csv(
        tmp_path, "5,0,0.1,16,0.2,0.3" + ",0.4" + "\n" + rows_of(y, x[:, :6]), rows_of(y, x[:, :6])
    )
    assert len(dataset.train.y) == 60
    assert any("pandas" in note for note in dataset.notes)


# Labels


@pytest.mark.parametrize("options", ["", ",label=last", ",label=5"])
def test_words_are_labels(tmp_path, options):
    """As in iris: the only column of words is the label, and the classes are in the order of the alphabet."""
    x = np.arange(120).reshape(30, 4) / 100
    words = ["Iris-virginica", "Iris-setosa"] * 15
    dataset = load_csv(tmp_path, rows_of(x, words), rows_of(x, words), options)
    assert dataset.class_names == ("Iris-setosa", "Iris-virginica")
    assert dataset.train.y.tolist() == [1, 0] * 15
    assert dataset.train.x.shape == (30, 4)
    assert "2 classes: Iris-setosa, Iris-virginica" in dataset.notes
    assert dataset.describe()["class_names"] == ["Iris-setosa", "Iris-virginica"]


def test_words_with_the_separator_in_quotes(tmp_path):
    rows = '"a, b",1,0\n"c ""d""",0,1\n' * 15
    dataset = load_csv(tmp_path, rows, rows)
    assert dataset.class_names == ("a, b", 'c "d"')
    assert dataset.train.x.tolist() == [[1, 0], [0, 1]] * 15


def test_words_that_are_not_utf_8(tmp_path):
    rows = ("grün,1,0\nrot,0,1\n" * 15).encode("latin-1")
    assert load_csv(tmp_path, rows, rows).class_names == ("grün", "rot")


@pytest.mark.parametrize(
    ("labels", "names", "classes"),
    [
        (["1", "2", "3"], ("1", "2", "3"), [0, 1, 2]),
        (["1.0", "2.0", "26.0"], ("1", "2", "26"), [0, 1, 2]),
        (["-1", "1", "+1"], ("-1", "1"), [0, 1, 1]),
        (["3", "8", "3"], ("3", "8"), [0, 1, 0]),
        (["0", "2", "1"], (), [0, 2, 1]),
        (["True", "False", "True"], ("False", "True"), [1, 0, 1]),
        (["A", "0", "b"], ("0", "A", "b"), [1, 0, 2]),
    ],
)
def test_labels_become_classes(tmp_path, labels, names, classes):
    text = rows_of(labels, np.arange(6).reshape(3, 2))
    dataset = load_csv(tmp_path, text, text)
    assert dataset.class_names == names
    assert dataset.train.y.tolist() == dataset.test.y.tolist() == classes
    assert dataset.classes == len(names or classes)


# Scale


SCALES = {
    "bytes": ([[0, 255], [3, 4]], "", [[0, 1], [3 / 255, 4 / 255]], "divided by 255"),
    "dim bytes": ([[0, 100], [3, 4]], "", [[0, 100 / 255], [3 / 255, 4 / 255]], "divided by 255"),
    "16": ([[0, 16], [3, 4]], "", [[0, 1], [3 / 16, 0.25]], "numbers from 0 to 16, divided by 16"),
    "15": ([[0, 15], [3, 4]], "", [[0, 15 / 16], [3 / 16, 0.25]], "divided by 16"),
    "fractions": ([[0, 1], [0.5, 0.25]], "", [[0, 1], [0.5, 0.25]], "from 0 to 1, not scaled"),
    "rounding": ([[0, 1.0001], [0.5, 0.25]], "", [[0, 1.0001], [0.5, 0.25]], "from 0 to 1.0001, not scaled"),
    "no rounding": ([[0, 1.5], [0.5, 0.25]], "", [[-1, 1], [1, -1]], "each column"),
    "standardized": (
        [[-1.5, 1], [-0.5, 1]],
        "",
        [[-1.5, 1], [-0.5, 1]],
        "mean 0.00 and standard deviation 1.06",
    ),
    "a table": ([[1.5, 1000], [0.5, 3000]], "", [[1, -1], [-1, 1]], "each column scaled to mean 0"),
    "a constant": ([[5000, 1000], [5000, 3000]], "", [[0, -1], [0, 1]], "each column"),
    "large numbers": ([[1700000000, 0], [1700000010, 1]], "", [[-1, -1], [1, 1]], "each column"),
    "scale=16": ([[0, 1], [3, 4]], ",scale=16", [[0, 1 / 16], [3 / 16, 0.25]], "divided by 16"),
    "scale=1000": ([[0, 500], [1, 4]], ",scale=1000", [[0, 0.5], [0.001, 0.004]], "divided by 1000"),
    "scale=none": ([[0, 500], [1, 4]], ",scale=none", [[0, 500], [1, 4]], "from 0 to 500, not scaled"),
    "scale=standardize": ([[0, 5], [1, 4]], ",scale=standardize", [[-1, 1], [1, -1]], "each column"),
}


@pytest.mark.parametrize("case", SCALES)
def test_scale(tmp_path, case):
    x, options, expected, note = SCALES[case]
    dataset = load_csv(tmp_path, rows_of([0, 1], x), rows_of([1], x[:1]), options)
    np.testing.assert_allclose(dataset.train.x, expected, rtol=1e-6)
    np.testing.assert_allclose(dataset.test.x, expected[:1], rtol=1e-6)
    assert note in dataset.notes[-1]
    again = dataset.preparation.from_json(dataset.preparation.to_json())
    np.testing.assert_allclose(again.apply(np.array(x)), expected, rtol=1e-6)


def test_both_files_decide_the_scale(tmp_path):
    dataset = load_csv(tmp_path, "0,1,0\n1,0,1\n", "1,1,0\n")
    assert dataset.test.x.tolist() == [[1, 0]]
    dataset = load_csv(tmp_path, "0,12,0\n1,0,1\n", "1,102,0\n")
    np.testing.assert_allclose(dataset.test.x, [[0.4, 0]], rtol=1e-6)
    np.testing.assert_allclose(dataset.train.x[0], [12 / 255, 0], rtol=1e-6)


@pytest.mark.parametrize("factors", [(255, 1), (1, 255), (16, 1), (1, 100)])
@pytest.mark.parametrize("whole", [False, True])
def test_files_of_two_scales_are_refused(tmp_path, factors, whole):
    y, x = table(high=1)
    x = x if whole else x * 0.5
    train, test = (rows_of(y, x * factor) for factor in factors)
    if factors == (16, 1):
        train, test = rows_of(y, x * 32), test
    with fails("test.csv: expected numbers like those of .*train.csv, 0 to .*: scaled in another way"):
        load_csv(tmp_path, train, test)
    assert load_csv(tmp_path, train, test, scale="none").test.x.max() == x.max() * factors[1]


# Images and options


def test_rows_as_images(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (4, 12))
    text = rows_of([0, 1, 0, 1], x)
    for shape, expected in (
        ("3x4", x.reshape(4, 3, 4, 1)),
        ("3x4x1", x.reshape(4, 3, 4, 1)),
        ("2x2x3", x.reshape(4, 2, 2, 3)),
        ("3x2x2", x.reshape(4, 3, 2, 2).transpose(0, 2, 3, 1)),
    ):
        dataset = load_csv(tmp_path, text, text, f",shape={shape}")
        np.testing.assert_allclose(dataset.train.x, expected / 255, rtol=1e-6)
        assert dataset.train.x.flags.c_contiguous
        assert dataset.preparation.shape == expected.shape[1:]
    assert load_csv(tmp_path, text, text, shape=(2, 6)).train.x.shape == (4, 2, 6, 1)
    with fails("shape=5x5x1: expected 25 numbers for an input .*got 12"):
        load_csv(tmp_path, text, text, ",shape=5x5")


def test_known_numbers_of_columns_are_images_in_a_run(tmp_path):
    y, x = table(columns=784, high=255)
    dataset = load_csv(tmp_path, rows_of(y, x), rows_of(y, x))
    assert dataset.train.x.shape == (60, 784)
    images = dataset.as_images()
    assert images.train.x.shape == (60, 28, 28, 1)
    np.testing.assert_array_equal(images.train.x.reshape(60, -1), dataset.train.x)
    assert images.notes[-1] == "784 columns taken as images of 28x28"
    assert images.preparation.shape == (28, 28, 1)
    assert images.as_images() is images


@pytest.mark.parametrize("planes", [False, True])
def test_the_order_of_channels_is_seen_in_the_pixels(tmp_path, planes):
    shapes = load("shapes")
    x = (shapes.train.x[:20] * 255).round().astype(int)
    rows = x.transpose(0, 3, 1, 2) if planes else x
    text = rows_of(np.arange(20) % 2, rows.reshape(20, -1))
    images = load_csv(tmp_path, text, text).as_images()
    np.testing.assert_allclose(images.train.x, shapes.train.x[:20], atol=1e-6)
    assert images.preparation.planes == planes


def test_options_in_the_name_and_as_arguments(tmp_path):
    x, y = table()[::-1]
    text = rows_of(x, y)
    for options, keywords in (
        (",label=last,scale=16", {}),
        ("", {"label": "last", "scale": 16}),
        (",label=65", {"scale": "16"}),
        ("", {"label": -1, "header": "no", "separator": ","}),
    ):
        dataset = load_csv(tmp_path, text, text, options, **keywords)
        assert dataset.train.y.tolist() == y.tolist()
        np.testing.assert_array_equal(dataset.train.x, (x / 16).astype(np.float32))


def test_a_path_with_a_comma(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a, b=c.csv", "d=e.csv"):
        (tmp_path / name).write_text(TRAIN_CSV)
    assert len(load('csv:"a, b=c.csv",d=e.csv,label=first').train.y) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (",lable=last", "no option is called 'lable' .*did you mean label"),
        (",label=", "label: expected a name"),
        (",label=9", "label=9: expected a column from 1 to 4, got 9"),
        (",label=0", "label=0: expected a column from 1 to 4"),
        (",label=kind", "label=kind: expected first, last or a number: the file has no header"),
        (",skip=first", "skip=first: expected another column than the label|words|every label"),
        (",scale=0", "scale=0: expected 255, 16 or another number, none or standardize"),
        (",scale=minmax", "scale=minmax: expected 255"),
        (",shape=28", "shape: expected HEIGHTxWIDTH"),
        (",header=maybe", "header: expected yes or no, got maybe"),
        (",separator=x", "separator: expected tab, semicolon"),
        (",test=2", "test: expected a share above 0 and below 1, got 2"),
        (",label=first,label=last", "label: expected one value, got first and last"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    with fails(message):
        load_csv(tmp_path, options=options if "skip" not in options else ",label=first,skip=first")


def test_a_separator_that_the_file_does_not_have(tmp_path):
    with fails(
        "train.csv: line 1: expected a label and at least one number, got '0;0;51;255': separated by ';'"
    ):
        load_csv(tmp_path, TRAIN_CSV.replace(",", ";"), options=",separator=comma")


def test_a_name_that_the_header_lacks(tmp_path):
    with fails("label=kind: expected a name in the header, label, a, b, c, first, last or a number"):
        load_csv(tmp_path, "label,a,b,c\n" + TRAIN_CSV, options=",label=kind")


# One file


def test_one_file_is_cut_into_training_and_test_rows(tmp_path):
    """The rows are drawn from all classes, always the same, and shuffled: a file is often sorted by class."""
    x = np.arange(150).reshape(150, 1) / 150
    text = rows_of(x, ["a"] * 50 + ["b"] * 50 + ["c"] * 50)
    dataset = load_one(tmp_path, text)
    assert np.bincount(dataset.train.y).tolist() == [40, 40, 40]
    assert np.bincount(dataset.test.y).tolist() == [10, 10, 10]
    assert len(set(dataset.train.y[:20].tolist())) == 3
    every = np.concatenate([dataset.train.x, dataset.test.x])
    np.testing.assert_allclose(np.sort(every, axis=0), x, atol=1e-6)
    np.testing.assert_array_equal((every[:, 0] * 3).astype(int), [*dataset.train.y, *dataset.test.y])
    assert "no test file: 30 of 150 examples, drawn from all classes, are for the test" in dataset.notes
    np.testing.assert_array_equal(load_one(tmp_path, text).train.x, dataset.train.x)
    assert len(load_one(tmp_path, text, ",test=0.5").test.y) == 75
    with fails("test=0.001: expected a share of 150 examples"):
        load_one(tmp_path, text, test=0.001)


# Numbers


def test_numbers_are_those_of_float(tmp_path):
    """The reader of many numbers at a time against Python's, for all ways to write a number."""
    rng = np.random.default_rng(0)
    values = [
        0.0,
        -0.0,
        1.0,
        255.0,
        1e-30,
        1e30,
        123456789.0,
        *rng.normal(size=200),
        *rng.normal(size=50) * 1e5,
    ]
    values += [*(rng.normal(size=50) * 1e-12), *rng.integers(-300, 300, 100).astype(float)]
    forms = [
        repr,
        "{:g}".format,
        "{:.3f}".format,
        "{:e}".format,
        "{:+.18e}".format,
        "{:.20f}".format,
        "{:.0f}".format,
    ]
    texts = [str(form(float(value))) for value in values for form in forms]
    texts += [
        ".5",
        "5.",
        "1E5",
        "-.25e+3",
        "00012",
        "0.10",
        "9" * 18,
        "9" * 19,
        "1e-5",
        "1.5E-05",
        "0e999",
        "1e-999",
        "+7",
        " 8 ",
        "0",
    ]
    texts += ["1"] * (-len(texts) % 10)
    for columns in (1, 10):
        lines = [",".join(texts[i : i + columns]) for i in range(0, len(texts), columns)]
        fields = csv_numbers.find("".join(f"{line}\n" for line in lines).encode(), ord(","), columns)
        found = csv_numbers.numbers(fields, slice(None)).ravel()
        np.testing.assert_allclose(found, np.array(texts, float).astype(np.float32), rtol=1e-7, atol=1e-37)


NO_NUMBERS = (
    "x",
    "1.2.3",
    "1-2",
    "--1",
    "1e",
    "e5",
    "1e5.5",
    ".",
    "-",
    "+",
    "1 2",
    "1e--5",
    "0x10",
    "1_0",
    "nan",
)
NO_NUMBERS += ("+-1", "2020-01-02", "12:30", "5%", "1e+", "\u0661", "#1")


@pytest.mark.parametrize("field", NO_NUMBERS)
def test_fields_that_are_no_numbers(tmp_path, field):
    with fails("train.csv: line 2, column 3: expected a (finite )?number, got "):
        load_csv(tmp_path, f"0,1,2\n1,2,{field}\n" + "0,1,2\n" * 9, "0,1,2\n")


def test_more_text_than_a_piece(tmp_path, monkeypatch):
    """Pieces are read one by one: bytes at first, then fractions; the place of a fault counts all lines."""
    pieces = csv_numbers.pieces
    monkeypatch.setattr(csv_numbers, "pieces", lambda text: pieces(text, 40))
    y, x = np.arange(90) % 3, np.arange(90)[:, None] * [1, 2]
    text = rows_of(y, x) + "# comment\n\n" + rows_of(y, x + 0.5)
    dataset = load_csv(tmp_path, text, text, ",scale=none")
    np.testing.assert_allclose(dataset.train.x, np.concatenate([x, x + 0.5]), rtol=1e-7)
    with fails("train.csv: line 183, column 2: expected a number, got 'x'"):
        load_csv(tmp_path, text + "1,x,0\n", text)


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


@pytest.mark.parametrize("name", ["csv:", "csv:a.csv,", "csv:,", "csv:a.csv,b.csv,c.csv"])
def test_csv_form(name):
    with fails("expected csv:TRAIN.csv,TEST.csv or csv:FILE.csv, got "):
        load(name)


CSV_DAMAGE = {
    "empty": ("", TEST_CSV, "train.csv: expected rows of numbers, got none"),
    "empty test": (TRAIN_CSV, "\n\n", "test.csv: expected rows of numbers, got none"),
    "comments only": ("# a\n#b\n", TEST_CSV, "train.csv: expected rows of numbers, got none"),
    "header only": ("label,a,b,c\n", TEST_CSV, "train.csv: expected rows of numbers, got none"),
    "two headers": (
        "l,a,b,c\nl,a,b,c\n" + TRAIN_CSV,
        TEST_CSV,
        "line 2, column 2: expected a number, got 'a'",
    ),
    "word": (TRAIN_CSV.replace("102", "x"), TEST_CSV, "line 3, column 4: expected a number, got 'x'"),
    "word in the first row": (
        TRAIN_CSV.replace("51", "x"),
        TEST_CSV,
        "line 1, column 3: expected a number, got 'x'",
    ),
    "word after blank": ("\n" + TRAIN_CSV.replace("102", "x"), TEST_CSV, "train.csv: line 4, column 4"),
    "word after comment": ("# a\n" + TRAIN_CSV.replace("102", "x"), TEST_CSV, "train.csv: line 4, column 4"),
    "word in test": (TRAIN_CSV, "l,a,b,c\n1,0,?,3\n", "test.csv: line 2, column 3: .*, got '\\?'"),
    "half a header": (
        "word,1,2,3\n" + TRAIN_CSV,
        TEST_CSV,
        "line 1, column 1: expected a number, got 'word'",
    ),
    "header=no": ("label,a,b,c\n" + TRAIN_CSV, TEST_CSV, "line 1, column 2: expected a number, got 'a'"),
    "no field": (TRAIN_CSV.replace("51", ""), TEST_CSV, "line 1, column 3: expected a number, got ''"),
    "missing": (TRAIN_CSV.replace("51", "NA"), TEST_CSV, "line 1, column 3: expected a number, got 'NA'"),
    "no label": (TRAIN_CSV + ",1,2,3\n", TEST_CSV, "line 4, column 1: expected a label, got ''"),
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
    "overflow": (TRAIN_CSV.replace("102", "1e999"), TEST_CSV, "line 3, column 4: expected a finite number"),
    "nan label": ("0,3\nnan,4\n", "0,0\n", "line 2, column 1: expected a finite number, got 'nan'"),
    "ragged": (TRAIN_CSV + "1,0,0\n", TEST_CSV, "train.csv: line 4: expected 4 columns, got 3"),
    "longer row": (TRAIN_CSV + "1,0,0,0,0\n", TEST_CSV, "train.csv: line 4: expected 4 columns, got 5"),
    "another separator": (
        TRAIN_CSV + "1;0;0;0\n",
        TEST_CSV,
        "line 4: expected 4 columns, got 1: separated by ';'",
    ),
    "labels only": (
        "0\n1\n",
        "0\n1\n",
        "train.csv: line 1: expected a label and at least one number, got '0'",
    ),
    "other width": (TRAIN_CSV, "1,0\n", "test.csv: line 1: expected 4 columns, as in train.csv, got 2"),
    "no labels": (
        TRAIN_CSV,
        "1,0,0\n",
        "test.csv: the label column is missing: 3 columns where training has 4",
    ),
    "no labels by name": (
        "label,a,b\n0,1,2\n1,2,3\n",
        "a,b\n1,2\n",
        "test.csv: the label column label is missing",
    ),
    "no column": (
        "label,a,b\n0,1,2\n1,2,3\n",
        "label,b,c\n1,2,3\n",
        "test.csv: .*train.csv, but a is missing",
    ),
    "half a label": (
        "0,1\n0.5,0\n",
        "0,0\n",
        "line 2, column 1: expected a label, a whole number .*, got '0.5'",
    ),
    "huge label": ("0,1\n1e9,0\n", "0,0\n", "line 2, column 1: expected a label, .* to 65535, got '1e9'"),
    "new label": (TRAIN_CSV, TEST_CSV + "3,0,0,0\n", "test.csv: line 3, column 1: .* from 0 to 2, got '3'"),
    "new word": ("a,1\nb,0\n", "c,1\n", "test.csv: line 1, column 1: .*training file, a, b, got 'c'"),
    "new label from 1": ("1,1\n2,0\n", "0,1\n", "test.csv: line 1, column 1: .*training file, 1, 2, got '0'"),
    "one class": ("0,1\n0,2\n", "0,1\n", "train.csv: every label .first column. is 0: .*label=last"),
    "two labels": ("class,y,a\n0,1,2\n1,0,2\n", TEST_CSV, "column class and column y: which is the label"),
    "two columns of words": (
        "a,b,1\nc,d,0\n",
        "a,b,1\n",
        "words in the first column, column 2: which is the label",
    ),
    "web page": ("<!DOCTYPE html><html>", TEST_CSV, "train.csv: expected rows of numbers, got a web page"),
    "pickle": (b"\x80\x04\x95", TEST_CSV, "got a pickle, which could run any code"),
    "array": (b"\x93NUMPY\x01\x00", TEST_CSV, "got an array of NumPy: name it npy:FILE"),
    "pointer": ("version https://git-lfs.github.com/spec/v1\n", TEST_CSV, "Git LFS"),
    "ARFF": ("@relation iris\n", TEST_CSV, "got an ARFF file"),
    "damaged gzip": (gzip.compress(b"0,1\n1,0\n")[:-9], TEST_CSV, "train.csv: damaged gzip stream"),
    "damaged xz": (lzma.compress(b"0,1\n1,0\n")[:-9], TEST_CSV, "train.csv: damaged lzma stream"),
    "damaged zip": (b"PK\x03\x04 and no more", TEST_CSV, "train.csv: damaged zip archive"),
    "damaged UTF-16": (b"\xff\xfe0", TEST_CSV, "train.csv: byte 2: expected utf-16 text"),
}


@pytest.mark.parametrize("case", CSV_DAMAGE)
def test_damaged_csv(tmp_path, case):
    train, test, message = CSV_DAMAGE[case]
    with fails(message):
        load_csv(tmp_path, train, test, ",header=no" if case == "header=no" else "")


def test_row_numbers_are_no_labels(tmp_path):
    """A pandas index without a name, in order or shuffled, would be a class for each row."""
    y, x = table()
    order = np.random.default_rng(0).permutation(len(y))
    with fails(
        "train.csv: the first column counts the rows: which column is the label, label=last or label=N"
    ):
        load_csv(tmp_path, rows_of(np.arange(60), y, x), rows_of(np.arange(60), y, x))
    with fails(
        "train.csv: the first column, taken as the label, has 60 different values in 60 rows: .*label=last"
    ):
        load_csv(tmp_path, rows_of(order, y, x), rows_of(order, y, x))
    dataset = load_csv(tmp_path, rows_of(np.arange(60), y, x), rows_of(np.arange(60), y, x), ",label=2")
    assert dataset.train.x.shape == (60, 64)
    assert "the first column (row numbers) is left out" in dataset.notes


def test_what_is_told(tmp_path):
    y, x = table(rows=30, columns=3)
    text = rows_of(range(30), y, x, header=",digit,a,b,c\n")
    dataset = load_csv(tmp_path, text, text, ",label=digit")
    assert dataset.notes == (
        "label: column digit",
        "the unnamed first column (row numbers) is left out",
        "numbers from 0 to 16, divided by 16",
    )
    assert dataset.preparation.columns == ("a", "b", "c")
    assert (dataset.preparation.label, dataset.preparation.skipped) == ("digit", ("",))


def test_a_number_above_the_scale_that_is_asked_for(tmp_path):
    text = "0,5,16\n1,3,17\n"
    with fails("train.csv: line 2, column 3: expected a number from 0 to 16 .or another scale=….*, got '17'"):
        load_csv(tmp_path, text, text, scale=16)


def test_damaged_pixels_of_images_are_no_scale_of_their_own(tmp_path):
    y, x = table(columns=784, high=255)
    for wrong in (256, 2551, -1):
        x[7, 5] = wrong
        with fails(f"train.csv: line 8, column 7: expected a number from 0 to 255 .*, got '{wrong}'"):
            load_csv(tmp_path, rows_of(y, x), rows_of(y[:30], x[:30] % 256))


def test_what_numpy_only_warns_of(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fails("train.csv: expected rows of numbers, got none"):
            load_csv(tmp_path, train="")
        dataset = load_csv(tmp_path, "0,0.5\n1,1\n", "1,0.25\n")
        assert dataset.train.x.tolist() == [[0.5], [1]]


# Runs


def test_a_convolutional_network_on_rows(tmp_path, capsys):
    """Rows of 784 pixels are images to a run, so that all options for images work; the first line tells."""
    y, x = table(rows=40, columns=784, high=255)
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text(rows_of(y + 1, x))
    config = train.Config(
        dataset=f"csv:{tmp_path / 'train.csv'},{tmp_path / 'test.csv'}",
        channels=(2,), hidden=(4,), normalize=True, random_crop=1, epochs=1, output_dir=str(tmp_path / "run"),
    )  # fmt: skip
    train.run(config)
    first_line = capsys.readouterr().out.partition("\n")[0]
    assert first_line.endswith(
        "32 training, 8 validation and 40 test images; label: the first column; 10 classes: 1, 2, 3, 4, 5, … 10; "
        "numbers from 0 to 255, divided by 255; 784 columns taken as images of 28x28"
    )
    kept = json.loads((tmp_path / "run" / "data.json").read_text())
    assert kept["class_names"] == [str(label) for label in range(1, 11)]
    assert kept["preparation"]["shape"] == [28, 28, 1]
    assert kept["preparation"]["std"] == [255.0]


def test_options_for_images_on_rows_of_another_length(tmp_path):
    y, x = table()
    (tmp_path / "one.csv").write_text(rows_of(y, x))
    config = train.Config(
        dataset=f"csv:{tmp_path / 'one.csv'}", channels=(2,), output_dir=str(tmp_path / "run")
    )
    with fails("--channels: expected a data set of images, got inputs of shape .64,.", ConfigError):
        train.run(config)
    shaped = replace(config, dataset=f"{config.dataset},shape=8x8", hidden=(4,), epochs=1, quiet=True)
    assert train.run(shaped)["test_accuracy"] >= 0


def test_progress_is_shown_on_terminals_only(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(csv_table, "SHOWN_BAR", 0)
    assert len(load_csv(tmp_path).train.y) == 3
    assert capfd.readouterr() == ("", "")
