"""The command line: `calibration run`, `show`, `check` and `targets`.

Exit status: 0 if all is well, 1 if data or files are not valid, 2 if the command was used
wrongly, 130 after Ctrl-C. One line says what and where. Progress goes to standard error,
results to standard output.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import exceptions

from calibration import __version__
from calibration.errors import CalibrationError, EngineError, PipelineError
from calibration.target_commands import targets_app

if TYPE_CHECKING:
    from calibration.artifacts import RunState
    from calibration.run_options import RunOptions

__all__ = ["app", "main"]

app = typer.Typer(
    name="calibration",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Turn a household survey into weighted, geographically detailed microdata.",
)


app.add_typer(targets_app)


class _Preset(StrEnum):
    """What `--preset` can be."""

    BOTH = "both"
    LOCAL = "local"
    NATIONAL = "national"


class _UsageError(PipelineError):
    """The command was used wrongly; exit status 2."""


class _InterruptedError(PipelineError):
    """Somebody pressed Ctrl-C; exit status 130."""


_RunFolder = Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")]
_Engine = Annotated[
    str,
    typer.Option(
        help="Tax-benefit engine: 'toy', 'policyengine', or 'taxcalc' with the public CPS "
        "records that come with it."
    ),
]
_Select = Annotated[
    Path | None,
    typer.Option(
        metavar="YAML",
        help="Use only the published totals that the rules in this file choose, as "
        "`calibration targets list --select` shows them.",
    ),
]
_States = Annotated[
    str,
    typer.Option(
        help="Postal letters of states, such as VT,WY: take the records of these alone. Only "
        "with an engine that brings its own records."
    ),
]


def _version(wanted: bool) -> None:  # noqa: FBT001  (typer calls it with the flag)
    if wanted:
        typer.echo(f"calibration-internals {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001  (its callback reads it)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Hold the options of the program itself; without a command, show what there is."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


@app.command("run")
def _run(
    context: typer.Context,
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Input folder. By default the toy country, which is built in. Not with an "
            "engine that brings its own records."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for runs; each run gets a folder of its own in it.")
    ] = Path("runs"),
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Continue the run in this folder, with the options it was started with. With "
            "--data if its input folder has moved."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The one seed of everything that is drawn.", min=0)] = 0,
    engine: _Engine = "toy",
    households: Annotated[
        int, typer.Option(help="Source households to keep; each gives two records.", min=1)
    ] = 50,
    clones: Annotated[int, typer.Option(help="Copies of each record.", min=1)] = 3,
    states: _States = "",
    preset: Annotated[
        _Preset | None,
        typer.Option(
            help="Weight vectors to fit: 'local' keeps 70 % of the columns, 'national' 1 % but "
            "no fewer than there are targets, 'both' (default) makes regional files from one "
            "and the national file from the other."
        ),
    ] = None,
    records: Annotated[
        int | None, typer.Option(help="Number of columns to keep, instead of a preset.", min=1)
    ] = None,
    select: _Select = None,
    workers: Annotated[
        int, typer.Option(help="Processes that simulate; any number gives the same files.", min=1)
    ] = 1,
) -> None:
    """Run all stages: survey in, checked files for every area out.

    The result is a run folder with every intermediate artifact, one HDF5 file an area, and
    diagnostics. It ends with a table of what was reached.
    """
    from calibration.report import resume_options, show_run
    from calibration.run_folder import new_run_id
    from calibration.starts import start_of

    if _is_given(context, "states") and not states.strip(", "):
        raise _UsageError("--states names no state; give letters, such as VT,WY")
    if preset is not None and records is not None:
        raise _UsageError("--preset and --records exclude each other; give one of them")
    if resume is None:
        _refuse_meaningless(context, start_of(engine).meaningless, engine)
        options = _options(seed, engine, households, clones, states, preset, records, select)
        source, target = data or _built_in(options), out / new_run_id()
    else:
        _refuse_with_resume(context)
        options, source = resume_options(resume)
        _refuse_meaningless(context, options.start.meaningless, options.engine)
        source, target = data or source, resume
    show_run(_watched(source, target, options, workers))


def _built_in(options: RunOptions) -> Path:
    """Give the folder that a run starts from if none is named."""
    from calibration import soi, toy
    from calibration.starts import RECORDS, SURVEY

    return {SURVEY: toy.folder, RECORDS: soi.folder}[options.start]()


def _options(  # noqa: PLR0917  (one call, right above)
    seed: int,
    engine: str,
    households: int,
    clones: int,
    states: str,
    preset: _Preset | None,
    records: int | None,
    select: Path | None,
) -> RunOptions:
    from calibration.engines import load_engine
    from calibration.run_options import RunOptions

    single = preset in (_Preset.LOCAL, _Preset.NATIONAL)
    try:
        load_engine(engine)
        return RunOptions(
            seed=seed,
            engine=engine,
            households=households,
            clones=clones,
            states=tuple(letters.strip().upper() for letters in states.split(",") if letters),
            presets=(str(preset),) if single else ("local", "national"),
            records=records,
            select="" if select is None else _selection_text(select),
        )
    except EngineError as error:
        raise _UsageError(f"--engine: {error}") from error
    except PipelineError as error:
        raise _UsageError(f"--{error}") from error


def _selection_text(path: Path) -> str:
    """Read and check a selection; the run keeps its text, so the file may change afterwards."""
    from calibration.selection import read_selection

    read_selection(path)
    return path.read_text(encoding="utf-8")


def _refuse_with_resume(context: typer.Context) -> None:
    """Let no option be given beside --resume that would then have no effect."""
    for name in set(context.params) - {"resume", "data", "workers"}:
        if _is_given(context, name):
            raise _UsageError(
                f"--resume takes the options that the run was started with; leave out --{name}"
            )


def _refuse_meaningless(context: typer.Context, names: tuple[str, ...], engine: str) -> None:
    """Let no option be given that has no effect with an engine."""
    for name in names:
        if name in context.params and _is_given(context, name):
            raise _UsageError(f"--{name} has no meaning with the {engine} engine; leave it out")


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _watched(source: Path, target: Path, options: RunOptions, workers: int) -> RunState:
    """Run and show progress; if that ends early, say how to go on."""
    from calibration.pipeline import run
    from calibration.report import Display
    from calibration.run_folder import resume_command

    display = Display(options)
    go_on = f"continue with {resume_command(target)}"
    try:
        with display:
            return run(
                source,
                target,
                options,
                observe=display.observe,
                tell=display.tell,
                workers=workers,
            )
    except KeyboardInterrupt:
        how = go_on if display.begun else "no step had begun"
        raise _InterruptedError(f"interrupted; {how}") from None
    except CalibrationError as error:
        if display.begun:
            raise type(error)(f"{error}; once that is mended, {go_on}") from error
        raise


@app.command("show")
def _show(run: _RunFolder) -> None:
    """Show what a finished run reached."""
    from calibration.report import open_run, show_run

    show_run(open_run(run))


@app.command("check")
def _check(run: _RunFolder) -> None:
    """Read all files of a run again and compare them with its matrix.

    Holds every file against the hash that its step recorded, then repeats the X w identity
    and every named check, in a moment and without changing anything.
    """
    from calibration.audit import audit
    from calibration.report import open_run, show_audit
    from calibration.steps import verify

    state = open_run(run)
    unchanged = verify(run)
    show_audit(audit(state).require(), unchanged)


def main() -> None:
    """Run the program and exit with its status."""
    sys.exit(_status())


def _status() -> int:
    try:
        # Without standalone_mode, typer gives back the status that it would exit with.
        status = app(prog_name="calibration", standalone_mode=False)
    except exceptions.TyperException as error:
        return _say(f"{error.format_message().rstrip('.')}; see `{_command(error)} --help`", 2)
    except _UsageError as error:
        return _say(str(error), 2)
    except _InterruptedError as error:
        return _say(str(error), 130)
    except CalibrationError as error:
        return _say(str(error), 1)
    return status or 0


def _command(error: exceptions.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return "calibration" if context is None else context.command_path


def _say(message: str, status: int) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"calibration: {line}\n")
    return status


if __name__ == "__main__":
    main()
