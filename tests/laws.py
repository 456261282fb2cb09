"""The comparisons of `xpnet.testing`, under the name that tests import."""

from xpnet.testing.compare import assert_close, assert_kept, assert_same, fetch, put

__all__ = ["assert_close", "assert_kept", "assert_same", "fetch", "put"]
