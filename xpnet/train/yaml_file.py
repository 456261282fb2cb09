"""Options in a YAML file: one mapping from names to texts or lists of texts."""

from pathlib import Path
from typing import NamedTuple

import yaml

from xpnet.errors import ConfigError
from xpnet.train.values import Found

NULLS = ("", "~", "null", "Null", "NULL")


class Entry(NamedTuple):
    """The text of an option, and the line on which it stands."""

    found: Found
    line: int


def read(path: Path) -> dict[str, Entry]:
    """The options in the file. Values stay texts: nothing is guessed from their look.

    An empty file has no options.

    Raises ConfigError, with the file and the line, where it cannot be read, is not a mapping, or has an
    option twice.
    """
    text = _text(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise ConfigError(f"{path}: line {line}: expected text, got {text[error.position]!r}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        tab = "; indent with spaces instead of tabs" if r"'\t'" in str(error.problem) else ""
        raise ConfigError(f"{path}: {where}expected YAML: {error.problem or error.context}{tab}") from error
    except RecursionError as error:
        raise ConfigError(
            f"{path}: expected lines of the form `option: value`, got too deep a nest"
        ) from error
    if root is None or (isinstance(root, yaml.ScalarNode) and _found(root, "") is None):
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(
            f"{path}: {_line(root)}: expected lines of the form `option: value`, got {_shown(root)}"
        )
    entries: dict[str, Entry] = {}
    for key, value in root.value:
        where = f"{path}: {_line(key)}"
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{where}: expected the name of an option, got {_shown(key)}")
        if key.value in entries:
            raise ConfigError(f"{where}: {key.value} stands on line {entries[key.value].line}, too")
        entries[key.value] = Entry(_found(value, f"{where}: {key.value}"), key.start_mark.line + 1)
    return entries


def _text(path: Path) -> str:
    """The content of the file: UTF-8, or UTF-16 with a byte order mark, as Windows' shell writes it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}: line {line}: expected UTF-8 text, got byte 0x{content[error.start]:02x}"
        ) from error


def _found(node: yaml.Node, where: str) -> Found:
    """The text of a node, the texts of a list, or None for null. ConfigError for anything deeper."""
    if not node.tag.startswith("tag:yaml.org,2002:") or "python" in node.tag:
        raise ConfigError(f"{where}: expected a value without a tag, got {node.tag}")
    if isinstance(node, yaml.ScalarNode):
        return None if node.style is None and node.value in NULLS else node.value
    if isinstance(node, yaml.SequenceNode) and all(isinstance(each, yaml.ScalarNode) for each in node.value):
        return [each.value for each in node.value]
    raise ConfigError(f"{where}: expected a value or a list of values, got {_shown(node)}")


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value if len(node.value) <= 60 else f"{node.value[:57]}…")
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "a list" if all(isinstance(each, yaml.ScalarNode) for each in node.value) else "a list of lists"
