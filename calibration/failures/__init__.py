"""Known failures: what was done wrong, what it looks like, and what notices it.

Most of these really happened in systems like this one. Each can be injected where it can
act:

    side "matrix"   the fault acts while the matrix is built: the files are right, and the X w
                    identity says that the two disagree
    side "file"     the fault acts while files are written: matrix and files disagree, and
                    the X w identity says so
    side "kernel"   the fault acts from the takeup thresholds on, while they are resolved,
                    while the matrix is built and while files are written: all are wrong
                    in the same way, the identity holds, and a named check of
                    `calibration.checks` says so

A fault in what files alone are made with, such as the choice of their columns, has no
second side: the identity sees it on both. A fault in the records or in the targets comes
before any side, so it has none: matrix and files take both as they are.

`demonstrate` does the experiment on a small set of areas and returns what was found
(`experiment`). Failures stand in a room for each place where they act, and a stage that has
none yet opens its own, with a tuple `FAILURES`:

    puf        the records             no side; `calibration.puf_checks` notices
    targets    totals of levels        no side; `calibration.level_gaps` notices
    takeup     flags and thresholds    in the kernel `calibration.checks`, else the identity
    kernel     the expansion           in the kernel `calibration.checks`, else the identity
    matrix     the entries of X        the identity notices
    files      columns of a file       the identity notices

Faults are put in by replacing one function for as long as a `with` block lasts; nothing
outside this package does such a thing.
"""

from __future__ import annotations

from calibration.errors import IdentityError, near
from calibration.failures import files, kernel, matrix, puf, takeup, targets
from calibration.failures.experiment import Experiment, Failure, Outcome, demonstrate

__all__ = ["FAILURES", "Experiment", "Failure", "Outcome", "demonstrate", "find"]

FAILURES: tuple[Failure, ...] = (
    *puf.FAILURES,
    *targets.FAILURES,
    *takeup.FAILURES,
    *kernel.FAILURES,
    *matrix.FAILURES,
    *files.FAILURES,
)
"""The catalogue."""


def find(name: str) -> Failure:
    """Look up a failure by name.

    Raises
    ------
    IdentityError
        If the catalogue does not have it; near matches are named.
    """
    catalogue = {failure.name: failure for failure in FAILURES}
    if name not in catalogue:
        raise IdentityError(f"no failure {name!r} in the catalogue{near(name, catalogue)}")
    return catalogue[name]
