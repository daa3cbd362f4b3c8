"""One row a file and target: what the written file says, against the target and the fit.

A file is compared with the targets of its own area, not with those of areas inside it. A
value that no area of the level can have fails its sanity check, whatever the target says.
A missed zero target has a relative error of inf, as in the log.

Source: the columns are those of validation_results.csv in PolicyEngine/policyengine-us-data
e01a038, calibration/validate_staging.py. Differs from it: (1) relative errors divide by
|target|; (2) the ceiling of an area is that of its own level, not the district's for all
but states.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from calibration.dataset import Array
from calibration.diagnostics.relative import infinite_error, relative_error
from calibration.errors import DiagnosticsError, near
from calibration.geography import Area, Level, decode
from calibration.identity import IdentityReport
from calibration.targets import Target

__all__ = ["identity_table", "targets_of", "validation_table"]

NO_FILE = "no retained column lives in the area, so it has no file"

_CEILINGS = {
    Level.NATION: {"household": 135e6, "unit": 340e6, "dollar": 30e12},
    Level.STATE: {"household": 15e6, "unit": 40e6, "dollar": 5e12},
    Level.DISTRICT: {"household": 400e3, "unit": 1e6, "dollar": 500e9},
}
"""Sizes that no area of a level has; the figures of policyengine-us-data."""
# A county or a place is a part of a state and can be nearly all of it: Los Angeles County
# has more people than any district may have.
_CEILINGS |= {Level.COUNTY: _CEILINGS[Level.STATE], Level.PLACE: _CEILINGS[Level.STATE]}


def targets_of(area: Area, targets: Iterable[Target]) -> list[Target]:
    """List the targets of an area itself: those that its file must reproduce."""
    return [t for t in targets if t.level is area.level and t.code in area.codes]


def validation_table(
    areas: Mapping[str, Area],
    values: Mapping[str, Mapping[str, float]],
    targets: Sequence[Target],
    *,
    holdout: Collection[str] = (),
    empty: Collection[str] = (),
) -> dict[str, Array]:
    """Compare the written files with the targets of their areas.

    Parameters
    ----------
    areas : mapping of str to Area
        The area of each file.
    values : mapping of str to mapping of str to float
        By file and target name, as `identity.evaluate_files` gives them for the
        targets that `targets_of` lists.
    targets : sequence of Target
    holdout : collection of str
        Names of targets that the fit did not see.
    empty : collection of str
        Names in `areas` that have no file because no retained column lives there; their
        values are 0.

    Returns
    -------
    dict of str to ndarray, one row a file and target
        area_type (the folder), area_id (codes), display_name, district (name of the
        district if it is one), variable, target_name, period, target_value, sim_value,
        error, rel_error, abs_error, rel_abs_error, sanity_check ("PASS" or "FAIL"),
        sanity_reason, in_training.

    Raises
    ------
    DiagnosticsError
        If a target of a file's area was not evaluated, or there is nothing to compare.
    """
    unknown = [name for name in (*values, *empty) if name not in areas]
    if unknown:
        raise DiagnosticsError(f"no area is given for file {unknown[0]!r}{near(unknown[0], areas)}")
    rows = [(name, area, t) for name, area in areas.items() for t in targets_of(area, targets)]
    if not rows:
        raise DiagnosticsError("no target belongs to the area of any file; nothing was validated")
    held_out, simulated, reasons = frozenset(holdout), [], []
    for name, _, target in rows:
        if name not in empty and target.name not in values.get(name, {}):
            raise DiagnosticsError(f"{target.name} was not evaluated on {name}; ask for it")
        simulated.append(0.0 if name in empty else float(values[name][target.name]))
        reasons.append(NO_FILE if name in empty else _implausible(simulated[-1], target))
    t, sim = np.array([float(target.value) for *_, target in rows]), np.array(simulated)
    relative = relative_error(sim - t, t, infinite_error(sim - t))
    in_district = [area.level is Level.DISTRICT for _, area, _ in rows]
    names = np.array([area.name for _, area, _ in rows])
    return {
        "area_type": np.array([area.path.parent.name for _, area, _ in rows]),
        "area_id": np.array([_codes(area) for _, area, _ in rows]),
        "display_name": names,
        "district": np.where(in_district, names, ""),
        "variable": np.array([target.variable for *_, target in rows]),
        "target_name": np.array([target.name for *_, target in rows]),
        "period": np.array([target.period for *_, target in rows]),
        "target_value": t,
        "sim_value": sim,
        "error": sim - t,
        "rel_error": relative,
        "abs_error": np.abs(sim - t),
        "rel_abs_error": np.abs(relative),
        "sanity_check": np.where([bool(reason) for reason in reasons], "FAIL", "PASS"),
        "sanity_reason": np.array(reasons),
        "in_training": np.array([target.name not in held_out for *_, target in rows]),
    }


def _codes(area: Area) -> str:
    return "+".join(decode(area.level, code) for code in area.codes)


def _implausible(value: float, target: Target) -> str:
    """Say why a value cannot be that of the target's level; empty if it can."""
    if not np.isfinite(value):
        return "not a finite number"
    kind = "unit" if target.is_count else "dollar"
    kind = "household" if target.variable == "household_count" else kind
    ceiling = _CEILINGS[target.level][kind]
    over = abs(value) > ceiling
    return f"|{value:.3g}| exceeds {ceiling:.3g} {kind}s, the most for a {target.level}" * over


def identity_table(report: IdentityReport) -> dict[str, Array]:
    """Lay out the comparisons of the X w identity, one row each.

    Returns
    -------
    dict of str to ndarray
        file, target, matrix, written, scale, gap; see `calibration.identity.Comparison`.
    """
    fields = ("file", "target", "matrix", "written", "scale", "gap")
    return {name: np.array([getattr(c, name) for c in report.comparisons]) for name in fields}
