"""Run blocks alone: each in a process, a folder and an environment of its own.

    python -I site_tools/alone.py             jobs on standard input, results on standard output
    python -I site_tools/alone.py --pace      how much slower than the yardstick this machine is

Started once, it imports the scientific stack, which takes seconds, but not `calibration`.
Every job is run in a child forked from that state: a fresh interpreter for a hundredth of
the price. A job is a line of JSON:

    mode     "file" runs the block as `python block.py` would; "prompt" types it, line by
             line, into the interactive interpreter; "bash" runs it with set -euo pipefail
    page     the Markdown file that it is from, for tracebacks
    line     the line of its opening fence
    body     the code

The answer has what it printed, its error (None if it went well), and its CPU seconds, with
imports that stand at its top not counted. A slow machine needs more of them for the same work,
so they are divided by its pace: how much longer than `YARDSTICK` the stack took to import.

This file is also imported, by what sends the jobs; it must not import its neighbors.
"""

from __future__ import annotations

import ast
import code
import contextlib
import importlib
import json
import linecache
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["LIMIT", "STACK", "YARDSTICK", "main", "run"]

LIMIT = 90
"""Seconds on the clock after which a block is stopped."""

YARDSTICK = 3.0
"""CPU seconds in which a processor of today imports `STACK`."""

STACK = (
    "h5py",
    "numpy",
    "pandas",
    "scipy.optimize",
    "scipy.sparse",
    "scipy.special",
    "scipy.stats",
    "sklearn.ensemble",
    "sklearn.tree",
    "torch",
    "matplotlib.pyplot",
    "numba",
    "yaml",
    "rich",
    "typer",
)

Result = dict[str, Any]


def main() -> None:
    """Answer jobs until the input ends; with --pace, only say the pace of this machine."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    began = time.process_time()
    for name in STACK:
        importlib.import_module(name)
    pace = max(1.0, (time.process_time() - began) / YARDSTICK)
    if sys.argv[1:] == ["--pace"]:
        sys.stdout.write(f"{pace:.2f}\n")
        return
    if any(name.partition(".")[0] == "calibration" for name in sys.modules):
        raise SystemExit("the scientific stack has imported calibration")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for job in sys.stdin:
        answers.write(json.dumps(run(json.loads(job), pace)) + "\n")
        answers.flush()


def run(job: Result, pace: float = 1.0) -> Result:
    """Run one job in a child; its CPU seconds are divided by the pace."""
    folder = Path(tempfile.mkdtemp(prefix="block-"))
    report = folder.with_suffix(".json")
    child = os.fork()
    if child == 0:
        _be_child(job, folder, report)  # does not return
    status, used = _wait(child)
    try:
        result: Result = json.loads(report.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        how = f"stopped after {LIMIT} s" if status is None else f"ended with status {status}"
        result = {"out": "", "error": f"the block {how}", "cpu": used}
    if job["mode"] == "bash":
        result["cpu"] = used
    result["cpu"] /= pace
    shutil.rmtree(folder, ignore_errors=True)
    report.unlink(missing_ok=True)
    return result


def _wait(child: int) -> tuple[int | None, float]:
    deadline = time.monotonic() + LIMIT
    pause = 0.001
    while True:
        pid, status, used = os.wait4(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None, float(LIMIT)
        time.sleep(pause)
        pause = min(2 * pause, 0.02)


def _be_child(job: Result, folder: Path, report: Path) -> None:
    """Become the process of a block, and end as that."""
    os.setsid()
    os.chdir(folder)
    _close_environment(folder)
    out, err = folder.with_suffix(".out"), folder.with_suffix(".err")
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  (for good)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    mode: Callable[[Result], tuple[str | None, float]] = {
        "file": _as_file,
        "prompt": _at_prompt,
        "bash": _in_shell,
    }[job["mode"]]
    error, cpu = mode(job)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    printed = out.read_text(encoding="utf-8", errors="replace")
    said = err.read_text(encoding="utf-8", errors="replace")
    for path in (out, err):
        path.unlink()
    answer = {"out": printed, "err": said, "error": error, "cpu": round(cpu, 3)}
    report.write_text(json.dumps(answer), encoding="utf-8")
    os._exit(0)


def _close_environment(folder: Path) -> None:
    kept = {
        name: os.environ[name]
        for name in ("NPY_DISABLE_CPU_FEATURES", "ATEN_CPU_CAPABILITY", "OMP_NUM_THREADS")
        if name in os.environ
    }
    os.environ.clear()
    os.environ.update(
        {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "TMPDIR": tempfile.gettempdir(),
            "LANG": "C.UTF-8",
            "MPLBACKEND": "Agg",
            "OMP_NUM_THREADS": "1",
            **kept,
        }
    )


def _cpu() -> float:
    own, children = (resource.getrusage(who) for who in (0, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _main_module() -> dict[str, Any]:
    module = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    sys.argv = [""]
    sys.path.insert(0, "")
    return module.__dict__


def _import_first(body: str) -> None:
    """Do the imports at the top of a block, so that the clock does not count them."""
    with contextlib.suppress(Exception):  # whatever is wrong will show in the run itself
        heads = [n for n in ast.parse(body).body if isinstance(n, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(heads, []), "imports", "exec"), {"__name__": "imports"})  # noqa: S102


def _as_file(job: Result) -> tuple[str | None, float]:
    padded = "\n" * job["line"] + job["body"]  # every line keeps its number in the page
    linecache.cache[job["page"]] = (
        len(padded),
        None,
        padded.splitlines(keepends=True),
        job["page"],
    )
    _import_first(job["body"])
    space, start = _main_module(), _cpu()
    try:
        exec(compile(padded, job["page"], "exec", dont_inherit=True), space)  # noqa: S102
    except SystemExit as error:
        return (None if not error.code else f"SystemExit: {error.code}"), _cpu() - start
    except BaseException as error:  # noqa: BLE001  (whatever it is, it is the block's result)
        return _trace(error, job["page"]), _cpu() - start
    return None, _cpu() - start


def _trace(error: BaseException, page: str) -> str:
    """Format a traceback from the block's own lines on."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != page:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()


class _Prompt(code.InteractiveConsole):
    """An interactive interpreter that notes its first error."""

    error: str | None = None

    def write(self, data: str) -> None:
        self.error = (self.error or "") + data


def _at_prompt(job: Result) -> tuple[str | None, float]:
    _import_first(job["body"])
    console, start = _Prompt(_main_module(), filename="<prompt>"), _cpu()
    more = False
    for row in [*job["body"].rstrip("\n").split("\n"), ""]:
        more = console.push(row)
    error = console.error
    if more and error is None:
        error = "the prompt still waits for more"
    return (error and f"typed at the prompt: {error.rstrip()}"), _cpu() - start


def _in_shell(job: Result) -> tuple[str | None, float]:
    import subprocess

    setup = "set -euo pipefail; trap 'echo \"line $LINENO: $BASH_COMMAND\" >&2' ERR"
    script = setup + "\n" * job["line"] + job["body"]  # lines keep their numbers in the page
    done = subprocess.run(["/bin/bash", "-c", script], check=False, stderr=subprocess.PIPE)
    if done.returncode == 0:
        return None, 0.0
    said = done.stderr.decode(errors="replace").strip()
    return f"{job['page']}: bash ended with status {done.returncode}: {said}", 0.0


if __name__ == "__main__":
    main()
