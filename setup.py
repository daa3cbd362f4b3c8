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
        commit = _git("rev-parse", "HEAD")
        if commit is not None and not self.editable_mode:
            modified = bool(_git("status", "--porcelain", "calibration", "toy_data"))
            target = Path(self.build_lib) / "calibration" / "_build_info.py"
            lines = ['"""Where this wheel came from."""', "", f'COMMIT = "{commit}"']
            lines.append(f"MODIFIED = {modified}  # sources differed from that commit")
            target.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _git(*arguments: str) -> str | None:
    """Ask git about the checkout; None if it has no answer."""
    done = subprocess.run(
        ["git", "-C", str(HERE), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else None


setup(cmdclass={"build_py": BuildWithCommit})
