"""Make every file of the toy country from one seed.

    python -m calibration.toy_data.generate FOLDER

writes the land, the people, the donors and the targets into a folder, runs the pipeline
on them, and stores the state after every stage. `checksums.json` seals the inputs. A test
does the same in an empty folder and compares.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np

from calibration.artifacts import write_rows
from calibration.crosswalk import Crosswalk
from calibration.files import hash_file, write_json
from calibration.geography import Area, Level, decode
from calibration.pipeline import RunOptions, run
from calibration.survey import write_table
from calibration.toy_data import country, people, truth

SEED = 0
HOUSEHOLDS = 4_000
HAND_WRITTEN = ("dictionary.csv", "line_items.csv")
STORED = ("artifacts", "diagnostics")
NOT_STORED = ("files", "targets.db")  # made again from the rest in a moment, and large


def inputs(folder: Path, seed: int = SEED) -> None:
    """Write everything that a run starts from.

    Parameters
    ----------
    folder : Path
        Gets the hand-written tables too, if they are not there.
    seed : int
    """
    for name in HAND_WRITTEN:
        if not (folder / name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(__file__).parent / name, folder / name)
    land = country.crosswalk(seed)
    write_table(folder, "blocks.csv", _blocks(land))
    write_table(folder, "areas.csv", _areas(country.areas()))
    everybody = people.population(land, households=HOUSEHOLDS, seed=seed)
    for file, table in people.survey(everybody, seed=seed).items():
        write_table(folder, file, table)
    for file, table in people.donors(everybody, seed).items():
        write_table(folder, file, table)
    write_rows(folder / "targets.csv", truth.targets(everybody, seed=seed))


def states(folder: Path, seed: int = SEED) -> None:
    """Run the pipeline on a folder's inputs and store what every stage leaves.

    Parameters
    ----------
    folder : Path
    seed : int
    """
    with tempfile.TemporaryDirectory() as scratch:
        made = run(folder, Path(scratch) / "toy", RunOptions(seed=seed)).folder
        for part in STORED:
            shutil.rmtree(folder / "states" / part, ignore_errors=True)
            shutil.copytree(
                made / part,
                folder / "states" / part,
                ignore=shutil.ignore_patterns(*NOT_STORED, "*unified_run_config.json"),
            )


def seal(folder: Path) -> None:
    """Write the checksum of every file into `checksums.json`."""
    files = [p for p in sorted(folder.rglob("*")) if p.suffix in {".csv", ".json", ".npz"}]
    sums = {p.relative_to(folder).as_posix(): hash_file(p) for p in files}
    sums.pop("checksums.json", None)
    write_json(folder / "checksums.json", sums)


def _blocks(land: Crosswalk) -> dict[str, np.ndarray]:
    return {
        "block": np.array([f"{b:015d}" for b in land.block]),
        "population": land.population.astype(np.int64),
        "district": np.array([decode(Level.DISTRICT, d) for d in land.district]),
        "place": np.array([decode(Level.PLACE, p) if p else "none" for p in land.place]),
        "zip_code": np.array([f"{z:05d}" for z in land.zip_code]),
    }


def _areas(areas: list[Area]) -> dict[str, np.ndarray]:
    return {
        "level": np.array([str(a.level) for a in areas]),
        "name": np.array([a.name for a in areas]),
        "codes": np.array(["+".join(decode(a.level, c) for c in a.codes) for a in areas]),
    }


def main() -> None:
    """Generate into the folder named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m calibration.toy_data.generate")
    parser.add_argument("folder", type=Path, help="where to write; its states are replaced")
    folder = parser.parse_args().folder
    inputs(folder)
    states(folder)
    seal(folder)
    size = sum(p.stat().st_size for p in (folder / "states").rglob("*") if p.is_file())
    print(f"{folder}: inputs and states written, states {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
