"""A credential provider as clouds have them: the password of the moment, from elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

FILE = "FEAST_RS_TEST_TOKEN"
"""Environment variable with the path of a file: the password, and the seconds it is to live."""


def current() -> tuple[str, str, float]:
    """User, password, seconds to live."""
    password, seconds = Path(os.environ[FILE]).read_text().split()
    return "default", password, float(seconds)
