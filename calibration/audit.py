"""The last stage of a run: read the files again, look for faults, and write the tables.

A run is good only if the X w identity holds on every file and every named check passed.
The tables are written first, so that a run that fails can be looked into.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.artifacts import RunState, write_rows
from calibration.checks import CheckResult, require_all, run_checks
from calibration.dataset import Table
from calibration.diagnostics import (
    MEASURES,
    UNIT_MEASURES,
    Measure,
    area_table,
    group_table,
    identity_table,
    log_table,
    run_config,
    targets_of,
    unified_table,
    untargeted_table,
    validation_table,
    write_diagnostics,
)
from calibration.files import read_npz
from calibration.identity import (
    FileClaim,
    IdentityReport,
    compare_files,
    evaluate_files,
    targets_to_compare,
)
from calibration.publish_local_area import AreaStatus
from calibration.run_folder import step_seconds
from calibration.run_options import Workspace
from calibration.starts import RECORDS, SURVEY, Start
from calibration.targets import Target

__all__ = ["Audit", "audit", "diagnostics", "prefix_of"]

_MEASURES: Mapping[Start, Sequence[Measure]] = {SURVEY: MEASURES, RECORDS: UNIT_MEASURES}
"""What is counted beside the targets: households of a survey have people, records may not."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What reading the files of a run again found.

    Parameters
    ----------
    identity : IdentityReport
    checks : sequence of CheckResult
    validation : mapping of str to ndarray
        Files against targets, see `diagnostics.validation_table`.
    """

    identity: IdentityReport
    checks: Sequence[CheckResult]
    validation: Table

    def require(self) -> Audit:
        """Return the audit itself if it found no fault.

        Raises
        ------
        IdentityError
            If files and matrix disagree, or a named check found a fault.
        """
        self.identity.require()
        require_all(self.checks)
        return self


def audit(state: RunState) -> Audit:
    """Read all files of a run again in one new process, and run the named checks.

    Parameters
    ----------
    state : RunState
        After the files are written.

    Returns
    -------
    Audit
        Not yet required to be good.
    """
    areas = {area.path.as_posix(): area for area in state.inputs.areas}
    claims = []
    for row in state.files:
        area, weights = areas[row["path"]], state.weights_by_preset[row["vector"]]
        path = state.file(area) if row["status"] == AreaStatus.WRITTEN.name else None
        claims.append(FileClaim.of(area, path, weights, state.geography))
    asked = {
        claim.name: _once(
            targets_to_compare(state.matrix, claim) + targets_of(areas[claim.name], state.targets)
        )
        for claim in claims
    }
    paths = {claim.name: claim.path for claim in claims}
    values = evaluate_files(paths, asked, state.dataset, state.engine)
    vectors = list(state.weights_by_preset.values())
    checks = run_checks(
        state.clones,
        state.inputs.blocks,
        state.matrix,
        vectors,
        columns=np.flatnonzero(np.any(vectors, axis=0)),
    )
    empty = [claim.name for claim in claims if claim.path is None]
    validation = validation_table(areas, values, state.targets, empty=empty)
    return Audit(compare_files(state.matrix, claims, values), checks, validation)


def _once(targets: list[Target]) -> list[Target]:
    return list(dict.fromkeys(targets))


def diagnostics(work: Workspace) -> None:
    """Write all tables of a run, then insist on the identity and the checks.

    Raises
    ------
    IdentityError
        See `Audit.require`.
    """
    state, folder = work.after("files"), work.folder / "diagnostics"
    found = audit(state)
    tables = {
        "identity": identity_table(found.identity),
        "validation_results": found.validation,
    }
    write_diagnostics(folder, tables)
    rows = [asdict(result) | {"passed": result.passed} for result in found.checks]
    write_rows(folder / "checks.csv", rows)
    for name, weights in state.weights_by_preset.items():
        unified = unified_table(state.matrix, weights)
        log = read_npz(work.artifacts / "fit_logs" / f"{name}.npz")
        tables = {
            "unified_diagnostics": unified,
            "calibration_log": _log_table(unified, log),
            "areas": area_table(weights, state.matrix.w0, state.geography, state.inputs.areas),
            "untargeted": untargeted_table(
                state.clones,
                state.matrix.w0,
                weights,
                state.targets,
                measures=_MEASURES[state.start],
            ),
            "groups": group_table(unified),
        }
        config = _config(work, state, name, unified)
        write_diagnostics(folder, tables, config, prefix=prefix_of(name))
    found.require()


def _config(work: Workspace, state: RunState, vector: str, unified: Table) -> dict[str, Any]:
    """Say what a vector was made with; the one table of a run that holds times."""
    return run_config(
        options=asdict(work.options) | {"vector": vector, "fit": state.fits[vector]["options"]},
        seed=work.options.seed,
        matrix=state.matrix,
        weights=state.weights_by_preset[vector],
        unified=unified,
        artifacts={name: work.artifacts / name for name in state.start.traced},
        elapsed_seconds=sum(step_seconds(work.folder).values()),
    )


def _log_table(unified: Table, log: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return log_table(
        unified,
        epochs=log["epochs"],
        estimates=log["estimates"],
        losses=log["losses"],
        retained=log["retained"],
        phase=log["phase"].tolist(),
    )


def prefix_of(vector: str) -> str:
    """Give the prefix of a vector's diagnostics: none for the regional one."""
    return "national_" if vector == "national" else ""
