"""The package works where it is installed: as a wheel, and as a pointer to a checkout.

Tests run against the installed package. If it is a wheel, it must not be the checkout
that answers; if it is an editable installation, its finder must lead to the toy data too.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import distribution, version
from importlib.resources import files
from pathlib import Path

import pytest

import calibration
from calibration import toy
from calibration.files import hash_file, read_json

NAME = "calibration-internals"
CHECKOUT = Path(__file__).parents[2]
PARTS = ("calibration", "toy_data", "pyproject.toml", "setup.py", "README.md", "LICENSE")


def is_editable() -> bool:
    """Tell from the installer's record whether the package points to a checkout."""
    record = distribution(NAME).read_text("direct_url.json")
    return bool(record) and json.loads(record).get("dir_info", {}).get("editable", False)


def test_it_is_the_installed_package_that_is_tested():
    """A wheel lies in site-packages; an editable installation leads to its checkout."""
    package = Path(calibration.__file__).parent
    if is_editable():
        origin = json.loads(distribution(NAME).read_text("direct_url.json"))["url"]
        assert package == Path(origin.removeprefix("file://")) / "calibration"
    else:
        assert package == Path(sysconfig.get_path("purelib")) / "calibration"
        assert package != CHECKOUT / "calibration"


def test_the_toy_data_are_found_where_the_package_is():
    """Inside a wheel's package, or beside the package in a checkout; nothing is missing."""
    folder = Path(str(files("calibration.toy_data")))
    package = Path(calibration.__file__).parent
    assert folder == (package.parent / "toy_data" if is_editable() else package / "toy_data")
    assert toy.folder() == folder
    sums = read_json(folder / "checksums.json")
    assert len(sums) >= 40
    assert {name: hash_file(folder / name) for name in sums} == sums


@pytest.mark.parametrize(
    "name",
    ["py.typed", "data/puf_variables.csv", "data/takeup_rates.csv", "data/uprating_factors.csv",
     "data/retirement_limits.csv", "engines/toy/parameters.csv", "engines/toy/rating_areas.csv"],
)  # fmt: skip
def test_the_tables_of_the_package_are_installed(name):
    """What modules read at run time came along."""
    assert files("calibration").joinpath(name).is_file()


def test_one_version():
    """The package says the version that its metadata say."""
    assert calibration.__version__ == version(NAME)


def test_the_program_is_on_the_path_of_its_environment():
    """The script that is installed beside Python starts this package."""
    script = Path(sys.executable).with_name("calibration")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [NAME, calibration.__version__]


def test_importing_the_package_loads_no_library():
    """A program that only asks for the version does not wait for torch."""
    code = "import calibration, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "sklearn", "pandas", "matplotlib", "scipy", "h5py", "numpy"}


# -- elsewhere ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """Copy what a package is built from to another place."""
    copy = tmp_path_factory.mktemp("source") / "checkout"
    copy.mkdir()
    for part in PARTS:
        if (CHECKOUT / part).is_dir():
            shutil.copytree(
                CHECKOUT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(CHECKOUT / part, copy / part)
    return copy


@pytest.fixture(scope="module")
def libraries(tmp_path_factory) -> Path:
    """Link everything that is installed here, but for this package, into a folder."""
    folder = tmp_path_factory.mktemp("libraries")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "calibration" not in entry.name and entry.suffix != ".pth":
            (folder / entry.name).symlink_to(entry)
    return folder


def environment(folder: Path, libraries: Path) -> Path:
    """Make a virtual environment that sees some libraries; give its interpreter."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
    (Path(own.stdout.strip()) / "libraries.pth").write_text(f"{libraries}\n")
    return python


def pip(*arguments: object) -> None:
    """Run this environment's pip, offline."""
    command = [sys.executable, "-P", "-m", "pip", *map(str, arguments)]
    done = subprocess.run(
        command,
        env={**os.environ, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def artifacts(run: Path) -> dict[str, bytes]:
    """Read every artifact of a run."""
    found = (p for p in sorted((run / "artifacts").rglob("*")) if p.is_file())
    return {p.relative_to(run).as_posix(): p.read_bytes() for p in found}


def run_elsewhere(python: Path, folder: Path) -> tuple[Path, Path]:
    """Run the toy country from an empty folder; give the run, and where the package was."""
    folder.mkdir()
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    program = python.with_name("calibration")
    done = subprocess.run(
        [program, "run"], cwd=folder, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ask = "import calibration; print(calibration.__file__)"
    where = subprocess.run(
        [python, "-c", ask], cwd=folder, env=clean, capture_output=True, text=True, check=True
    )
    (run,) = (folder / "runs").iterdir()
    return run, Path(where.stdout.strip())


@pytest.mark.slow
def test_a_wheel_runs_from_any_folder(checkout, libraries, tmp_path, finished_run):
    """Built, installed without the checkout, and run: the same artifacts."""
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path / "dist", checkout)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    sums = read_json(checkout / "toy_data" / "checksums.json")
    assert {f"calibration/toy_data/{name}" for name in sums} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]
    python = environment(tmp_path / "venv", libraries)
    pip("--python", python, "install", "--no-deps", wheel)
    run, package = run_elsewhere(python, tmp_path / "anywhere")
    assert package.is_relative_to(tmp_path / "venv")
    assert artifacts(run) == artifacts(finished_run)


@pytest.mark.slow
def test_an_editable_installation_runs_from_any_folder(checkout, libraries, tmp_path, finished_run):
    """Installed as a pointer to a checkout, and run elsewhere: the same artifacts."""
    python = environment(tmp_path / "venv", libraries)
    pip("--python", python, "install", "--no-deps", "--no-build-isolation", "--editable", checkout)
    run, package = run_elsewhere(python, tmp_path / "anywhere")
    assert package == checkout / "calibration" / "__init__.py"
    assert read_json(run / "meta.json")["data"] == str(checkout / "toy_data")
    assert artifacts(run) == artifacts(finished_run)
