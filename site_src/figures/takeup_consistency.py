"""Draw how far files are from the matrix: without a mistake, and with each of the historical ones.

    python site_src/figures/takeup_consistency.py [FOLDER]    writes takeup_consistency.svg

Every mistake makes a national file, or a matrix, of its own. All files are read again by one
process, as the X w identity does it; a dot is a target.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import style

from calibration import toy
from calibration.failures import find
from calibration.geography import Area
from calibration.identity import (
    TOLERANCE,
    FileClaim,
    compare_files,
    evaluate_files,
    targets_to_compare,
)
from calibration.matrix_builder import build_matrix
from calibration.publish_local_area import build_h5

MISTAKES = (
    ("no mistake", None),
    ("SNAP as if SSI and TANF were all claimed", "eligible-times-takeup"),
    ("thresholds resolved in each file", "threshold-per-file"),
    ("nobody files voluntarily", "would-file-ignored"),
    ("another county of the state", "wrong-county"),
    ("flags of the survey kept", "survey-takeup-kept"),
    ("clone not in the key", "clone-not-in-key"),
    ("block in the key", "block-in-key"),
    ("draws in sequence", "draws-in-sequence"),
    ("first clone's place for all", "first-clone-wins"),
    ("all flags left on", "takeup-left-on"),
)
LEAST = 1e-9  # rows that agree exactly stand here


def gaps() -> Iterator[np.ndarray]:
    """Give the gaps of all rows, mistake by mistake."""
    state = toy.after("weights")
    area, claims, matrices = Area.nation(), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for text, name in MISTAKES:
            fault = None if name is None else find(name)
            in_matrix = fault is not None and fault.sides == ("matrix",)
            path = Path(folder) / f"{name}.h5"
            with fault.inject() if fault and not in_matrix else nullcontext():
                parts = (state.weights, state.clones.geography, state.dataset, path, area)
                build_h5(*parts, takeup=state.thresholds, engine=state.engine)
            claim = FileClaim.of(area, path, state.weights, state.clones.geography)
            claims[text] = replace(claim, name=text)
            matrices[text] = state.matrix
            if fault is not None and in_matrix:
                with fault.inject():
                    matrices[text] = build_matrix(state.clones, state.targets, w0=state.matrix.w0)
        written = evaluate_files(
            {text: claim.path for text, claim in claims.items()},
            {text: targets_to_compare(state.matrix, claim) for text, claim in claims.items()},
            state.dataset,
            state.engine,
        )
    for text, claim in claims.items():
        report = compare_files(matrices[text], [claim], written)
        yield np.array([c.gap for c in report.comparisons])


def main() -> None:
    """Draw a line of dots for each mistake."""
    rng = np.random.default_rng(0)  # moves dots apart, up and down
    figure, axes = style.plot(height=430)
    told = []
    for y, ((text, _), gap) in enumerate(zip(MISTAKES, gaps(), strict=True)):
        shown = np.clip(gap, LEAST, 10)
        role = "third" if y == 0 else "second"
        height = -y + rng.uniform(-0.22, 0.22, len(gap))
        axes.plot(shown, height, "o", markersize=4.5, alpha=0.75, color=style.COLORS[role][0])
        off = int((gap > TOLERANCE).sum())
        style.write(axes, 14, -y - 0.14, f"{off} of {len(gap)}", "ink")
        middle = (
            f", half of them by more than {100 * np.median(gap[gap > TOLERANCE]):.2g} %"
            if off
            else ""
        )
        told.append(f"{text}: {off} of {len(gap)} differ{middle}")
    axes.axvline(TOLERANCE, color=style.COLORS["soft"][0], linestyle=(0, (4, 2)), linewidth=1.2)
    axes.set(xscale="log", xlim=(LEAST / 2, 130), ylim=(-len(MISTAKES) + 0.4, 0.7))
    axes.set(yticks=range(0, -len(MISTAKES), -1), xticks=[1e-9, 1e-7, 1e-5, 1e-3, 1e-1])
    axes.set_yticklabels([text for text, _ in MISTAKES])
    axes.grid(visible=False, axis="y")
    axes.set(xlabel="difference as a share of Σ |x| w; dashed: tolerated")
    axes.set_title("Targets in the national file: differing, of all")
    style.save(
        figure,
        "takeup_consistency",
        "How far the national file is from the matrix, by mistake",
        "Each dot is a target, of the nation or of an area in it. " + "; ".join(told) + ".",
    )


if __name__ == "__main__":
    main()
