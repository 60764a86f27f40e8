"""Whether redner is set up here, for tests that need it."""

from __future__ import annotations

import os

import pytest

import renderers


def require_redner() -> None:
    """Skip where redner is not set up, or fail where it must be (as in CI)."""
    reason = renderers.available()["redner"]
    if reason is not None:
        if os.environ.get("NEXTFACE_REQUIRE_REDNER"):
            pytest.fail(reason)
        pytest.skip(reason)
