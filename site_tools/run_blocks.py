"""Run every block of every page alone, and compare what it prints with the page.

    python -m site_tools.run_blocks [PAGE...]      all pages by default; exit status 1 if one lies
    python -m site_tools.run_blocks --write [PAGE...]     put what blocks print into the pages

Two servers (`site_tools.alone`) share the blocks. Results go to .stamps/verified/blocks.json
when all pages were run.
"""

from __future__ import annotations

import difflib
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

from site_tools import pages, results
from site_tools.blocks import Block, parse, with_outputs
from site_tools.tree import fingerprint

__all__ = ["FAIL", "LIST", "SHELL", "Outcome", "Runner", "run_all", "save", "write"]

LIST, FAIL, SHELL = 2.0, 10.0, 30.0
"""CPU seconds of a block after imports, at the pace of `site_tools.alone`: above the first it is
listed, above the second it fails. A shell block fails above the third: it starts interpreters,
whose imports count.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a block.

    Parameters
    ----------
    block : Block
    mode : str
        "file", "prompt" or "bash".
    out : str
        What it printed.
    error : str or None
        Traceback or message, if it failed.
    cpu : float
        CPU seconds at an even pace; for Python, without the imports at its top.
    """

    block: Block
    mode: str
    out: str
    error: str | None
    cpu: float

    @property
    def limit(self) -> float:
        """CPU seconds that the block may take."""
        return SHELL if self.block.kind == "bash" else FAIL

    @property
    def complaint(self) -> str | None:
        """What is wrong, with page and line, or None."""
        b = self.block
        if self.error is not None:
            return f"{b.where}: block failed as {self.mode}\n{self.error}"
        if b.expected is not None and self.out != b.expected:
            shown = difflib.unified_diff(
                b.expected.splitlines(), self.out.splitlines(), "page", "printed", lineterm="", n=1
            )
            return f"{b.where}: the page shows another output ({self.mode})\n" + "\n".join(shown)
        shows = b.page.startswith("site_src/") and not b.hidden
        if b.expected is None and self.out and shows:
            return f"{b.where}: it prints, and the page shows no output ({self.mode})\n{self.out}"
        if self.cpu > self.limit:
            return f"{b.where}: {self.cpu:.1f} CPU seconds; the limit is {self.limit:.0f}"
        return None


class Runner(AbstractContextManager["Runner"]):
    """Servers that run blocks alone.

    Parameters
    ----------
    servers : int
    environment : mapping, optional
        More variables for the servers, such as another CPU dispatch.
    """

    def __init__(self, servers: int = 2, environment: dict[str, str] | None = None) -> None:
        script = Path(__file__).with_name("alone.py")
        closed = {"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        self._servers = [
            subprocess.Popen(
                [sys.executable, "-I", str(script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=closed | (environment or {}),
                cwd="/",
            )
            for _ in range(servers)
        ]
        self._free: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
        for server in self._servers:
            self._free.put(server)

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            assert server.stdin is not None  # noqa: S101
            assert server.stdout is not None  # noqa: S101
            server.stdin.close()
            server.wait()
            server.stdout.close()

    def __enter__(self) -> Self:
        return self

    def ask(self, mode: str, page: str, line: int, body: str) -> dict[str, Any]:
        """Send one job to a free server and wait for its answer."""
        server = self._free.get()
        assert server.stdin is not None  # noqa: S101
        assert server.stdout is not None  # noqa: S101
        try:
            job = {"mode": mode, "page": page, "line": line, "body": body}
            server.stdin.write(json.dumps(job) + "\n")
            server.stdin.flush()
            answer: dict[str, Any] = json.loads(server.stdout.readline())
        finally:
            self._free.put(server)
        return answer

    def run(self, block: Block, mode: str) -> Outcome:
        """Run a block."""
        answer = self.ask(mode, block.page, block.line, block.body)
        return Outcome(block, mode, answer["out"], answer["error"], answer["cpu"])

    def run_many(self, jobs: Iterable[tuple[Block, str]]) -> list[Outcome]:
        """Run blocks, several at a time; results in the order of the jobs."""
        with ThreadPoolExecutor(len(self._servers)) as pool:
            return list(pool.map(lambda job: self.run(*job), jobs))


def modes(block: Block) -> tuple[str, ...]:
    """Give the ways in which a block is run."""
    return ("bash",) if block.kind == "bash" else ("file", "prompt")


def run_all(paths: Sequence[Path], environment: dict[str, str] | None = None) -> list[Outcome]:
    """Run every block of the pages in every mode."""
    jobs = [(b, mode) for path in paths for b in parse(path).runs for mode in modes(b)]
    if not jobs:
        return []
    with Runner(environment=environment) as runner:
        return runner.run_many(jobs)


def save(outcomes: Sequence[Outcome], tree: str) -> None:
    """Leave the results for the site."""
    rows = [
        {
            "page": o.block.page,
            "line": o.block.line,
            "key": o.block.key,
            "kind": o.block.kind,
            "claim": o.block.claim,
            "hidden": o.block.hidden,
            "mode": o.mode,
            "compared": o.block.expected is not None,
            "cpu": round(o.cpu, 2),
            "ok": o.complaint is None,
            "out": o.out if o.block.expected is not None else "",
        }
        for o in outcomes
    ]
    results.save("blocks", {"blocks": rows}, tree)


def write(paths: Sequence[Path]) -> list[str]:
    """Put what blocks print into their pages, for a writer to read and to stand by.

    Returns
    -------
    list of str
        Where an output was changed. Blocks that fail keep the output that they had.
    """
    changed = []
    for path in paths:
        outputs = {o.block.line: o.out for o in run_all([path]) if o.error is None}
        page = parse(path)
        stale = {
            b.line: outputs[b.line]
            for b in page.runs
            if b.expected is not None and outputs.get(b.line, b.expected) != b.expected
        }
        path.write_text(with_outputs(page, stale), encoding="utf-8")
        changed += [f"{page.path}:{line}" for line in stale]
    return changed


def main() -> None:
    """Run pages, print complaints, and exit with 1 if there are any."""
    tree = fingerprint()
    chosen = [Path(name) for name in sys.argv[1:] if not name.startswith("-")]
    done = results.load("blocks", tree) if "--unless-done" in sys.argv else None
    if done and all(row["ok"] for row in done["blocks"]):
        return
    if "--write" in sys.argv:
        sys.stdout.writelines(
            f"{where}: new output\n" for where in write(chosen or pages.executed())
        )
        tree = fingerprint()
    outcomes = run_all(chosen or pages.executed())
    if not chosen and tree == fingerprint():
        save(outcomes, tree)
    complaints = [o.complaint for o in outcomes if o.complaint]
    for complaint in complaints:
        sys.stderr.write(f"\n{complaint}\n")
    for o in outcomes:
        if o.cpu > LIST and o.mode != "prompt":
            sys.stdout.write(f"{o.block.where}: {o.cpu:.1f} CPU seconds\n")
    blocks = {o.block.where for o in outcomes}
    spent = sum(o.cpu for o in outcomes)
    sys.stdout.write(
        f"{len(blocks)} blocks, {len(outcomes)} runs, {spent:.1f} CPU seconds, "
        f"{len(complaints)} complaints\n"
    )
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
