"""What a person who waits for a fit gets: progress on a terminal, and Ctrl-C that loses nothing.

    with Attended(run, checkpoint=path):      the loops of the run call `Run.after_epoch`
        ...

Ctrl-C in the middle of an update would leave moments of two epochs. With a path for a
checkpoint the signal therefore only raises a flag; the loop pauses after its epoch, the state
is written, and KeyboardInterrupt goes on with a message that says where. A second Ctrl-C does
not wait. Without a path, outside the main thread, or where the signal is ignored, as for a job
that a shell runs in the background, signals are left alone.

A bar appears on standard error once a fit has run for two seconds, if that is a terminal.
Neither changes a bit of the result.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from calibration.l0.run import Run

__all__ = ["Attended"]

_PATIENCE = 2.0  # seconds without a bar
_OFTEN = 0.1  # seconds between looks at the bar


class Attended:
    """Attend to a run while its loops work.

    Parameters
    ----------
    run : Run
        Its `after_epoch` is set, and put back at the end.
    checkpoint : Path or None
        Where Ctrl-C writes the state.
    """

    def __init__(self, run: Run, checkpoint: Path | None = None) -> None:
        self._run, self._path = run, checkpoint
        self._plain = run.after_epoch
        self._interrupted = False
        self._before: Any = None
        self._bar: Any = None
        self._task: Any = None
        self._next = time.monotonic() + _PATIENCE if sys.stderr.isatty() else float("inf")

    def __enter__(self) -> Self:
        self._run.after_epoch = self._after
        if self._path is not None and _interruptible():
            self._before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run.after_epoch = self._plain
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        if self._bar is not None:
            self._bar.stop()
        if error is None and self._run.team.any(self._interrupted) and self._path is not None:
            checkpoint = self._run.checkpoint()
            if self._run.team.rank == 0:
                checkpoint.save(self._path)
            done = self._run.gates if self._run.refit is None else self._run.refit
            phase = "gates" if self._run.refit is None else "refit"
            raise KeyboardInterrupt(
                f"the fit stopped after epoch {done.epoch} of its {phase}; its checkpoint is in "
                f"{self._path}: call fit_l0 again with resume={str(self._path)!r} to go on"
            )

    def _interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # a handler
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True

    def _after(self, phase: str, epoch: int) -> bool:
        """Move the bar if there is time for it; say whether to pause."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _OFTEN
            self._show(phase, epoch)
        return self._interrupted

    def _show(self, phase: str, epoch: int) -> None:
        options = self._run.options
        total = options.epochs if phase == "gates" else options.refit_epochs
        if self._bar is None:
            self._bar = _bar()
            self._bar.start()
        if self._task is None or self._bar.tasks[self._task].description != phase:
            self._task = self._bar.add_task(phase, total=total, note="")
        self._bar.update(self._task, completed=epoch, note=f"{epoch:,} of {total:,} epochs")


def _interruptible() -> bool:
    in_main = threading.current_thread() is threading.main_thread()
    return in_main and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
    )
