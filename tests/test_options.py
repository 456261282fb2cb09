"""Options as people write them: each works, or gives one line that names the file, the line and the option."""

import dataclasses
import functools
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import run_script
from xpnet import train
from xpnet._util.text import similar
from xpnet._util.version import __version__
from xpnet.errors import ConfigError
from xpnet.train.command_line import make_parser, parse, shipped_configs
from xpnet.train.config import Config, option_name
from xpnet.train.values import convert, described

ROOT = Path(__file__).parents[1]
main = functools.partial(run_script, ROOT / "scripts" / "train.py")


def from_yaml(folder: Path, content: str | bytes, *arguments: str) -> Config:
    path = folder / "c.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return parse([*arguments, "--config", str(path)], "train.py")[0]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("hidden: 64", (64,)),
        ("hidden: '64 32'", (64, 32)),
        ("hidden: 64, 32", (64, 32)),
        ("hidden: 64 32", (64, 32)),
        ("hidden: [64, 32]", (64, 32)),
        ("hidden: ['64', 32]", (64, 32)),
        ("hidden: (64, 32)", (64, 32)),
        ("hidden: (64,)", (64,)),
        ("hidden:\n- 64\n- 32", (64, 32)),
        ("hidden: []", ()),
        ("hidden: !!seq [1]", (1,)),
        ("bias: 0", False),
        ("bias: no", False),
        ("bias: OFF", False),
        ("bias: 'false'", False),
        ("normalize: 1", True),
        ("normalize: Yes", True),
        ("normalize: on", True),
        ("seed: 010", 10),
        ("seed: '10'", 10),
        ("seed: 1_000", 1000),
        ("seed: +3", 3),
        ("epochs: &count 7\nbatch_size: *count", 7),
        ("l2: 1e-3", 0.001),
        ("l2: 1", 1),
        ("l2: .5", 0.5),
        ("checkpoint_every: .inf", float("inf")),
        ("name: 2026-11-26", "2026-11-26"),
        ("name: 1e-3", "1e-3"),
        ("name: 012", "012"),
        ("name: yes", "yes"),
        ("name: 'null'", "null"),
        ("name: rö", "rö"),
        ("name: 12:30", "12:30"),
        ("device:", None),
        ("data_dir: ~", None),
        ("data_dir: null", None),
        ("data_dir: None", None),
        ("data_dir: here # a comment", "here"),
        ("# a comment\n\n---\nseed: 3\n...", 3),
        ('{"seed": 3, "quiet": true}', 3),
    ],
)
def test_a_line_of_yaml_is_read_by_the_type_of_its_option(line: str, value: Any, tmp_path: Path) -> None:
    """YAML 1.1 takes `1e-3` for a string, `010` for 8, `12:30` for 750 and `2026-11-26` for a date."""
    name = next(iter(yaml.safe_load(line)))
    found = getattr(from_yaml(tmp_path, line + "\n"), name)
    assert found == value
    assert isinstance(found, bool) == isinstance(value, bool)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n\n",
        "# all options are commented out\n",
        "---\n",
        "---\n...\n",
        "{}\n",
        "\ufeff",
        "\ufeff# nothing\n",
    ],
)
def test_a_file_without_options_changes_nothing(content: str, tmp_path: Path) -> None:
    assert from_yaml(tmp_path, content) == Config()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_of_windows(encoding: str, tmp_path: Path) -> None:
    assert from_yaml(tmp_path, "name: grün\r\nseed: 4\r\n".encode(encoding)) == Config(name="grün", seed=4)


def test_a_file_that_is_a_pipe(tmp_path: Path) -> None:
    """`--config <(command)` of a shell."""
    code = "import sys; from xpnet.train.command_line import parse; print(parse(sys.argv[1:], 'x')[0].seed)"
    line = f'{sys.executable} -c "{code}" --config <(echo seed: 5)'
    assert subprocess.run(["bash", "-c", line], capture_output=True, text=True).stdout == "5\n"


WRONG = [
    ("hidden:\n\t- 5\n", "line 2, column 1: ", "spaces instead of tabs"),
    ("seed: 1\n\tepochs: 2\n", "line 2", "tabs"),
    ("epochs: [\n", "line 2, column 1: ", "expected"),
    ("seed: 1\nepochs:5\n", "line 3", "':'"),
    ("epochs:5\n", "line 1: ", "`option: value`, got 'epochs:5'"),
    ("- epochs\n- 5\n", "line 1: ", "`option: value`, got a list"),
    ("x" * 1000, "line 1: ", "…"),
    ("seed: 1\nname: r\xf6\n".encode("latin-1"), "line 2: ", "UTF-8 text, got byte 0xf6"),
    (b"seed: 1\nname: \x00\n", "line 2: ", "'\\x00'"),
    (b"PK\x03\x04\xff\xfe", "line 1: ", "expected UTF-8 text"),
    ("seed: 1\n\nseed: 2\n", "line 3: ", "seed stands on line 1, too"),
    ("learnig_rate: 0.1\n", "line 1: ", "'learnig_rate'; did you mean learning_rate?"),
    ("seed: 3\nlearning-rate: 0.1\n", "line 2: ", "'learning-rate'; did you mean learning_rate?"),
    ("lr: 0.1\n", "line 1: ", "did you mean learning_rate?"),
    ("no_such_option: 3\n", "line 1: ", "'no_such_option'; see --help"),
    ("resume: run\n", "line 1: ", "'resume'"),
    ("1: 2\n", "line 1: ", "'1'"),
    ("? [a, b]\n: 2\n", "line 1: ", "name of an option, got a list"),
    ("seed: 1\nepochs: many\n", "line 2: --epochs: ", "expected int, got many"),
    ("epochs: 1e1\n", "line 1: --epochs: ", "got 1e1"),
    ("epochs: 0x10\n", "line 1: --epochs: ", "got 0x10"),
    ("epochs: 2.0\n", "line 1: --epochs: ", "got 2.0"),
    ("epochs: true\n", "line 1: --epochs: ", "got true"),
    ("epochs:\n", "line 1: --epochs: ", "got nothing"),
    ("epochs: ''\n", "line 1: --epochs: ", "got ''"),
    ("epochs: [3]\n", "line 1: --epochs: ", "got 3"),
    ("epochs: {a: 3}\n", "line 1: epochs: ", "a value or a list of values, got a mapping"),
    (f"epochs: {'9' * 5000}\n", "line 1: --epochs: ", "999…"),
    ("hidden:\n", "line 1: --hidden: ", "got nothing"),
    ("hidden: [64, x]\n", "line 1: --hidden: ", "integers such as 64 32, or [], got 64 x"),
    ("hidden: [64.5]\n", "line 1: --hidden: ", "got 64.5"),
    ("hidden: [[64]]\n", "line 1: hidden: ", "a value or a list of values, got a list of lists"),
    ("hidden: 64,,32\n", "line 1: --hidden: ", "got 64,,32"),
    ("hidden: true\n", "line 1: --hidden: ", "got true"),
    ("hidden: &a [*a]\n", "line 1", ""),
    ("bias: 2\n", "line 1: --bias: ", "true or false, got 2"),
    ("bias: maybe\n", "line 1: --bias: ", "true or false, got maybe"),
    ("bias:\n", "line 1: --bias: ", "got nothing"),
    ("name:\n", "line 1: --name: ", "got nothing"),
    ("name: !!python/object:os.system x\n", "line 1: name: ", "a value without a tag, got tag:yaml.org,2002:python"),
    ("name: !mine x\n", "line 1: name: ", "a value without a tag, got !mine"),
    ("l2: 0,1\n", "line 1: --l2: ", "expected float, got 0,1"),
    ("learning_rate: fast\n", "line 1: --learning-rate: ", "expected float, got fast"),
    ("seed: 1\nbatch_size: 0\n", "line 2: --batch-size: ", "at least 1, got 0"),
    ("seed: 1\nlearning_rate: -1\n", "line 2: ", "learning_rate to be a finite number"),
    ("activation: ReLU\n", "line 1: --activation: ", "got 'ReLU'; did you mean relu?"),
    ("loss: cross_entropy\n", "line 1: --loss: ", "did you mean cross-entropy?"),
    ("seed: 1\n---\nseed: 2\n", "line 2", "another document"),
    ("seed: *nobody\n", "line 1", "nobody"),
    ("[" * 1100, "", "nest"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "place", "words"), WRONG, ids=lambda value: repr(value)[:30])
def test_a_wrong_file_is_one_line_with_its_place(
    content: str | bytes, place: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as raised:
        from_yaml(tmp_path, content)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'c.yaml'}: {place}")
    assert words in message
    assert "object" not in message.partition("python")[0]
    assert len(message) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("path", ["missing.yaml", ".", "", "a\0b", "c.yaml/d"])
def test_a_file_that_cannot_be_read_is_named(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.yaml").write_text("seed: 1\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as raised:
        parse([f"--config={path}"], "train.py")
    assert "\0" not in str(raised.value)


def test_a_tilde_in_the_names_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell expands `--config=~/c.yaml`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config.yaml").write_text("seed: 9\n")
    assert parse(["--config=~/config.yaml"], "train.py")[0].seed == 9
    config, folder = parse(["--resume=~"], "train.py")
    assert (config.seed, folder) == (9, tmp_path)


def test_options_win_over_files_wherever_they_stand(tmp_path: Path) -> None:
    for name, content in (("a", "seed: 1\nepochs: 1\nhidden: [1]"), ("b", "seed: 2\nbias: false")):
        (tmp_path / f"{name}.yaml").write_text(content)
    a, b = (["--config", str(tmp_path / f"{name}.yaml")] for name in "ab")
    asked = Config(seed=5, epochs=1, hidden=(1,), bias=True)
    for arguments in (["--seed", "5", "--bias", *a, *b], [*a, "--seed", "5", *b, "--bias"], [*a, *b, "--bias", "--seed=5"]):  # fmt: skip
        assert parse(arguments, "train.py")[0] == asked
    assert parse([*a, *b], "train.py")[0].seed == 2
    assert parse([*b, *a], "train.py")[0].seed == 1
    assert parse(["--seed", "0", *a], "train.py")[0].seed == 0, "a value that is the default is given, too"


def test_an_option_that_wins_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        from_yaml(tmp_path, "epochs: 3\n", "--epochs", "0")
    assert str(raised.value) == "--epochs: expected at least 1, got 0"


@pytest.mark.parametrize(
    ("arguments", "hidden"),
    [
        ("--hidden 64 32", (64, 32)),
        ("--hidden 64,32", (64, 32)),
        ("--hidden=64,32", (64, 32)),
        ("--hidden [64,32]", (64, 32)),
        ("--hidden=[64,32]", (64, 32)),
        ("--hidden [64, 32]", (64, 32)),
        ("--hidden (64,)", (64,)),
        ("--hidden 64,", (64,)),
        ("--hidden 64", (64,)),
        ("--hidden []", ()),
        ("--hidden", ()),
        ("--hidden=", ()),
        ("--hidden 64 --hidden 32", (32,)),
        ("--hidden --seed 1", ()),
    ],
)
def test_lists_as_others_write_them(arguments: str, hidden: tuple[int, ...]) -> None:
    assert parse(arguments.split(" "), "train.py")[0].hidden == hidden


@pytest.mark.parametrize(
    ("arguments", "bias"),
    [
        ("--bias", True), ("--bias true", True), ("--bias=1", True), ("--bias YES", True), ("--no-bias --bias on", True),
        ("--no-bias", False), ("--bias false", False), ("--bias=False", False), ("--bias 0", False), ("--bias --no-bias", False),
    ],
)  # fmt: skip
def test_switches_as_others_write_them(arguments: str, bias: bool) -> None:
    assert parse([*arguments.split(), "--seed", "1"], "train.py")[0].bias is bias


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--learning_rate 0.1", "no option is called '--learning_rate'; did you mean --learning-rate?"),
        ("--learning_rate=0.1", "did you mean --learning-rate?"),
        ("--learning-rat 0.1", "did you mean --learning-rate?"),
        ("--lr 0.1", "did you mean --learning-rate?"),
        ("-lr 0.1", "did you mean --learning-rate?"),
        ("--Epochs 3", "did you mean --epochs?"),
        ("--epoch 3", "did you mean --epochs?"),
        ("--num-epochs 3", "did you mean --epochs?"),
        ("-epochs 3", "no option is called '-epochs'; did you mean --epochs?"),
        ("-hidden 3", "did you mean --hidden?"),
        ("--batch 3", "did you mean --batch-norm or --batch-size?"),
        ("--bs 3", "did you mean --batch-size?"),
        ("--wd 3", "did you mean --weight-decay?"),
        ("--hidden-units 3", "did you mean --hidden?"),
        ("--no-nesterof", "did you mean --no-nesterov?"),
        ("--batchnorm", "did you mean --batch-norm?"),
        ("--qui", "did you mean --quiet?"),
        ("--no-epochs", "--no-epochs"),
        ("epochs=5", "unexpected argument 'epochs=5'; did you mean --epochs?"),
        ("5", "unexpected argument '5'; see --help"),
        ("--epochs 3 5", "unexpected argument '5'"),
        ("--zzz", "no option is called '--zzz'; see --help"),
        ("--x", "--x"),
        ("-- 5", "unexpected argument '5'"),
        ("--epochs", "--epochs: expected a value, got none"),
        ("--config", "--config: expected a value, got none"),
        ("--resume", "--resume: expected a value, got none"),
        ("--epochs=", "--epochs: expected int, got ''"),
        ("--epochs 1.5", "--epochs: expected int, got 1.5"),
        ("--learning-rate 0,1", "--learning-rate: expected float, got 0,1"),
        ("--learning-rate 10%", "--learning-rate: expected float, got 10%"),
        ("--hidden 64x32", "--hidden: expected integers such as 64 32, or [], got 64x32"),
        ("--hidden -5", "--hidden: expected numbers of at least 1"),
        ("--bias maybe", "--bias: expected true or false, got maybe"),
        ("--bias=", "--bias: expected true or false, got ''"),
        ("--no-bias=3", "--no-bias: expected no value, got 3"),
        ("--no-bias true", "--no-bias: expected no value, got true"),
        ("--quiet runs", "--quiet: expected true or false, got runs"),
        ("--activation RELU", "did you mean relu?"),
        ("--optimizer adamv", "did you mean adam"),
        ("--backend pytorch", "did you mean torch?"),
        ("--dtype float", "did you mean float32 or float64?"),
        ("--dataset fashion_mnist", "did you mean fashion-mnist?"),
        ("--dataset MNIST", "did you mean mnist?"),
        ("--dataset CIFAR-10", "did you mean cifar10?"),
        ("--resume nowhere", "--resume: expected the folder of a run, got nowhere"),
    ],
)  # fmt: skip
def test_a_near_miss_is_one_line_that_says_what_was_meant(
    arguments: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = main(monkeypatch, capsys, *arguments.split())
    assert (status, out) == (2, "")
    assert err.startswith("train.py: ")
    assert err.count("\n") == 1
    assert words in err
    assert list(tmp_path.iterdir()) == []


ODD_TEXTS = (
    "",
    " ",
    "x",
    "-1",
    "0",
    "nan",
    "inf",
    "1e400",
    "9" * 5000,
    "[]",
    "{}",
    "null",
    "é\n",
    "\udcff",
    "%s",
    "~",
)


def refusal(arguments: list[str]) -> str | None:
    """The error for these arguments; None where they make a config."""
    try:
        assert isinstance(parse(arguments, "train.py")[0], Config)
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.parametrize("option", [field.name for field in dataclasses.fields(Config)])
def test_any_value_of_any_option_works_or_is_one_line(option: str, tmp_path: Path) -> None:
    """On the command line and in a file; ConfigError is the only error, and it names the option."""
    path = tmp_path / "c.yaml"
    for text in ODD_TEXTS:
        path.write_text(yaml.safe_dump({option: text}), errors="surrogateescape")
        for message in (refusal([f"{option_name(option)}={text}"]), refusal(["--config", str(path)])):
            assert message is None or option in message.replace("-", "_"), text
            assert "\n" not in (message or "")
            assert len(message or "") < 600


@pytest.mark.parametrize("spelling", ["--print_config", "--print-config"])
def test_print_config_prints_all_options_as_a_file(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    status, out, err = main(monkeypatch, capsys, spelling, "--epochs", "3", "--name", "1e-3 # ö", "--hidden", "--l2", "1e-9")  # fmt: skip
    assert (status, err) == (0, "")
    assert out.isascii()
    assert list(yaml.safe_load(out)) == [field.name for field in dataclasses.fields(Config)]
    assert from_yaml(tmp_path, out) == Config(epochs=3, name="1e-3 # ö", hidden=(), l2=1e-9)


def test_the_name_of_a_shipped_config_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the program stands. A file of that name in the working folder comes first."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["xpnet"])
    assert parse(["--config", "cnn.yaml"], "train.py")[0].channels == (16, 32)
    (tmp_path / "cnn.yaml").write_text("channels: 4\n")
    assert parse(["--config", "cnn.yaml"], "train.py")[0].channels == (4,)
    for missing in ("cnn", "other.yaml", "configs/mlp.yaml", "./mlp.yaml"):
        with pytest.raises(ConfigError, match="No such file"):
            parse(["--config", missing], "train.py")
    for wrong in ("cnn", "cnm.yaml"):
        with pytest.raises(ConfigError, match=r"No such file or directory; did you mean cnn\.yaml\?$"):
            parse(["--config", wrong], "train.py")


def test_the_configs_are_found_in_the_wheel_and_in_the_sources() -> None:
    sources = {path.name: path.read_text() for path in (ROOT / "scripts" / "configs").iterdir()}
    assert {name: path.read_text() for name, path in shipped_configs().items()} == sources
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert [wheel["force-include"]["scripts/configs"]] == ["xpnet/train/configs"]


def test_print_config_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "config.yaml").write_text("seed: 4\n")
    with pytest.raises(SystemExit):
        parse(["--resume", str(tmp_path), "--print_config", "--epochs", "2"], "train.py")
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["seed"], printed["epochs"]) == (4, 2)


def test_print_config_tells_of_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    status, out, err = main(monkeypatch, capsys, "--print_config", "--epochs", "0")
    assert (status, out, err) == (2, "", "train.py: --epochs: expected at least 1, got 0\n")


@pytest.mark.parametrize(
    "value", ["null", "None", "~", "", "1e-3", "a: b", "# x", " x ", "- x", "'", '"', "\n", "\t", "ö", "é\U0001f600", "%", "*x", "yes", "0"]
)  # fmt: skip
def test_a_written_config_is_read_back_as_it_was(value: str, tmp_path: Path) -> None:
    from xpnet.train import folder

    config = Config(name=value, hidden=(), checkpoint_every=float("inf"))
    folder.write_config(tmp_path, config)
    assert parse(["--config", str(tmp_path / "config.yaml")], "train.py")[0] == config


def test_a_wrong_config_of_a_run_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1\nepochs: x\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: line 2: --epochs: expected int, got x"):
        parse(["--resume", str(tmp_path)], "train.py")


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert main(monkeypatch, capsys, "--version") == (0, f"xpnet {__version__}\n", "")


def test_help_tells_types_and_defaults_as_they_are_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    text = make_parser("train.py").format_help()
    for part in (
        "default: 512 512)",
        "--bias, --no-bias ",
        "default: true)",
        "default: null)",
        "default: [])",
    ):
        assert part in text
    assert text.startswith("usage: train.py [options]\n")


def test_types_of_options() -> None:
    assert convert("3", int | None) == 3
    assert convert(None, int | None) is None
    assert described(float | None) == "float or null"
    for annotation in {field.type for field in dataclasses.fields(Config)}:
        assert "<" not in described(annotation)


def test_config_parse_is_that_of_the_command_line() -> None:
    assert train.config.parse(["--seed", "3"], "train.py") == (Config(seed=3), None)


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("ReLU", ["relu"]), ("leaky_relu", ["leaky-relu"]), ("sigmoyd", ["sigmoid"]), ("tahn", ["tanh"]), ("lr", ["leaky-relu"]),
        ("so", []), ("", []), ("-", []), ("quadratic", []), ("x" * 10_000, []),
    ],
)  # fmt: skip
def test_similar_names(word: str, names: list[str]) -> None:
    assert similar(word, ("relu", "leaky-relu", "sigmoid", "tanh", "softplus")) == names
