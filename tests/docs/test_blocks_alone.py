"""Every block of every page runs alone, and prints what the page shows."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from site_tools import pages, results, run_blocks
from site_tools.blocks import Block, parse, parse_text

BLOCKS = [block for path in pages.executed() for block in parse(path).runs]
CASES = [(block, mode) for block in BLOCKS for mode in run_blocks.modes(block)]


@pytest.mark.parametrize(("block", "mode"), CASES, ids=[f"{b.where}-{mode}" for b, mode in CASES])
def test_block_alone(block: Block, mode: str, outcomes) -> None:
    """A fork of a clean interpreter, or the prompt, prints what the page shows."""
    complaint = outcomes[block.page, block.line, mode].complaint
    if complaint:
        pytest.fail(complaint, pytrace=False)


def test_slow_blocks_are_listed(outcomes, capsys) -> None:
    """No block takes more than its limit; those over two CPU seconds are named in the report."""
    slow = [o for o in outcomes.values() if o.mode != "prompt" and o.cpu > run_blocks.LIST]
    with capsys.disabled():
        for o in slow:
            sys.stdout.write(f"\n{o.block.where}: {o.cpu:.1f} CPU seconds")
    assert all(o.cpu <= o.limit for o in slow)


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(pages.ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def _base() -> str | None:
    """Give the commit to compare with: where this branch left main, or the one before."""
    head, main = _git("rev-parse", "HEAD"), _git("merge-base", "HEAD", "main")
    return "HEAD~" if main is None or main == head else main.strip()


def _chosen() -> list[Block]:
    """Give the blocks that have changed, and one tenth of all, another one each day."""
    base, known = _base(), set()
    for page in {block.page for block in BLOCKS}:
        before = _git("show", f"{base}:{page}")
        known |= {b.key for b in parse_text(before, page).runs} if before else set()
    day = dt.datetime.now(tz=dt.UTC).timetuple().tm_yday % 10
    return [b for b in BLOCKS if b.key not in known or int(b.key, 16) % 10 == day]


@pytest.mark.slow
def test_cold_interpreters(state) -> None:
    """`python -I` on a file, started for this block, prints what the page shows."""
    blocks = [block for block in _chosen() if block.kind == "python"]
    complaints = []
    for block in blocks:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "block.py"
            file.write_text(block.body, encoding="utf-8")
            done = subprocess.run(
                [sys.executable, "-I", file.name],
                capture_output=True,
                text=True,
                check=False,
                cwd=folder,
                env={"OMP_NUM_THREADS": "1", "HOME": folder, "LANG": "C.UTF-8"},
            )
        if done.returncode or (block.expected is not None and done.stdout != block.expected):
            complaints.append(f"{block.where}\n{done.stdout}\n{done.stderr}")
    assert not complaints, "\n".join(complaints)
    results.save("cold", {"blocks": len(blocks)}, state)


@pytest.mark.slow
def test_another_kind_of_processor(state) -> None:
    """Without the newer vector instructions every block prints the same."""
    plain = {
        "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL "
        "AVX512_ICL AVX512_SPR",
        "ATEN_CPU_CAPABILITY": "default",
        "OPENBLAS_CORETYPE": "Nehalem",
        "OMP_NUM_THREADS": "2",
    }
    jobs = [(block, run_blocks.modes(block)[0]) for block in BLOCKS]
    with run_blocks.Runner(environment=plain) as runner:
        done = runner.run_many(jobs)
    complaints = [o.complaint for o in done if o.complaint]
    assert not complaints, "\n".join(complaints)
    results.save("dispatch", {"blocks": len(done)}, state)
