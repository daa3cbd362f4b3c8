"""What the tests of the pages share, and how pytest-codeblocks runs a block here.

`site_tools` is loaded by its place, so that the checkout does not come onto the import path:
`calibration` is the installed one, as everywhere in the tests.

pytest-codeblocks collects the blocks of README.md and site_src (`--codeblocks`). It runs a
block as "builtins", in whatever folder pytest was started in, and reports the message alone.
Here a block is `__main__`, in an empty folder, and a failure shows the page's own lines.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import linecache
import os
import subprocess
import sys
import traceback
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _load_site_tools() -> None:
    place = ROOT / "site_tools" / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        "site_tools", place, submodule_search_locations=[str(place.parent)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["site_tools"] = module
    spec.loader.exec_module(module)


if "site_tools" not in sys.modules:
    _load_site_tools()

from pytest_codeblocks import plugin  # noqa: E402

from site_tools import pages, results, run_blocks, tree  # noqa: E402

LIMIT = 60.0
"""CPU seconds for all blocks in one process."""


class BlockError(Exception):
    """A block that fails or prints something else than its page shows."""


def runtest(item: plugin.TestBlock) -> None:
    """Run a block of a page in this process."""
    block, page = item.obj, item.path.relative_to(ROOT).as_posix()
    folder = item.config._tmp_path_factory.mktemp("block")
    start = _cpu()
    with contextlib.chdir(folder):
        if block.syntax == "python":
            out = _python(block.code, block.lineno, page)
        else:
            out = _shell(block.code, block.lineno, page)
    item.config.stash[CPU].append(_cpu() - start)
    if block.expected_output is not None and out != block.expected_output:
        raise BlockError(
            f"{page}:{block.lineno}: the page shows\n{block.expected_output}\n"
            f"and the block prints\n{out}"
        )


def _cpu() -> float:
    return sum(os.times()[:4])  # with the processes that shell blocks start


def _python(code: str, line: int, page: str) -> str:
    padded = "\n" * line + code  # every line keeps its number in the page
    linecache.cache[page] = (len(padded), None, padded.splitlines(keepends=True), page)
    module = types.ModuleType("__main__")
    before, sys.modules["__main__"] = sys.modules["__main__"], module
    stream = io.StringIO()
    try:
        with contextlib.redirect_stdout(stream):
            exec(compile(padded, page, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    except Exception as error:  # noqa: BLE001  (whatever it is, it is the block's result)
        frames = error.__traceback__
        while frames and frames.tb_frame.f_code.co_filename != page:
            frames = frames.tb_next
        text = "".join(traceback.format_exception(type(error), error, frames))
        raise BlockError(f"{page}:{line}: the block fails\n{text}") from None
    finally:
        sys.modules["__main__"] = before
    return stream.getvalue()


def _shell(code: str, line: int, page: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    done = subprocess.run(
        ["/bin/bash", "-c", "set -euo pipefail\n" + code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PATH": path},
    )
    if done.returncode:
        raise BlockError(f"{page}:{line}: status {done.returncode}\n{done.stderr}")
    return done.stdout


CPU = pytest.StashKey[list[float]]()
TREE = pytest.StashKey[str]()

plugin.TestBlock.runtest = runtest
plugin.TestBlock.repr_failure = lambda _, info: str(info.value)


def pytest_configure(config: pytest.Config) -> None:
    """Note which state of the checkout this run is about."""
    config.stash[CPU] = []
    config.stash[TREE] = tree.fingerprint()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Hold all blocks together against their budget, and note it for the site."""
    spent = session.config.stash[CPU]
    if not spent:
        return
    total, pace = sum(spent), 1.0
    if total > LIMIT:  # on a slow machine?
        command = [sys.executable, "-I", str(ROOT / "site_tools" / "alone.py"), "--pace"]
        pace = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        total /= pace
    sys.stdout.write(
        f"\n{len(spent)} blocks in one process: {total:.1f} CPU seconds at an even pace (this "
        f"machine: {pace:.1f}), limit {LIMIT:.0f}\n"
    )
    if total > LIMIT:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif exitstatus == 0:
        facts = {"blocks": len(spent), "seconds": round(total, 1)}
        results.save("codeblocks", facts, session.config.stash[TREE])


@pytest.fixture(scope="session")
def state(pytestconfig: pytest.Config) -> str:
    """Which state of the checkout the results are about."""
    return pytestconfig.stash[TREE]


@pytest.fixture(scope="session")
def runner():
    """Servers that run blocks alone."""
    with run_blocks.Runner() as servers:
        yield servers


@pytest.fixture(scope="session")
def selected(request):
    """Give the values that a parameter has in the tests that were selected."""

    def of(parameter: str) -> set:
        specs = [getattr(item, "callspec", None) for item in request.session.items]
        return {spec.params[parameter] for spec in specs if spec and parameter in spec.params}

    return of


@pytest.fixture(scope="session")
def outcomes(runner, state, selected):
    """Run the blocks of the tests' pages alone, in every mode; if all, keep it for the site."""
    wanted = {block.page for block in selected("block")}
    paths = [p for p in pages.executed() if p.relative_to(ROOT).as_posix() in wanted]
    jobs = [
        (block, mode)
        for path in paths
        for block in run_blocks.parse(path).runs
        for mode in run_blocks.modes(block)
    ]
    done = runner.run_many(jobs)
    if paths == [path for path in pages.executed() if run_blocks.parse(path).runs]:
        run_blocks.save(done, state)
    return {(o.block.page, o.block.line, o.mode): o for o in done}
