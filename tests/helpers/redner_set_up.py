"""Whether redner is set up here, for tests that need it."""

from __future__ import annotations

import os

import pytest

from nextface.errors import MissingPartError
from renderers.redner.installation import RednerInstallation, find_environment


def require_redner() -> RednerInstallation:
    """Its environment; skips where it is not set up, and fails where it must be (as in CI)."""
    try:
        return find_environment()
    except MissingPartError as error:
        if os.environ.get("NEXTFACE_REQUIRE_REDNER"):
            pytest.fail(str(error))
        pytest.skip(str(error))
