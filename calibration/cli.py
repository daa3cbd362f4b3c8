"""The command line: `calibration run`, `calibration show`, `calibration check`.

Exit status: 0 if all is well, 1 if data or files are not valid (one line says what and
where), 2 if the command was used wrongly, 130 after Ctrl-C. Progress goes to standard
error, results to standard output.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer import exceptions

from calibration import __version__
from calibration.errors import CalibrationError, PipelineError

__all__ = ["app", "main"]

app = typer.Typer(
    name="calibration",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Turn a household survey into weighted, geographically detailed microdata.",
)


class Preset(StrEnum):
    """What `--preset` can be."""

    BOTH = "both"
    LOCAL = "local"
    NATIONAL = "national"


class UsageError(PipelineError):
    """The command was used wrongly; exit status 2."""


RunFolder = Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")]


def _version(wanted: bool) -> None:  # noqa: FBT001  (typer calls it with the flag)
    if wanted:
        typer.echo(f"calibration-internals {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Hold the options of the program itself."""


@app.command("run")
def run_command(
    *,
    data: Annotated[
        Path | None,
        typer.Option(help="Input folder. By default the toy country, which is built in."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for runs; each run gets a folder of its own in it.")
    ] = Path("runs"),
    resume: Annotated[
        Path | None,
        typer.Option(help="Continue the run in this folder, with the options it was started with."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The one seed of everything that is drawn.", min=0)] = 0,
    engine: Annotated[str, typer.Option(help="Tax-benefit engine.")] = "toy",
    households: Annotated[
        int, typer.Option(help="Source households to keep; each gives two records.", min=1)
    ] = 50,
    clones: Annotated[int, typer.Option(help="Copies of each record.", min=1)] = 3,
    preset: Annotated[
        Preset | None,
        typer.Option(
            help="Weight vectors to fit: 'local' keeps 70 % of the columns, 'national' 1 % but "
            "no fewer than there are targets, 'both' (default) makes regional files from one "
            "and the national file from the other."
        ),
    ] = None,
    records: Annotated[
        int | None, typer.Option(help="Number of columns to keep, instead of a preset.", min=1)
    ] = None,
) -> None:
    """Run all stages: survey in, checked files for every area out.

    The result is a run folder with every intermediate artifact, one HDF5 file an area, and
    diagnostics. It ends with a table of what was reached.
    """
    from calibration.pipeline import RunOptions, run
    from calibration.report import Display, resume_options, show_run
    from calibration.steps import new_run_id
    from calibration.toy import folder as toy_folder

    if preset is not None and records is not None:
        raise UsageError("--preset and --records exclude each other; give one of them")
    if resume is not None:
        options, source, target = resume_options(resume)
    else:
        presets = {Preset.LOCAL: ("local",), Preset.NATIONAL: ("national",)}
        try:
            options = RunOptions(
                seed=seed,
                engine=engine,
                households=households,
                clones=clones,
                presets=presets.get(preset or Preset.BOTH, ("local", "national")),
                records=records,
            )
        except PipelineError as error:
            raise UsageError(f"--{error}") from error
        source, target = data or toy_folder(), out / new_run_id()
    with Display(options) as display:
        state = run(source, target, options, observe=display.observe, tell=display.tell)
    show_run(state)


@app.command("show")
def show_command(run: RunFolder) -> None:
    """Show what a finished run reached."""
    from calibration.report import open_run, show_run

    show_run(open_run(run))


@app.command("check")
def check_command(run: RunFolder) -> None:
    """Read all files of a run again and compare them with its matrix.

    Repeats the X w identity and every named check on the stored artifacts, in a moment
    and without changing anything.
    """
    from calibration.audit import audit
    from calibration.report import open_run, show_audit

    show_audit(audit(open_run(run)))


def main() -> None:
    """Run the program and exit with its status."""
    sys.exit(_status())


def _status() -> int:
    try:
        app(standalone_mode=False)
    except (exceptions.Exit, exceptions.Abort) as stop:
        return getattr(stop, "exit_code", 130)
    except exceptions.TyperException as error:
        return _say(error.format_message(), 2)
    except UsageError as error:
        return _say(str(error), 2)
    except CalibrationError as error:
        return _say(str(error), 1)
    except KeyboardInterrupt:
        return _say("interrupted; continue with `calibration run --resume RUN`", 130)
    return 0


def _say(message: str, status: int) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"calibration: {line}\n")
    return status


if __name__ == "__main__":
    main()
