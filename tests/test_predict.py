"""`scripts/predict.py` and `xpnet.load_run`: a run predicts new inputs, read and scaled as its own were."""

import contextlib
import csv
import functools
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import xpnet
from conftest import run_script
from xpnet import data, train
from xpnet.errors import CheckpointError, ConfigError, DataError

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "predict.py"
main = functools.partial(run_script, SCRIPT)
Run = Callable[..., tuple[int, str, str]]


def trained(folder: Path, **options: object) -> Path:
    """A run of one epoch on a small network, without its pictures."""
    made = {"hidden": (8,), "epochs": 1, "quiet": True, "output_dir": str(folder / "run"), **options}
    with contextlib.redirect_stdout(None), mock.patch("xpnet.train.experiment.draw"):
        train.run(train.Config(**made))  # type: ignore[arg-type]
    return folder / "run"


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load("mnist-sample")


@pytest.fixture(scope="module")
def pixels(digits: data.Dataset) -> np.ndarray:
    """The test images as bytes."""
    return (digits.test.x * 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def mnist_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with normalization, whose best epoch is not the last one."""
    folder = tmp_path_factory.mktemp("mnist")
    run = trained(folder, normalize=True, epochs=3, learning_rate=0.5)
    assert accuracy(xpnet.load_run(run, "last"), data.load("mnist-sample")) != own_accuracy(run)
    return run


def own_accuracy(run: Path) -> object:
    """That of the run's summary: 1 - errors / n."""
    return pytest.approx(json.loads((run / "summary.json").read_text())["test_accuracy"], abs=1e-12)


def accuracy(run: train.TrainedRun, dataset: data.Dataset) -> float:
    return float((run.predict(dataset.test.x) == dataset.test.y).mean())


@pytest.fixture
def predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Run:
    """Runs the script in an empty folder: status, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main(monkeypatch, capsys, *map(str, arguments))


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def idx_file(images: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, images.ndim]) + b"".join(size.to_bytes(4, "big") for size in images.shape)
    return head + images.tobytes()


def write(path: Path, x: np.ndarray, y: np.ndarray) -> None:
    """Test images as bytes (n, 28, 28, 1), in a file of the kind that the name says."""
    from PIL import Image

    flat = x.reshape(len(x), -1)
    if path.suffix == ".npy":
        np.save(path, x if "images" in path.name else flat)
    elif path.suffix == ".npz":
        np.savez(path, x_train=x[:3], y_train=y[:3], x_test=x[..., 0], y_test=y)
    elif path.name.endswith("ubyte"):
        path.write_bytes(idx_file(x[..., 0]))
    elif path.name.endswith("ubyte.gz"):
        path.write_bytes(gzip.compress(idx_file(x[..., 0])))
    elif path.suffix in (".csv", ".gz"):
        header = ",".join(f"pixel{i}" for i in range(784)) if "header" in path.name else ""
        labelled = "labelled" in path.name
        table = np.column_stack([y, flat]) if labelled else flat
        np.savetxt(path, table, "%d", ",", header=("label," if labelled else "") + header, comments="")
    else:
        (path / "deeper").mkdir(parents=True)
        for i, image in enumerate(x):
            Image.fromarray(image[..., 0]).save(path / "deeper" / f"{i}.png")


@pytest.mark.parametrize(
    "name",
    ["t.csv", "header.csv", "header-labelled.csv", "images.npy", "rows.npy", "t.npz", "t10k-images-idx3-ubyte",
     "t10k-images.idx3-ubyte", "t10k-images-idx3-ubyte.gz", "pictures"],
)  # fmt: skip
def test_predictions_from_files_are_those_of_the_run_itself(
    name: str, mnist_run: Path, digits: data.Dataset, pixels: np.ndarray, tmp_path: Path, predict: Run
) -> None:
    """The round trip: the accuracy of the predictions is the test accuracy of the run."""
    write(tmp_path / name, pixels, digits.test.y)
    status, out, err = predict(mnist_run, name)
    assert (status, err) == (0, "")
    header, *found = rows(out)
    assert header == ["input", "class", *(f"p_{i}" for i in range(10))]
    labels = np.array([int(row[1]) for row in found])
    assert (labels == digits.test.y).mean() == own_accuracy(mnist_run)
    probabilities = np.array([row[2:] for row in found], float)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (probabilities.argmax(axis=1) == labels).all()
    if name == "pictures":
        assert [row[0] for row in found[:11]] == [f"deeper/{i}.png" for i in range(11)]
    else:
        assert [row[0] for row in found] == [str(i + 1) for i in range(1000)]


def test_the_model_in_python(mnist_run: Path, digits: data.Dataset, pixels: np.ndarray) -> None:
    run = xpnet.load_run(mnist_run)
    told = json.loads((mnist_run / "summary.json").read_text())
    tested = run.evaluate(*digits.test)
    assert (tested.accuracy, tested.loss) == (told["test_accuracy"], told["test_loss"])
    labels = run.predict(digits.test.x)
    for x in (pixels, pixels.reshape(1000, 784), pixels[..., 0].tolist(), pixels.astype(int)):
        np.testing.assert_array_equal(run.predict(x), labels)
    assert run.predict_proba(pixels[:3]).shape == (3, 10)
    np.testing.assert_array_equal(run.model.predict(run.inputs(pixels)), labels)
    assert (run.class_names, run.config.normalize) == (tuple("0123456789"), True)
    assert run.normalization is not None
    assert accuracy(xpnet.load_run(mnist_run, backend="array-api-strict"), digits) == own_accuracy(mnist_run)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((2, 27, 28), np.uint8), "expected 784 numbers"),
        (np.full((2, 784), 255.0), "expected inputs up to 1, as in training, got up to 255"),
        (np.full((2, 784), np.nan), "expected finite numbers"),
        (np.zeros((0, 784)), "got none"),
        (np.array([["x"] * 784]), "expected numbers"),
    ],
)
def test_inputs_of_another_kind_are_refused(x: np.ndarray, words: str, mnist_run: Path) -> None:
    with pytest.raises(DataError, match=words):
        xpnet.load_run(mnist_run).predict(x)


def test_the_last_weights(mnist_run: Path, digits: data.Dataset, predict: Run, pixels: np.ndarray) -> None:
    np.save("t.npy", pixels)
    _, best, _ = predict(mnist_run, "t.npy")
    before = sorted(path.name for path in (mnist_run / "checkpoints").iterdir())
    status, last, err = predict(mnist_run, "t.npy", "--weights", "last")
    assert (status, err) == (0, "")
    assert last != best
    assert predict(mnist_run, "t.npy", "--weights", "best")[1] == best
    assert sorted(path.name for path in (mnist_run / "checkpoints").iterdir()) == before


def test_kaggle(mnist_run: Path, pixels: np.ndarray, tmp_path: Path, predict: Run) -> None:
    write(tmp_path / "header.csv", pixels[:7], np.zeros(7, int))
    status, out, err = predict(mnist_run, "header.csv", "--kaggle")
    assert (status, err) == (0, "")
    header, *found = rows(out)
    assert header == ["ImageId", "Label"]
    labels = xpnet.load_run(mnist_run).predict(pixels[:7])
    assert found == [[str(i + 1), str(label)] for i, label in enumerate(labels)]
    assert rows(predict("--columns", "id, class", mnist_run, "header.csv")[1])[0] == ["id", "class"]
    status, out, _ = predict(mnist_run, "header.csv", "--kaggle", "--output", "new.csv")
    assert (status, out) == (0, "7 predictions in new.csv\n")
    assert rows((tmp_path / "new.csv").read_text()) == [header, *found]


def test_several_pictures_and_their_sizes(
    mnist_run: Path, pixels: np.ndarray, tmp_path: Path, predict: Run
) -> None:
    from PIL import Image, ImageOps

    picture = Image.fromarray(pixels[0, :, :, 0])
    picture.save("a.png")
    picture.convert("RGB").save("b.bmp")
    picture.convert("RGBA").save("c.webp", lossless=True)
    picture.resize((56, 56)).save("large.png")
    status, out, err = predict(mnist_run, "a.png", "b.bmp", "c.webp", "a.png")
    assert (status, err) == (0, "")
    _, *found = rows(out)
    assert [row[0] for row in found] == ["a.png", "b.bmp", "c.webp", "a.png"]
    assert {row[1] for row in found} == {"7"}
    status, _, err = predict(mnist_run, "a.png", "large.png")
    assert (status, err.count("\n")) == (2, 1)
    assert (
        "large.png: expected 28x28 pixels as the others, got 56x56: --resize brings all to that size" in err
    )
    assert rows(predict(mnist_run, "large.png", "--resize")[1])[1][1] == "7"
    ImageOps.invert(picture).resize((280, 280)).save("drawn.png")  # black on white, as a program draws it
    assert rows(predict(mnist_run, "drawn.png", "--resize")[1])[1][1] != "7"
    assert rows(predict(mnist_run, "drawn.png", "--resize", "--invert")[1])[1][1] == "7"


def test_floats_that_are_inputs_already(
    mnist_run: Path, digits: data.Dataset, tmp_path: Path, predict: Run
) -> None:
    """What `data.load` gives, saved: to divide it by 255 once more would be wrong without a word."""
    np.save("x.npy", digits.test.x)
    status, _, err = predict(mnist_run, "x.npy")
    assert status == 2
    assert (
        "expected numbers up to 255, as in training, got up to 1: are they inputs already (--prepared)?"
        in err
    )
    _, *found = rows(predict(mnist_run, "x.npy", "--prepared")[1])
    labels = [int(row[1]) for row in found]
    assert (labels == digits.test.y).mean() == own_accuracy(mnist_run)


# Runs on other data.


def flowers(folder: Path, header: bool) -> tuple[np.ndarray, np.ndarray]:
    """CSV files of four measures and the name of a class: measures and names of the test file."""
    rng = np.random.default_rng(0)
    made = {}
    for name, n in (("a", 90), ("b", 30)):
        y = np.arange(n) % 3
        x = (rng.normal(size=(n, 4)) + 3 * y[:, None]).round(3) * [1, 10, 100, 1]
        made[name] = x, np.array(["setosa", "virginica", "rosa, wild"])[y]
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            if header:
                writer.writerow(["id", "a", "b", "c", "d", "species"])
            for i, (row, label) in enumerate(zip(x.tolist(), made[name][1], strict=True)):
                writer.writerow([*([i + 500] if header else []), *row, label])
    return made["b"]


def test_words_for_labels_columns_by_name_and_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predict: Run
) -> None:
    """A table whose columns are standardized: predictions have the names of its classes and of its rows."""
    x, names = flowers(tmp_path, header=True)
    run = trained(tmp_path, dataset="csv:a.csv,b.csv", epochs=8)
    with open("new.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "d", "b", "note", "a", "c"])
        writer.writerows([900 + i, row[3], row[1], 5, row[0], row[2]] for i, row in enumerate(x.tolist()))
    for path, first in (("new.csv", "900"), ("b.csv", "500")):
        status, out, err = predict(run, path)
        assert (status, err) == (0, "")
        header, *found = rows(out)
        assert header[2:] == [f"p_{name}" for name in sorted(set(names))]
        assert found[0][0] == first
        assert np.mean([row[1] == name for row, name in zip(found, names, strict=True)]) == own_accuracy(run)
    with open("short.csv", "w") as file:
        file.write("id,a,b,c\n1,2,3,4\n2,3,4,5\n")
    assert predict(run, "short.csv")[::2] == (2, "predict.py: short.csv: expected the columns of training, but d is missing\n")  # fmt: skip


def test_a_table_without_a_header(tmp_path: Path, predict: Run) -> None:
    x, names = flowers(tmp_path, header=False)
    run = trained(tmp_path, dataset="csv:a.csv,b.csv", epochs=8)
    np.savetxt("new.csv", x, "%.3f", ",")
    found = [rows(predict(run, path)[1])[1:] for path in ("new.csv", "b.csv")]
    assert found[0] == found[1]
    assert np.mean([row[1] == name for row, name in zip(found[0], names, strict=True)]) == own_accuracy(run)
    (tmp_path / "wide.csv").write_text("1,2,3,4,5,6\n" * 3)
    assert "expected 4 columns of numbers as in training, got 6" in predict(run, "wide.csv")[2]
    assert (
        "expected no picture for a run that was trained on inputs of shape (4,)"
        in predict(run, picture(tmp_path))[2]
    )


def picture(folder: Path) -> Path:
    from PIL import Image

    Image.new("L", (28, 28)).save(folder / "p.png")
    return folder / "p.png"


@pytest.mark.parametrize("high", [16, 1, 255])
def test_pictures_for_a_run_on_tables_of_pixels(
    high: int, digits: data.Dataset, pixels: np.ndarray, tmp_path: Path, predict: Run
) -> None:
    """White is the largest number of the files, whatever that is."""
    for name, x, y in (
        ("a", digits.train.x[:400], digits.train.y[:400]),
        ("b", digits.test.x[:100], digits.test.y[:100]),
    ):
        flat = x.reshape(len(x), -1) * high
        np.savetxt(f"{name}.csv", np.column_stack([y, flat if high == 1 else flat.round()]), "%.5g", ",")
    run = trained(tmp_path, dataset="csv:a.csv,b.csv", epochs=4)
    write(tmp_path / "pictures", pixels[:100], digits.test.y)
    _, *found = rows(predict(run, "pictures")[1])
    own = xpnet.load_run(run).predict(digits.test.x[:100])
    assert np.mean([int(row[1]) for row in found] == own) > 0.97, "bytes are finer than 17 grey levels"


def test_colours_and_augmentation(tmp_path: Path, predict: Run) -> None:
    from PIL import Image

    run = trained(tmp_path, dataset="shapes", channels=(4,), pool=(4,), horizontal_flip=True, batch_norm=True, dropout=0.5, average_weights=0.9, normalize=True)  # fmt: skip
    shapes = data.load("shapes")
    (tmp_path / "p").mkdir()
    bytes_ = (shapes.test.x * 255).round().astype(np.uint8)
    for i, x in enumerate(bytes_[:60]):
        Image.fromarray(x).save(tmp_path / "p" / f"shape {i}.png")
    _, *found = rows(predict(run, "p")[1])
    labels = xpnet.load_run(run).predict(shapes.test.x[:60])
    assert [row[1] for row in found] == [shapes.class_names[label] for label in labels]
    assert [row[0] for row in found][:2] == ["shape 0.png", "shape 1.png"]
    assert accuracy(xpnet.load_run(run), shapes) == own_accuracy(run)
    assert xpnet.load_run(run, "last").predict(shapes.test.x[:5]).shape == (5,)


@pytest.mark.parametrize(
    ("loss", "columns"), [("mean-squared-error", "output_"), ("hinge", None), ("huber", "output_")]
)
def test_losses_without_probabilities(
    loss: str, columns: str | None, digits: data.Dataset, pixels: np.ndarray, tmp_path: Path, predict: Run
) -> None:
    run = trained(tmp_path, loss=loss, learning_rate=0.01)
    np.save("t.npy", pixels)
    header, *found = rows(predict(run, "t.npy")[1])
    assert header == ["input", "class", *([f"{columns}{i}" for i in range(10)] if columns else [])]
    assert np.mean([int(row[1]) for row in found] == digits.test.y) == own_accuracy(run)
    assert {len(row) for row in found} == {len(header)}
    with pytest.raises(ConfigError, match="probabilities"):
        xpnet.load_run(run).predict_proba(pixels[:2])


def test_a_registered_data_set_says_nothing_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predict: Run
) -> None:
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    examples = data.Examples(x, np.arange(60) % 2)
    monkeypatch.setattr("xpnet.data.datasets.DATASETS", data.datasets.DATASETS.copy())
    data.register("mine", lambda: data.Dataset("mine", examples, examples, 2, ("no", "yes")))
    run = trained(tmp_path, dataset="mine")
    np.save("x.npy", x)
    status, _, err = predict(run, "x.npy")
    assert (status, err) == (2, "predict.py: mine: expected inputs as its loader gives them (--prepared): nobody else knows how numbers of a file become inputs\n")  # fmt: skip
    _, *found = rows(predict(run, "x.npy", "--prepared")[1])
    assert {row[1] for row in found} <= {"no", "yes"}
    assert xpnet.load_run(run).predict(x).shape == (60,)


# What cannot be used.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "the following arguments are required: RUN_DIR, INPUT"),
        ("run", "the following arguments are required: INPUT"),
        ("nowhere t.csv", "expected the folder of a run, got nowhere, which is missing"),
        ("t.csv run", "expected the folder of a run, got t.csv, a file"),
        ("empty t.csv", "expected the folder of a run, got empty, without a config.yaml"),
        ("run nothing.csv", "nothing.csv: No such file or directory"),
        ("run nothing.png", "nothing.png: No such file or directory"),
        ("run empty", "empty: expected pictures in this folder, got none"),
        ("run zero.csv", "zero.csv: expected rows of numbers, got none"),
        ("run words.csv", "words.csv"),
        ("run narrow.csv", "narrow.csv: expected 784 columns of numbers as in training, got 3"),
        ("run one-more.csv", "expected 784 columns of numbers as in training, got 785: leave the label out"),
        ("run labels.npy", "labels.npy: expected 784 numbers for an input of shape (28, 28, 1), got 1"),
        ("run names.npz", "names.npz: expected an array called x or x_test, got a, b"),
        ("run objects.npy", "objects.npy: expected arrays of numbers, got pickled objects"),
        ("run text.npy", "text.npy: expected numbers, got <U1"),
        ("run nan.npy", "nan.npy: expected finite numbers"),
        ("run none.npy", "none.npy: expected finite numbers, got none"),
        ("run t10k-labels-idx1-ubyte", "t10k-labels-idx1-ubyte: "),
        ("run wide-idx3-ubyte", "wide-idx3-ubyte: byte 8: expected items of size 28 x 28, got 32 x 32"),
        ("run broken.png", "broken.png: expected a picture"),
        ("run t.csv --weights newest", "--weights: expected best or last, got 'newest'"),
        ("run t.csv --weight best", "did you mean --weights?"),
        ("run t.csv --backend abacus", "backend"),
        ("run t.csv --device cuda:7", "cuda:7"),
        ("run t.csv --columns a", "--columns: expected two names such as ImageId,Label, got a"),
        ("run t.csv --columns a,", "--columns: expected two names"),
        ("run t.csv --output .", "--output: expected a file in a folder that exists, got ."),
        ("run t.csv --output no/t.csv", "--output: expected a file in a folder that exists, got no/t.csv"),
        ("run t.csv --output", "--output: expected a value, got none"),
        ("run t.csv --epochs 3", "no option is called '--epochs'"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_status_2(
    arguments: str, words: str, mnist_run: Path, tmp_path: Path, predict: Run
) -> None:
    shutil.copytree(mnist_run, tmp_path / "run", ignore=shutil.ignore_patterns("*.png"))
    (tmp_path / "empty").mkdir()
    for name, text in (
        ("t.csv", "0," * 783 + "0\n"), ("zero.csv", ""), ("words.csv", "a,b\nc,d\n"), ("narrow.csv", "1,2,3\n4,5,6\n"),
        ("one-more.csv", ("1," * 784 + "5\n") * 3), ("broken.png", "\x89PNG\r\n"),
    ):  # fmt: skip
        (tmp_path / name).write_text(text)
    np.save("labels.npy", np.zeros((5, 1), int))
    np.savez("names.npz", a=np.zeros(1), b=np.zeros(1))
    np.save("objects.npy", np.array([{}], object), allow_pickle=True)
    np.save("text.npy", np.array([["x"] * 784]))
    np.save("nan.npy", np.full((2, 784), np.nan))
    np.save("none.npy", np.zeros((0, 784), np.uint8))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_file(np.zeros(5, np.uint8)))
    (tmp_path / "wide-idx3-ubyte").write_bytes(idx_file(np.zeros((5, 32, 32), np.uint8)))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    status, out, err = predict(*arguments.split())
    assert (status, out) == (2, "")
    assert err.startswith("predict.py: ")
    assert err.count("\n") == 1
    assert words in err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def damage(content: str, old: str, new: str) -> str:
    assert old in content
    return content.replace(old, new, 1)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.yaml", "hidden: x\n"), ("config.yaml", "no: 1\n"), ("config.yaml", "hidden: [9]\n"), ("config.yaml", b"\xff"),
        ("config.yaml", None), ("data.json", None), ("data.json", ""), ("data.json", "{}"), ("data.json", "[]"), ("data.json", "null"),
        ("data.json", ('"shape": [', '"shape": [0, ')), ("data.json", ('"std": [', '"std": [1, ')), ("data.json", ('"classes"', '"x"')),
        ("data.json", ('"input_range": [', '"input_range": ["a", ')), ("data.json", ('"planes": false', '"plains": false')),
        ("data.json", ('"0",', '')), ("data.json", ('"0"', "0")), ("data.json", b"\xff\xfe"), ("data.json", "[" * 100_000),
        ("best.npz", None), ("best.npz", ""), ("best.npz", b"PK\x03\x04"),
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_a_damaged_run_is_one_line_that_names_the_file(
    file: str, content: object, mnist_run: Path, tmp_path: Path, predict: Run
) -> None:
    run = tmp_path / "run"
    shutil.copytree(mnist_run, run)
    path = run / file
    if content is None:
        path.unlink()
    elif isinstance(content, tuple):
        path.write_text(damage(path.read_text().replace("[\n      ", "[").replace("[\n    ", "["), *content))
    else:
        path.write_bytes(content if isinstance(content, bytes) else str(content).encode())
    np.save("t.npy", np.zeros((2, 784), np.uint8))
    status, out, err = predict("run", "t.npy")
    if file == "data.json" and isinstance(content, tuple) and content[0] == '"classes"':
        assert status == 0, "the names are enough"
        return
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert file in err or "best.npz" in err or "got run, without a config.yaml" in err


def test_the_last_weights_need_a_checkpoint(mnist_run: Path, tmp_path: Path, predict: Run) -> None:
    shutil.copytree(mnist_run, tmp_path / "run")
    np.save("t.npy", np.zeros((2, 784), np.uint8))
    for path in (tmp_path / "run" / "checkpoints").glob("*.safetensors"):
        path.write_bytes(b"damaged")
    status, _, err = predict("run", "t.npy", "--weights", "last")
    assert (status, err.count("\n")) == (2, 1)
    assert "checkpoints/epoch-3" in err
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert "run/checkpoints: expected a checkpoint (--weights last), got none" in predict("run", "t.npy", "--weights", "last")[2]  # fmt: skip
    assert predict("run", "t.npy")[0] == 0


def test_a_file_is_written_whole_or_not_at_all(
    mnist_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predict: Run
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    np.save("t.npy", np.zeros((2, 784), np.uint8))
    (tmp_path / "old.csv").write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    status, _, err = predict(mnist_run, "t.npy", "--output", "old.csv")
    assert (status, err) == (2, "predict.py: old.csv: cannot be written (No space left on device)\n")
    assert (tmp_path / "old.csv").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a device of Linux")
def test_a_full_disk_does_not_pass_for_success(mnist_run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.zeros((2, 784), np.uint8))
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, SCRIPT, mnist_run, tmp_path / "t.npy"], stdout=full, stderr=-1, text=True)  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "predict.py: [Errno 28] No space left on device\n"


def test_the_errors_of_load_run(tmp_path: Path) -> None:
    for error, folder, weights in ((ConfigError, tmp_path, "best"), (ConfigError, "~/no such folder", "best"), (ConfigError, "", "worst")):  # fmt: skip
        with pytest.raises(error):
            xpnet.load_run(folder, weights)
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(CheckpointError, match=r"data\.json: missing"):
        xpnet.load_run(tmp_path)
