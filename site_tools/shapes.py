"""Print what goes into each stage of the toy run and what comes out, as JSON.

    python -I site_tools/shapes.py

A process of its own, because it imports the package.
"""

from __future__ import annotations

import json
import sys

from calibration import toy


def main() -> None:
    """Read the toy run at its stages and describe it."""
    base, puf, clones = toy.after("base"), toy.after("puf"), toy.after("clones")
    end = toy.after("diagnostics")
    matrix, weights = end.matrix, end.weights_by_preset
    targets, columns = matrix.X.shape
    records, blocks = _n(puf), clones.geography.n_columns
    states = len(set(end.geography.state.tolist()))
    kept = {name: int((w > 0).sum()) for name, w in weights.items()}
    written = sum(row["status"] == "WRITTEN" for row in end.files)
    shapes = {
        "base": ("survey files", f"{_n(base)} households, {base.dataset.size('person')} people"),
        "targets": ("published totals", f"{targets} consistent targets of one year"),
        3: (f"{_n(base)} households", f"{records} records, two halves of each sampled household"),
        1: (f"{records} records", f"{blocks} columns, each in a census block"),
        2: (f"{records} records", f"{records} records, rent and wages for {states} states"),
        6: (f"{records} records", f"{len(end.thresholds.rows)} takeup thresholds"),
        4: (
            f"{columns} columns, {targets} targets",
            f"X, {targets} × {columns}, {matrix.X.nnz} entries",
        ),
        5: (
            f"X, {targets} × {columns}",
            " or ".join(f"{n} columns kept ({p})" for p, n in kept.items()),
        ),
        7: (f"weights of {columns} columns", f"{written} files, one an area"),
        8: (f"{written} files, {targets} targets", "tables of what was met, missed and why"),
        9: (
            "an input folder",
            f"a run folder with the state after each of {len(toy.STAGES)} steps",
        ),
    }
    sys.stdout.write(json.dumps(shapes))


def _n(state: object) -> int:
    return len(state.dataset.household["household_id"])  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
