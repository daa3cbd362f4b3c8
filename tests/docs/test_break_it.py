"""Each check of the pages fails where it should, and says where."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_nine_of_nine() -> None:
    """Nine ways to make a page lie are each caught, with file and line."""
    script = Path(__file__).with_name("break_it.py")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "9 of 9 caught, with file and line"
