"""The comparisons of `xpnet.testing` under the name that the tests know."""

from xpnet.testing.compare import assert_close, assert_kept, assert_same, fetch, put

__all__ = ["assert_close", "assert_kept", "assert_same", "fetch", "put"]
