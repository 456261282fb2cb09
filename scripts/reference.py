"""Write xpnet/docs/reference.md, the API reference, from the docstrings.

    python scripts/reference.py        needs griffelib, which the extra "test" installs

It lists the public names: the names in a package's `__all__`, or, without one, the classes and functions that
the module defines. For a class it lists the methods with a docstring, also those inherited from base classes
that are not public.
"""

import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "xpnet" / "docs" / "reference.md"
PACKAGES = (  # in the order in which a newcomer meets them
    "", "nn", "losses", "optim", "schedules", "init", "data", "data.augment", "metrics", "plots", "callbacks",
    "gradcheck", "testing", "backend", "distributed", "random", "onnx", "convert", "train", "sklearn",
)  # fmt: skip
WIDTH = 110  # of the lines of the sources
HEAD = "# API reference\n\nWritten by `python scripts/reference.py` from the docstrings: do not edit.\n"


def page() -> str:
    """The whole page."""
    root = griffe.load("xpnet", search_paths=[ROOT])
    modules = {name: root[name] if name else root for name in PACKAGES}
    documented = {member.path for module in modules.values() for member in public(module)}
    index, body, seen, used = [], [], set(), Counter()
    for name, module in modules.items():
        line = f"- [{module.path}](#{anchor(module.path, used)}):"
        body.append(f"## {module.path}\n\n{markdown(module.docstring)}")
        for member in public(module):
            if member.path not in seen:
                title = f"{name or 'xpnet'}.{member.name}"
                line += f" [{member.name}](#{anchor(title, used)})"
                body += entry(title, member, documented)
                seen.add(member.path)
        index.append(line)
    return "\n".join([HEAD, *index, "", "\n\n".join(body).strip(), ""])


def public(module: griffe.Module) -> list[griffe.Object]:
    """The public classes and functions of a module, in the order of its files and of the lines in a file."""
    own = [name for name, each in module.members.items() if not each.is_alias and name[0] != "_"]
    found = []
    for name in map(str, module.exports or own):
        each = target(module[name])
        found.append(each.members.get(name, each) if each.is_module else each)  # data.batches is both
    documented = (each for each in found if (each.is_class or each.is_function) and each.docstring)
    return sorted(documented, key=lambda each: (each.module.path, each.lineno))


def target(member: griffe.Object | griffe.Alias) -> griffe.Object:
    """The member itself; for an imported or inherited one, the original."""
    return member.final_target if member.is_alias else member


def anchor(heading: str, used: Counter[str]) -> str:
    """The anchor that GitHub makes for a heading; a repeated one gets the suffix -1, -2, and so on."""
    slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
    used[slug] += 1
    return slug if used[slug] == 1 else f"{slug}-{used[slug] - 1}"


def entry(heading: str, member: griffe.Object, documented: set[str]) -> Iterator[str]:
    """Heading, signature and docstring, then the methods."""
    yield f"### {heading}\n\n{signature(member)}\n\n{markdown(member.docstring)}"
    for method in methods(member, documented) if member.is_class else ():
        if method.docstring and method.name[0] != "_" and (method.is_function or "property" in method.labels):
            yield f"{signature(method)}\n\n{markdown(method.docstring)}"


def methods(member: griffe.Class, documented: set[str]) -> list[griffe.Object]:
    """The members of a class, then the members inherited from base classes that are not on the page."""
    inherited = [target(each) for each in member.inherited_members.values()]
    return [*member.members.values(), *(each for each in inherited if each.parent.path not in documented)]


def signature(member: griffe.Object) -> str:
    """The call, with its defaults; one argument per line if it is long."""
    bases = list(map(str, member.bases)) if member.is_class else []
    if member.is_attribute:
        call = f"{member.name}: {member.annotation}"
    elif "NamedTuple" in bases:
        fields = [f"{each.name}: {each.annotation}" for each in member.members.values() if each.is_attribute]
        call = f"{member.name}({', '.join(fields)})"
    elif member.is_class and not len(member.parameters):
        call = f"class {member.name}" + f"({', '.join(bases)})" * bool(bases)
    elif member.is_class:
        call = target(member.all_members["__init__"]).signature(name=member.name, return_type=False)
    else:
        call = member.signature()
    call = re.sub(r"\bone_of\(\w+, (.*?)\)", r"\1", call)  # the field of an option, with its default
    if len(call) > WIDTH:
        start, _, rest = call.partition("(")
        arguments, _, end = rest.rpartition(")")
        lines = re.split(r", (?=\*?\w+(?:: |=|$|,)|\*,)", arguments)
        call = "\n    ".join([f"{start}(", *(f"{line}," for line in lines)]) + f"\n){end}"
    return f"```python\n{call}\n```"


def markdown(docstring: griffe.Docstring | None) -> str:
    """A docstring as Markdown: sections as lists; equations and indented text as code."""
    if docstring is None:
        return ""
    first, *rest = re.split(r"(\n\n+)", textwrap.dedent(docstring.value).strip("\n"))
    blocks = [first]
    for gap, text in zip(rest[::2], rest[1::2], strict=True):
        if text.startswith("    ") and blocks[-1].startswith("    "):
            blocks[-1] += gap + text
        else:
            blocks.append(text)
    return "\n\n".join(map(paragraph, blocks))


def paragraph(text: str) -> str:
    if section := re.match(r"(Arguments|Attributes|Fields):\n", text):
        items = re.split(r"\n(?=\S)", textwrap.dedent(text[section.end() :]))
        pairs = [re.sub(r"\s*\n\s*", " ", item).partition(": ") for item in items]
        return "\n".join([f"{section[1]}:\n", *(f"- `{name}`: {escape(text)}" for name, _, text in pairs)])
    if text.startswith("    "):
        return f"```python\n{textwrap.dedent(text)}\n```"
    if all(re.search("[=←]", line) for line in text.split("\n")) and not re.search(r"`|\.\)?$", text):
        return f"```text\n{text}\n```"  # equations
    return escape(text)


def escape(text: str) -> str:
    """The text with Markdown's special characters escaped, except in code between backticks."""
    parts = re.split(r"(`[^`]*`)", re.sub(r"^(\d+)\.", r"\1\\.", text, flags=re.MULTILINE))
    return "".join(part if part[:1] == "`" else re.sub(r"([*<\[\]])", r"\\\1", part) for part in parts)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE.relative_to(ROOT))
