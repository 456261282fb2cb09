"""The installed version of xpnet."""

from importlib import metadata

NOT_INSTALLED = "0+unknown"  # valid under PEP 440, and no release has it

try:
    __version__ = metadata.version("xpnet")
except metadata.PackageNotFoundError:  # a checkout on the path, not installed
    __version__ = NOT_INSTALLED
