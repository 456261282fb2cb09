"""The courses' experiments: each a module, run by `python scripts/study.py NAME`, that leaves one report.

A study's docstring is the beginning of its report: the first line is the title, the paragraphs after it
say what it is about. Its `run(options, report)` does the experiment and puts into the report what came.
"""

import importlib
from typing import Any, Protocol, cast

from xpnet.errors import ConfigError


class Study(Protocol):
    """What a module of a study has."""

    __doc__: str | None

    def run(self, options: Any, report: Any, **more: Any) -> None:
        """Do the experiment, as `Options` say, and put what came into the `Report`."""


def module_name(name: str) -> str:
    """`xpnet.studies.learning_rate` for learning-rate."""
    return f"{__name__}.{name.replace('-', '_')}"


NAMES = (
    "backprop-by-hand",
    "logic-gates",
    "activation-descent",
    "convolution-by-hand",
    "initialization",
    "finite-differences",
    "learning-rate",
    "regularization-strength",
    "batch-size",
    "depth-and-width",
    "activation",
    "hyperparameter-search",
    "cnn-vs-mlp",
    "random-labels",
    "weight-agnostic",
)


def load(name: str) -> Study:
    """The study of that name, which is imported now. ConfigError where there is none."""
    if name not in NAMES:
        raise ConfigError(f"no study is called {name!r}: expected one of {', '.join(NAMES)}")
    return cast(Study, importlib.import_module(module_name(name)))


def title(name: str) -> str:
    """The first line of the study's docstring, without its full stop."""
    return (load(name).__doc__ or name).strip().partition("\n")[0].rstrip(".")
