"""What a person sees of a run: progress while it works, a table when it is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from calibration.artifacts import RunState
from calibration.audit import Audit, prefix_of
from calibration.diagnostics import summary, unified_table
from calibration.errors import PipelineError
from calibration.identity import TOLERANCE
from calibration.l0.run import Status
from calibration.run_folder import read_meta, resume_command
from calibration.run_options import RunOptions, Workspace
from calibration.steps import Event, verify
from calibration.target_database import TargetDatabase

__all__ = ["Display", "open_run", "resume_options", "show_audit", "show_run"]


class Display:
    """Progress on standard error: a live bar on a terminal, plain lines elsewhere.

    It says nothing before the first step, so that a run that cannot begin has one message.

    Parameters
    ----------
    options : RunOptions
        Named in the first line, the seed among them.
    """

    def __init__(self, options: RunOptions) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._live = self._console.is_terminal
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<40}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._task: TaskID | None = None
        self._options = options
        self._begun = False

    @property
    def begun(self) -> bool:
        """Whether a step has begun, so that there is a run folder."""
        return self._begun

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live and self._begun:
            self._progress.stop()

    def _begin(self) -> None:
        o = self._options
        self._console.print(f"seed {o.seed}, engine {o.engine}: {o.size}")
        if self._live:
            self._progress.start()
        self._begun = True

    def observe(self, event: Event) -> None:
        """Show that a step starts, ends, or is skipped."""
        if not self._begun:
            self._begin()
        stages = self._options.start.stages
        name = f"{list(stages).index(event.step) + 1:2d} {stages[event.step]}"
        if not self._live:
            if event.kind != "start":
                note = {"done": f"{event.seconds:.1f} s", "skip": "done before"}
                self._console.print(f"{name:<40} {note.get(event.kind, 'failed')}")
        elif event.kind == "start":
            self._task = self._progress.add_task(name, total=None, note="")
        elif event.kind == "skip":
            self._progress.add_task(name, total=1, completed=1, note="done before")
        elif self._task is not None:
            failed = event.kind == "fail"
            self._progress.update(
                self._task,
                total=1,
                completed=0 if failed else 1,
                note="failed" if failed else "",
            )
            self._progress.stop_task(self._task)

    def tell(self, done: int, of: int, unit: str) -> None:
        """Show how far the present step is."""
        if self._live and self._task is not None:
            self._progress.update(self._task, total=of, completed=done, note=f"{done}/{of} {unit}")


# -- runs on disk ----------------------------------------------------------------------


def open_run(folder: Path) -> RunState:
    """Open a finished run.

    Raises
    ------
    PipelineError
        If the folder is not a run, the run did not finish, or an artifact that is not an
        area's file is not what its step left.
    """
    options, data = resume_options(folder)
    status = read_meta(folder)["status"]
    if status != "completed":
        raise PipelineError(
            f"{folder} did not finish, its status is {status!r}; continue it with "
            f"{resume_command(folder)}"
        )
    verify(folder, leave_out="artifacts/files/")
    return Workspace(folder, data, options).after(list(options.start.stages)[-1])


def resume_options(folder: Path) -> tuple[RunOptions, Path]:
    """Read the options and the input folder that a run was started with.

    Raises
    ------
    PipelineError
        If the folder is not a run, or of another version.
    """
    meta = read_meta(folder)
    try:
        facts = dict(meta["options"])
        facts |= {name: tuple(facts[name]) for name in ("presets", "states")}
        return RunOptions(**facts), Path(meta["data"])
    except (KeyError, TypeError, ValueError) as error:
        raise PipelineError(f"{folder / 'meta.json'} is not of this version ({error})") from error


# -- tables ----------------------------------------------------------------------------


def show_run(state: RunState) -> None:
    """Print what a run reached, as a table that a person can read."""
    console = _console()
    table = Table(title=f"calibration run {state.folder.name}", title_justify="left")
    table.add_column("")
    vectors = list(state.weights_by_preset)
    for name in vectors:
        table.add_column(name, justify="right")
    unified = {n: unified_table(state.matrix, w) for n, w in state.weights_by_preset.items()}
    found = [summary(unified[n], w) for n, w in state.weights_by_preset.items()]
    table.add_row("columns aimed at", *(_aim(state.fits[name]) for name in vectors))
    for label, cell in _ROWS:
        table.add_row(label, *(cell(s) for s in found))
    written = [row for row in state.files if row["status"] == "WRITTEN"]
    table.add_row("files written", *(str(sum(r["vector"] == n for r in written)) for n in vectors))
    console.print(table)
    for name, s in zip(vectors, found, strict=True):
        target, error = s.worst[0]
        console.print(f"worst target ({name}): {target}, off by {100 * error:+.1f} %")
        if not state.fits[name]["reached"]:
            console.print(f"fit ({name}): no penalty keeps within 2 % of the columns aimed at")
        if state.fits[name]["status"] != Status.CONVERGED.name:
            console.print(f"fit ({name}): {state.fits[name]['message']}")
    _show_selection(console, state)
    _show_totals(console, state)
    _show_identity(console, state)
    console.print(f"run folder: {state.folder}")


def _console() -> Console:
    # names of targets hold brackets, which are not markup; long lines are not cut
    return Console(highlight=False, markup=False, soft_wrap=True)


_ROWS: tuple[tuple[str, Any], ...] = (
    ("targets, reachable", lambda s: f"{s.achievable} of {s.targets}"),
    ("columns kept", lambda s: f"{s.retained} of {s.columns}"),
    ("effective sample size", lambda s: f"{s.effective_size:.0f}"),
    ("median error before", lambda s: _percent(s.initial.median)),
    ("median error after", lambda s: _percent(s.fitted.median)),
    ("mean error before", lambda s: _percent(s.initial.mean)),
    ("mean error after", lambda s: _percent(s.fitted.mean)),
    ("targets within 5 %", lambda s: _percent(s.fitted.within_5)),
)


def _aim(fit: Mapping[str, Any]) -> str:
    """Say how many columns the fit was to keep, and if targets and not shares decided that."""
    return f"{fit['budget']}, one a target" if fit["bound_by_targets"] else str(fit["budget"])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _show_selection(console: Console, state: RunState) -> None:
    """Name the kinds of published totals that a selection left out."""
    options, _ = resume_options(state.folder)
    if not options.select:
        return
    database = TargetDatabase(state.folder / "artifacts" / "targets.db")
    published = database.read(state.period, {*state.engine.inputs, *state.engine.outputs})
    chosen = {target.name for target in options.selection.of(published)}
    left = Counter((t.variable, t.domain, t.level) for t in published if t.name not in chosen)
    kinds = (
        f"{n} {variable}{f' by {domain}' if domain else ''} ({level})"
        for (variable, domain, level), n in sorted(left.items())
    )
    console.print(
        f"selection: {len(chosen)} of {len(published)} published totals are used; left out: "
        f"{', '.join(kinds) or 'none'}"
    )


def _show_totals(console: Console, state: RunState) -> None:
    """Show kinds of people that no target may name, before and after."""
    found = {n: state.table(f"{prefix_of(n)}untargeted") for n in state.weights_by_preset}
    table = Table(title="totals beside the targets", title_justify="left")
    table.add_column("")
    table.add_column("before", justify="right")
    for name in found:
        table.add_column(name, justify="right")
        table.add_column("change", justify="right")
    for rows in zip(*found.values(), strict=True):
        cells = (cell for row in rows for cell in (_count(row["fitted"]), _change(row)))
        table.add_row(rows[0]["measure"].replace("_", " "), _count(rows[0]["initial"]), *cells)
    console.print(table)


def _count(cell: str) -> str:
    return f"{float(cell):,.0f}"


def _change(row: Mapping[str, str]) -> str:
    return f"{float(row['change_percent']):+.0f} %" if row["change_percent"] else ""


def _show_identity(console: Console, state: RunState) -> None:
    rows = state.table("identity")
    worst = max(rows, key=lambda row: float(row["gap"] or "inf"))
    within = sum(float(row["gap"] or "inf") <= TOLERANCE for row in rows)
    console.print(
        f"X w identity: {len(rows)} rows compared on {len({r['file'] for r in rows})} files, "
        f"{within} within {TOLERANCE:.0e}; worst {float(worst['gap']):.1e}, {worst['target']} on "
        f"{worst['file']}"
    )
    checks = state.table("checks")
    compared = sum(int(row["compared"]) for row in checks)
    passed = sum(row["passed"] == "True" for row in checks)
    console.print(f"checks: {passed} of {len(checks)} passed, {compared} things compared")


def show_audit(audit: Audit, unchanged: int) -> None:
    """Print what reading the files again found.

    Parameters
    ----------
    audit : Audit
        One that has passed.
    unchanged : int
        Outputs that are what their steps left, from `steps.verify`.
    """
    console = _console()
    console.print(f"artifacts: {unchanged} files compared, all as their steps left them")
    rows = audit.identity.comparisons
    worst = audit.identity.worst
    console.print(
        f"X w identity: {len(rows)} rows compared, worst {worst.gap:.1e}, {worst.target} "
        f"on {worst.file}"
    )
    for result in audit.checks:
        console.print(f"{result.name:<20} {result.compared:>8} compared, {result.wrong} wrong")
