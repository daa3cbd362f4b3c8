"""What several test files need: the command line in this process, inputs to spoil, a run."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from calibration import cli, toy
from calibration.pipeline import run

# How long an example takes says something about the machine and nothing about the code.
settings.register_profile("calm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calm")

INPUTS = ("survey", "donors", "blocks.csv", "areas.csv", "targets.csv", "dictionary.csv")


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def calibration(monkeypatch, capsys) -> Callable[..., Ended]:
    """Run `calibration ARGUMENTS` in this process."""

    def command(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["calibration", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return Ended(ended.value.code, printed.out, printed.err)

    return command


@pytest.fixture
def data(tmp_path) -> Path:
    """Copy the toy country's inputs to a folder that a test may spoil."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in INPUTS:
        source = toy.folder() / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, folder / name)
    return folder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """Run the toy country once, seed 0; the folder is for reading only."""
    folder = tmp_path_factory.mktemp("runs") / "toy"
    run(toy.folder(), folder)
    return folder


@pytest.fixture
def own_run(finished_run, tmp_path) -> Path:
    """Copy the finished run, to be spoiled or continued."""
    return shutil.copytree(finished_run, tmp_path / "run")
