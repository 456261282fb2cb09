"""README and xpnet/docs: the code runs and prints what they show, options, names, paths and links exist."""

import contextlib
import dataclasses
import inspect
import io
import re
import runpy
import shlex
import sys
import types
from pathlib import Path
from unittest import mock

import pytest
import yaml

import xpnet
from conftest import run_script
from pages import PAGES, REFERENCE, ROOT, WRITTEN, blocks, commands, differs, prose
from xpnet import Model, backend, data, init, losses, nn, optim, schedules, studies
from xpnet.studies import options as study_options
from xpnet.studies import search
from xpnet.train import Config, export, folder, predict
from xpnet.train.command_line import Launch, parse, parse_run
from xpnet.train.config import option_name
from xpnet.train.doctor import command as doctor

NEEDS = {
    "batches.md": ("torch",),
    "convert.md": ("torch",),
    "devices.md": ("jax",),
    "notebooks.md": ("pandas", "tensorboardX"),
    "onnx.md": ("onnx",),
    "sklearn.md": ("sklearn", "onnx"),
}  # the optional libraries that the code of a page uses

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
every_written_page = pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)


@every_written_page
@mock.patch.dict(backend.BACKENDS)
def test_python_blocks_print_what_the_page_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of a page run in order in one module; a text block after a block shows its output."""
    for module_name in NEEDS.get(page.name, ()):
        pytest.importorskip(module_name, reason=f"{page.name} is about {module_name}")
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType(f"page_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    found = blocks(page)
    for block, after in zip(found, [*found[1:], None], strict=True):
        if block.language != "python":
            continue
        code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(code, vars(module))
        shown = after.text if after and after.language == "text" else ""
        assert not (difference := differs(shown, out.getvalue())), f"{page.name}:{block.line}: {difference}"


def test_a_difference_in_what_is_printed_is_seen() -> None:
    assert not differs("accuracy 0.90 of 10\n", "accuracy  0.91 of 10")
    assert not differs("error … at 3.0", "error 5e-9 of x at 3.1")
    assert differs("error … at 3.0", "error 5e-9 of x at 3.3")
    for printed in ("accuracy 0.94 of 10", "accuracy 0.90 of 11", "loss 0.90 of 10", "accuracy 0.90", ""):
        assert differs("accuracy 0.90 of 10", printed), printed
    assert differs("", "something")


@pytest.fixture
def some_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with the scripts and the runs that pages resume."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    for name in set(re.findall(r"runs/[\w-]+", "".join(page.read_text() for page in WRITTEN))):
        Path(name).mkdir(parents=True)
        if name.endswith("-mlp"):
            folder.write_config(Path(name), Config())
        else:
            told = dataclasses.asdict(study_options.Options()) | dataclasses.asdict(search.Settings())
            Path(name, "config.yaml").write_text(yaml.safe_dump(told))


BEFORE = re.compile(r"^([A-Z_]+=\w+ |timeout \d+ |compute-sanitizer --tool \w+ )*")


@pytest.mark.usefixtures("some_runs")
@every_written_page
def test_commands_have_options_and_files_that_exist(page: Path) -> None:
    for command in commands(page):
        for part in command.split(" && "):
            program, *arguments = shlex.split(BEFORE.sub("", part), comments=True)
            if program == "python" and arguments[:2] == ["-m", "xpnet"]:
                program, arguments = "xpnet", arguments[2:]
            if program == "xpnet" and arguments != ["--help"]:
                program, arguments = "python", [f"scripts/{arguments[0]}.py", *arguments[1:]]
            if program == "python" and arguments[0].startswith("scripts/"):
                check_script(*arguments)
            elif program == "pytest":
                paths = [word for word in arguments if re.match(r"bench|tests/", word)]
                assert all((ROOT / word).exists() for word in paths), command
            else:
                assert program in ("pip", "git", "taskset", "xpnet") or arguments[:1] == ["-m"], command


def check_script(script: str, *arguments: str) -> None:
    """Parse the arguments as the script does."""
    match script:
        case "scripts/train.py":
            parse_run(arguments, prog=script)
        case "scripts/gradcheck.py":
            parse(arguments, prog=script)
        case "scripts/study.py":
            name, *_ = study_options.parse(arguments, prog=script, description="")
            assert name in (*studies.NAMES, "list", "all")
        case "scripts/search.py":
            search.parse(arguments, prog=script, description="")
        case "scripts/predict.py":
            predict.parse(arguments, prog=script, description="")
        case "scripts/export.py":
            export.parse(arguments, prog=script, description="")
        case "scripts/doctor.py":
            doctor.parse(arguments, prog=script, description="")
        case _:
            assert (ROOT / script).exists()
            assert not arguments


def test_the_first_run_is_as_the_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The page shows the seventh epoch, the best one, alone."""
    monkeypatch.chdir(tmp_path)
    _, out, _ = run_script(ROOT / "scripts" / "train.py", monkeypatch, capsys, "--epochs", "8")
    shown = re.search(
        r"^test accuracy (.*) \(epoch \d+(.*)\); files in runs/", (ROOT / "README.md").read_text(), re.M
    )
    last = re.search(r"^test accuracy (.*) \(epoch \d+(.*)\); files in (runs/.*)", out, re.M)
    assert shown
    assert last
    assert float(last[1]) == pytest.approx(float(shown[1]), abs=0.02)
    assert last[2] == shown[2]
    table = (ROOT / "xpnet" / "docs" / "runs.md").read_text()
    assert {f"`{path.name}" for path in Path(last[3]).iterdir()} <= set(re.findall(r"`[\w.]+", table))


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes for the headings of a page; a repeated one gets the suffix -1."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return {f"{slug}-{n}" if (n := slugs[:i].count(slug)) else slug for i, slug in enumerate(slugs)}


def test_readme_is_short_and_links_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme.count("\n") < 170
    assert all(f"(xpnet/docs/{page.name})" in readme for page in PAGES[1:])


@every_written_page
def test_files_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"`((?:xpnet|bench|scripts|tests)/[\w./-]*)`", prose(page))
    assert [name for name in named if not (ROOT / name).exists()] == []


@every_written_page
def test_options_that_are_named_exist(page: Path) -> None:
    known = {option_name(field.name) for field in dataclasses.fields(Config)} | {
        "--config",
        "--resume",
        "--help",
        "--json",
        "--print_config",
        "--version",
    }
    known |= {"--distributed"} | {option_name(name) for name in Launch._fields}
    known |= {option_name(name) for name in (*predict.Options._fields, *export.Options._fields)} | {
        "--kaggle"
    }
    known |= {
        option_name(field.name)
        for kind in (study_options.Options, search.Settings)
        for field in dataclasses.fields(kind)
    }
    known |= {option_name(each) for name in studies.NAMES for each in study_options.own_options(name)}
    known |= {"--no-" + name.removeprefix("--") for name in known} | {"--benchmark-only", "--benchmark-json"}
    known |= set(re.findall(r"--bench-\w+", (ROOT / "bench" / "conftest.py").read_text()))
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", prose(page))) - known == set()


def test_readme_names_all_that_there_is() -> None:
    kinds = {nn: nn.Layer, losses: losses.Loss, optim: optim.Optimizer, schedules: schedules.Schedule}
    public = [
        name
        for module, kind in kinds.items()
        for name, each in vars(module).items()
        if isinstance(each, type) and issubclass(each, kind) and name not in (kind.__name__, "Container")
    ]
    public += [name for name, each in vars(init).items() if getattr(each, "__module__", "") == init.__name__]
    public += [*data.datasets.DATASETS, *backend.BACKENDS]
    named = set(re.findall(r"`([^`]*)`", (ROOT / "README.md").read_text()))
    missing = [name for name in public if name not in named and name[0] != "_"]
    assert not missing, f'{", ".join(missing)}: not in the table "What there is" of README.md'


@pytest.mark.parametrize(
    ("where", "text", "names"),
    [
        (
            "xpnet/docs/data.md",
            (ROOT / "xpnet/docs/data.md").read_text().partition("Inputs are")[0],
            data.datasets.DATASETS,
        ),
        ("data.load", data.load.__doc__, data.datasets.DATASETS),
        ("backend.get", backend.get.__doc__, backend.BACKENDS),
        ("Model", Model.__doc__, backend.BACKENDS),
    ],
    ids=lambda value: value if isinstance(value, str) and "\n" not in value else "",
)
def test_lists_in_prose_name_all(where: str, text: str, names: dict[str, object]) -> None:
    missing = [name for name in names if not re.search(rf"(?<![\w-]){name}(?![\w-])", text)]
    assert not missing, f"{where} does not name {', '.join(missing)}"


@pytest.mark.parametrize(
    ("page", "names"), [("studies.md", studies.NAMES), ("gpu.md", tuple(backend.BACKENDS))]
)
def test_tables_have_a_row_for_each_name(page: str, names: tuple[str, ...]) -> None:
    text = (ROOT / "xpnet" / "docs" / page).read_text()
    assert tuple(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)) == names


def test_the_reference_is_that_of_the_docstrings() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "reference.py"))["page"]()
    if page != REFERENCE.read_text():
        pytest.fail(f"{REFERENCE.relative_to(ROOT)} is stale: python scripts/reference.py writes it anew")


def test_the_reference_lists_inherited_members_and_the_inherited_constructor() -> None:
    _, _, model = REFERENCE.read_text().partition("### xpnet.Model\n\n")
    model = model.partition("\n### ")[0]
    constructor, *members = re.findall(r"^```python\n(.*?)```$", model, re.MULTILINE | re.DOTALL)
    arguments = re.findall(r"^    (\w+):", constructor, re.MULTILINE)
    assert arguments == list(inspect.signature(xpnet.Model).parameters)
    listed = {re.split(r"\W", each)[0] for each in members}
    assert listed >= {"fit", "forward", "backward", "step", "zero_grads", "params", "grads"}


def test_the_reference_shows_the_defaults_of_options() -> None:
    assert "activation: str = 'relu'," in REFERENCE.read_text()
