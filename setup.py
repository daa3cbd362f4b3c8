"""Record in the wheel which commit it was built from; all else stands in pyproject.toml."""

from __future__ import annotations

import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent


class BuildWithCommit(build_py):
    """Write `calibration/_build_info.py` into the build, not into the checkout."""

    def run(self) -> None:
        """Build the modules, then add the record if git knows the commit."""
        super().run()
        done = subprocess.run(
            ["git", "-C", str(HERE), "rev-parse", "HEAD"],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0 and not self.editable_mode:
            target = Path(self.build_lib) / "calibration" / "_build_info.py"
            target.write_text(
                f'"""Where this wheel came from."""\n\nCOMMIT = "{done.stdout.strip()}"\n',
                encoding="utf-8",
            )


setup(cmdclass={"build_py": BuildWithCommit})
