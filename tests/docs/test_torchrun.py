"""The recipe for several processes, started as its page says."""

import subprocess
import sys

import pytest

from site_tools.blocks import parse
from site_tools.pages import DOCS

PAGE = DOCS / "practice" / "l0-production.md"


@pytest.mark.slow
def test_torchrun_prints_what_one_process_does(tmp_path):
    """Two processes run the block of the page, and print its output once."""
    (block,) = [b for b in parse(PAGE).blocks if "is_torchelastic_launched" in b.body]
    assert "torchrun --standalone --nproc-per-node=2 fit.py" in PAGE.read_text(encoding="utf-8")
    (tmp_path / "fit.py").write_text(block.body, encoding="utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    ran = subprocess.run(
        [*torchrun, "--nproc-per-node=2", "fit.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == block.expected
