"""The same inputs give the same run: elsewhere, in pieces, in another order, years later.

On one machine artifacts are equal byte for byte. Between machines ids, codes and flags
are equal, floats agree to 1e-9 and fitted weights to 1e-6, both relative. What is
volatile by design stands in `meta.json`, `events.jsonl` and `unified_run_config.json`.
"""

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from calibration import toy
from calibration.actions import household_income
from calibration.artifacts import STAGES
from calibration.clone_and_assign import assign, masses
from calibration.clones import Clones
from calibration.errors import PipelineError
from calibration.files import hash_file, read_json, read_npz
from calibration.inputs import income_targets, read_inputs
from calibration.pipeline import RunOptions, run
from calibration.puf_impute import PufOptions
from calibration.puf_impute import impute as impute_puf
from calibration.puf_variables import puf_variables
from calibration.qrf import ForestOptions
from calibration.run_folder import read_meta
from calibration.source_impute import DONORS, SourceOptions
from calibration.source_impute import impute as impute_sources
from calibration.toy_data import generate

PROGRAM = Path(sys.executable).with_name("calibration")
STATES = toy.folder() / "states"
SURVEY = ("households", "persons", "tax_units", "spm_units")


# -- how two runs are compared -----------------------------------------------------------


def tolerance(name: str) -> float:
    """Relative difference allowed in the floats of a file."""
    fitted = ("weights", "fits", "fit_logs", "files.csv", "diagnostics/")
    return 1e-6 if any(part in name for part in fitted) else 1e-9


def rows_of(path: Path) -> list[list[str]]:
    """Read a CSV as rows of text, the header first."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def assert_same_run(ours: Path, theirs: Path) -> None:
    """Compare every file that both runs store; the second may lack what can be made again."""
    names = [p.relative_to(theirs).as_posix() for p in sorted(theirs.rglob("*")) if p.is_file()]
    names = [n for n in names if n.startswith(("artifacts/", "diagnostics/"))]
    compared = 0
    for name in names:
        if Path(name).suffix in COMPARE and "unified_run_config" not in name:
            COMPARE[Path(name).suffix](ours / name, theirs / name, tolerance(name))
            compared += 1
    assert compared >= 25


def assert_same_arrays(ours: Path, theirs: Path, relative: float) -> None:
    """Compare names, types, shapes and values of arrays."""
    mine, other = read_npz(ours), read_npz(theirs)
    assert mine.keys() == other.keys()
    for name, array in mine.items():
        assert (array.dtype, array.shape) == (other[name].dtype, other[name].shape), name
        if array.dtype.kind == "f":
            close = np.isclose(array, other[name], rtol=relative, atol=0, equal_nan=True)
            assert close.all(), f"{ours}: {name}"
        else:
            assert np.array_equal(array, other[name]), f"{ours}: {name}"


def assert_same_rows(ours: Path, theirs: Path, relative: float) -> None:
    """Compare tables cell by cell; errors are differences, so a column's size is their scale."""
    mine, other = rows_of(ours), rows_of(theirs)
    assert mine[0] == other[0]
    assert len(mine) == len(other)
    for cells, others in zip(zip(*mine, strict=True), zip(*other, strict=True), strict=True):
        if cells == others:
            continue
        a, b = (np.array([float(x or "nan") for x in values[1:]]) for values in (cells, others))
        finite = b[np.isfinite(b)]
        scale = max(1.0, np.abs(finite).max(initial=0.0)) if "diagnostics" in str(ours) else 0.0
        close = np.isclose(a, b, rtol=relative, atol=relative * scale, equal_nan=True)
        assert close.all(), f"{ours}: {cells[0]}"
        assert not all(map(str.isdecimal, cells[1:])), f"{ours}: {cells[0]} counts something"


def assert_same_facts(ours: Path, theirs: Path, relative: float) -> None:
    """Compare JSON; hashes of floats say nothing between machines and are left out."""

    def same(a, b, where):
        if isinstance(a, float) and isinstance(b, float):
            assert math.isclose(a, b, rel_tol=relative), where
        elif isinstance(a, dict):
            assert a.keys() == b.keys(), where
            for key in a.keys() - {"arrays", "made_of", "sealed", "message"}:
                same(a[key], b[key], f"{where}.{key}")
        elif isinstance(a, list):
            assert len(a) == len(b), where
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                same(x, y, f"{where}[{i}]")
        else:
            assert a == b, where

    same(read_json(ours), read_json(theirs), str(ours))


COMPARE = {".npz": assert_same_arrays, ".csv": assert_same_rows, ".json": assert_same_facts}


def stable_bytes(folder: Path) -> dict[str, bytes]:
    """Read everything that one machine makes alike every time."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for part in ("artifacts", "diagnostics")
        for p in sorted((folder / part).rglob("*"))
        if p.is_file() and "unified_run_config" not in p.name
    }


def assert_equal_bytes(ours: Path, theirs: Path) -> None:
    """Compare file by file, so that a difference is named."""
    mine, other = stable_bytes(ours), stable_bytes(theirs)
    assert mine.keys() == other.keys()
    assert [name for name in mine if mine[name] != other[name]] == []
    assert len(mine) > 45


def program(*arguments: object, **environment: str) -> None:
    """Run the installed program in an environment."""
    command = [PROGRAM, *map(str, arguments)]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def only_run(out: Path) -> Path:
    """Give the one run folder of an output folder."""
    (folder,) = out.iterdir()
    return folder


# -- the stored states -------------------------------------------------------------------


def test_the_stored_states_are_what_the_pipeline_makes(finished_run):
    """Every stage recomputed from the installed inputs gives the stored state."""
    assert_same_run(finished_run, STATES)


def test_the_comparison_can_fail(finished_run, tmp_path):
    """A changed float, id, cell or fact is noticed."""
    other = shutil.copytree(finished_run, tmp_path / "other")
    changes = {
        "artifacts/takeup.csv": ("snap,US,", "snap,UX,"),
        "artifacts/mass.json": ('"district": [\n    201,', '"district": [\n    202,'),
        "diagnostics/areas.csv": ("AK", "AL"),
    }
    for name, (old, new) in changes.items():
        text = (other / name).read_text()
        assert old in text
        (other / name).write_text(text.replace(old, new, 1))
        with pytest.raises((AssertionError, ValueError)):
            assert_same_run(finished_run, other)
        (other / name).write_text(text)
    assert_same_run(finished_run, other)
    for name in ("weights", "records", "geography"):
        path = other / "artifacts" / f"{name}.npz"
        arrays = read_npz(path)
        last = min(arrays)
        spoiled = (
            arrays[last] * (1 + 1e-5) if arrays[last].dtype.kind == "f" else arrays[last][::-1]
        )
        np.savez(path, **(arrays | {last: spoiled}))
        with pytest.raises(AssertionError):
            assert_same_run(finished_run, other)
        shutil.copy(finished_run / "artifacts" / path.name, path)


def test_the_stored_files_are_those_that_were_sealed():
    """`checksums.json` has the hash of every file of the toy country, and no file beside."""
    sums = read_json(toy.folder() / "checksums.json")
    found = {
        p.relative_to(toy.folder()).as_posix(): hash_file(p)
        for p in toy.folder().rglob("*")
        if p.suffix in {".csv", ".json", ".npz"} and p.name != "checksums.json"
    }
    assert found == sums


def test_the_generator_writes_the_stored_inputs(tmp_path):
    """In an empty folder it makes every input file again, byte for byte."""
    generate.inputs(tmp_path)
    made = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    sums = read_json(toy.folder() / "checksums.json")
    assert made == {name for name in sums if not name.startswith("states/")}
    for name in sorted(made):
        assert (tmp_path / name).read_bytes() == (toy.folder() / name).read_bytes(), name


# -- another process, another processor --------------------------------------------------


def test_hash_seed_and_threads_change_no_byte(finished_run, tmp_path):
    """A run with another PYTHONHASHSEED and two threads writes the same files."""
    program("run", "--out", tmp_path / "out", PYTHONHASHSEED="4711", OMP_NUM_THREADS="2")
    assert_equal_bytes(only_run(tmp_path / "out"), finished_run)


def numpy_features() -> str:
    """Name the instruction sets that NumPy found here and can do without."""
    return " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", []))


ENVIRONMENTS = {
    "plain torch": {"ATEN_CPU_CAPABILITY": "default"},
    "plain numpy": {"NPY_DISABLE_CPU_FEATURES": numpy_features()},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "two threads": {"OMP_NUM_THREADS": "2"},
    "old BLAS": {"OPENBLAS_CORETYPE": "Prescott"},
    "all of it": {
        "ATEN_CPU_CAPABILITY": "default",
        "NPY_DISABLE_CPU_FEATURES": numpy_features(),
        "OPENBLAS_CORETYPE": "Prescott",
        "OMP_NUM_THREADS": "2",
        "PYTHONHASHSEED": "1",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_other_processors_reach_the_stored_states(tmp_path, environment):
    """With fewer instructions or other threads every stage agrees with what is stored."""
    program("run", "--out", tmp_path / "out", **environment)
    assert_same_run(only_run(tmp_path / "out"), STATES)


# -- other rows --------------------------------------------------------------------------


def write(path: Path, rows: list[list[str]]) -> None:
    """Write rows of text."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def test_the_order_of_survey_rows_means_nothing(finished_run, data, tmp_path):
    """All survey files shuffled: the run ends with the same columns, flags and weights."""
    rng = np.random.default_rng(1)
    for name in SURVEY:
        header, *rows = rows_of(data / f"survey/{name}.csv")
        write(data / f"survey/{name}.csv", [header, *(rows[i] for i in rng.permutation(len(rows)))])
    run(data, tmp_path / "run")
    assert_same_run(tmp_path / "run", finished_run)


def without(data: Path, household: str) -> None:
    """Take a household out of all survey files."""
    persons = rows_of(data / "survey/persons.csv")
    lost = [row for row in persons[1:] if row[persons[0].index("person_household_id")] == household]
    assert lost
    for name, column in (("households", None), ("persons", "person_household_id"),
                         ("tax_units", "person_tax_unit_id"),
                         ("spm_units", "person_spm_unit_id")):  # fmt: skip
        rows = rows_of(data / f"survey/{name}.csv")
        gone = {household} if column is None else {r[persons[0].index(column)] for r in lost}
        at = rows[0].index(column) if name == "persons" else 0
        write(data / f"survey/{name}.csv", [r for r in rows if r[at] not in gone])


def with_another(data: Path, model: str, number: int) -> None:
    """Put a household like another into all survey files, at their beginning, under new ids."""
    persons = rows_of(data / "survey/persons.csv")
    header = persons[0]
    links = [header.index(f"person_{e}_id") for e in ("tax_unit", "spm_unit", "family",
                                                      "marital_unit")]  # fmt: skip
    mine = [row for row in persons[1:] if row[header.index("person_household_id")] == model]
    units = {name: {r[header.index(f"person_{name}_id")] for r in mine}
             for name in ("tax_unit", "spm_unit")}  # fmt: skip
    added = []
    for i, row in enumerate(mine):
        new = list(row)
        new[header.index("person_id")] = str(number * 100 + i)
        new[header.index("person_household_id")] = str(number)
        for link in links:
            new[link] = str(number * 1000 + int(row[link]))
        added.append(new)
    write(data / "survey/persons.csv", [header, *added, *persons[1:]])
    for name in ("tax_unit", "spm_unit"):
        head, *rows = rows_of(data / f"survey/{name}s.csv")
        new = [[str(number * 1000 + int(r[0])), *r[1:]] for r in rows if r[0] in units[name]]
        write(data / f"survey/{name}s.csv", [head, *new, *rows])
    head, *rows = rows_of(data / "survey/households.csv")
    new = [[str(number), *r[1:]] for r in rows if r[0] == model]
    write(data / "survey/households.csv", [head, *new, *rows])


class Drawn:
    """Every draw for every household of a survey, under the stored thresholds."""

    def __init__(self, folder: Path) -> None:
        state = toy.after("takeup")
        inputs = read_inputs(folder, 2024, state.engine)
        forest = ForestOptions(trees=20)
        self.puf = impute_puf(
            inputs.survey, inputs.donors["puf"], seed=0,
            options=PufOptions(forest=forest),
        )  # fmt: skip
        donors = {name: table for name, table in inputs.donors.items() if name != "puf"}
        records = impute_sources(
            self.puf, donors, states=inputs.states, seed=0, options=SourceOptions(forest=forest)
        )
        income = household_income(records, state.engine)
        wanted = income_targets(inputs.targets, 2024)
        mass = masses(inputs.crosswalk, wanted, income, state.mass.threshold)
        geography = assign(records, inputs.crosswalk, mass, n_clones=3, seed=0)
        self.clones = Clones(records, geography, state.thresholds, state.engine)
        self.records = records

    def by_key(self) -> dict[tuple, object]:
        """Give ids, drawn values, blocks and flags by what they are keyed on."""
        found: dict[tuple, object] = {}
        names = [v.name for v in puf_variables()] + [n for d in DONORS for n in d.outputs]
        for name in names:
            entity = self.records.entity_of(name)
            ids = self.records[f"{entity}_id"].tolist()
            for unit, value in zip(ids, self.records[name].tolist(), strict=True):
                found[name, unit] = value
        homes = self.clones.households(np.arange(self.clones.geography.n_columns))
        keys = list(
            zip(homes["record_household_id"].tolist(), homes["clone_index"].tolist(), strict=True)
        )
        for key, block in zip(keys, homes["block_geoid"].tolist(), strict=True):
            found["block", *key] = block
        for programme in self.clones.programmes:
            home = homes.household_of(programme.entity)
            units = homes[f"record_{programme.entity}_id"].tolist()
            flags = homes[programme.flag].tolist()
            for unit, h, flag in zip(units, home, flags, strict=True):
                found[programme.flag, unit, keys[h][1]] = flag
        return found


@pytest.fixture(scope="module")
def everybody() -> dict[tuple, object]:
    """All draws for the stored survey."""
    return Drawn(toy.folder()).by_key()


def test_a_household_less_changes_nothing_for_the_others(data, everybody):
    """Ids, imputed values, blocks and takeup flags of all others stay, bit for bit."""
    without(data, "17")
    left = Drawn(data).by_key()
    assert 0 < len(left) < len(everybody)
    assert {key: everybody[key] for key in left} == left


def test_a_household_more_changes_nothing_for_the_others(data, everybody):
    """A newcomer, first in every file, leaves every draw of the others as it was."""
    with_another(data, str(toy.HOUSEHOLD), 7000)
    grown = Drawn(data).by_key()
    assert len(grown) > len(everybody)
    assert {key: grown[key] for key in everybody} == everybody


# -- in pieces ---------------------------------------------------------------------------


def kill_after(lines: int, *arguments: object) -> None:
    """Start the program and kill it when it has printed some lines of progress."""
    command = [PROGRAM, *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        for _ in range(lines):
            assert process.stderr.readline()
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def test_a_run_killed_again_and_again_ends_alike(finished_run, tmp_path):
    """Killed in the second, eighth and ninth step of one run, it ends with the same bytes."""
    kill_after(2, "run", "--out", tmp_path / "out")
    folder = only_run(tmp_path / "out")
    for lines in (8, 9):
        kill_after(lines, "run", "--resume", folder)
        assert read_meta(folder)["status"] == "running"
    program("run", "--resume", folder)
    assert_equal_bytes(folder, finished_run)
    assert len(read_meta(folder)["resume_history"]) == 3
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    done = [event["step"] for event in events if event["event"] == "done"]
    assert done == list(STAGES)  # nothing twice


@pytest.mark.slow
@pytest.mark.parametrize("lines", range(1, len(STAGES) + 1))
def test_a_run_killed_in_any_step_ends_alike(finished_run, tmp_path, lines):
    """Killed as soon as a step has begun, and resumed, a run ends with the same bytes."""
    kill_after(lines, "run", "--out", tmp_path / "out")
    folder = only_run(tmp_path / "out")
    program("run", "--resume", folder)
    assert_equal_bytes(folder, finished_run)


def steps_done(data: Path, folder: Path) -> list[str]:
    """Continue a run and list the steps that are done anew."""
    began = []
    run(data, folder, observe=lambda e: began.append(e.step) if e.kind == "start" else None)
    return began


def test_other_options_need_another_folder(own_run):
    """A run cannot be continued with another seed."""
    with pytest.raises(PipelineError, match="was started with another seed; use a new folder"):
        run(toy.folder(), own_run, RunOptions(seed=1))
    with pytest.raises(PipelineError, match="another clones and trees"):
        run(toy.folder(), own_run, RunOptions(clones=2, trees=5))


def lose_an_area(data: Path) -> None:
    """Ask for one file less."""
    write(data / "areas.csv", rows_of(data / "areas.csv")[:-1])


def raise_a_target(data: Path) -> None:
    """Ask for one percent more SSI."""
    rows = rows_of(data / "targets.csv")
    ssi = next(row for row in rows if row[2] == "ssi")
    ssi[5] = str(1.01 * float(ssi[5]))
    write(data / "targets.csv", rows)


def weigh_a_donor(data: Path) -> None:
    """Give one household of the SCF a hundred times its weight."""
    rows = rows_of(data / "donors/scf.csv")
    at = rows[0].index("weight")
    rows[1][at] = str(100 * float(rows[1][at]))
    write(data / "donors/scf.csv", rows)


def reword_a_description(data: Path) -> None:
    """Say in other words what a column is."""
    rows = rows_of(data / "dictionary.csv")
    rows[1][-1] += " (as asked)"
    write(data / "dictionary.csv", rows)


LATE = ["matrix", "weights", "files", "diagnostics"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lose_an_area, ["files", "diagnostics"]),
        (raise_a_target, ["clones", "targets", *LATE]),
        (weigh_a_donor, ["sources", "takeup", *LATE]),
        # every reader reads by the dictionary; what comes out is as before, so no fit again
        (reword_a_description, [s for s in STAGES if s != "weights"]),
    ],
)
def test_a_changed_input_reruns_what_depends_on_it(own_run, data, change, expected):
    """Steps that read the changed file run again, and those that read what then changed."""
    change(data)
    assert steps_done(data, own_run) == expected
    assert steps_done(data, own_run) == []


def test_damaged_artifacts_are_made_again(own_run, finished_run):
    """Cut, edited, foreign or lost, each is rebuilt by its step alone, to the same bytes."""
    artifacts = own_run / "artifacts"
    (artifacts / "records.npz").write_bytes((artifacts / "records.npz").read_bytes()[:5_000])
    (artifacts / "takeup.csv").write_text((artifacts / "takeup.csv").read_text() + "\n")
    (artifacts / "matrix" / "matrix.npz").write_bytes(
        (artifacts / "sources.npz").read_bytes()
    )  # a whole archive, of something else
    (artifacts / "files" / "states" / "CA.h5").unlink()
    assert steps_done(toy.folder(), own_run) == ["puf", "takeup", "matrix", "files"]
    assert_equal_bytes(own_run, finished_run)
