"""The command line of targets: `calibration targets list`, `check` and `import`.

A *source* of targets is a database (`calibration.target_database`) or a CSV
(`calibration.targets.read_csv`), told apart by the suffix `.csv`. Everything that can be
said of a source as a whole is said by `check`; `list` and `import` refuse what `check` would.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from calibration.errors import EngineError
from calibration.targets import CSV_COLUMNS, Target

__all__ = ["targets_app"]

targets_app = typer.Typer(
    name="targets",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    help="List, check and import the totals that weights should reproduce.",
)

_Source = Annotated[
    Path, typer.Argument(metavar="SOURCE", help="A target database, or a .csv of targets.")
]
_Select = Annotated[
    Path | None,
    typer.Option(
        metavar="YAML",
        help="Take only the targets that the rules in this file choose: lists `include` and "
        "`exclude` of rules with variable, geo_level, domain_variable.",
    ),
]
_Engine = Annotated[
    str | None,
    typer.Option(help="Tax-benefit engine that must know every variable, such as 'toy'."),
]


@targets_app.callback()
def _program(context: typer.Context) -> None:
    """Without a command, show what there is."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


@targets_app.command("list")
def _list(
    source: _Source,
    *,
    year: Annotated[
        int | None,
        typer.Option(
            help="Take each total at its best period for this year: the latest that is not "
            "after it, else the earliest. By default all periods."
        ),
    ] = None,
    select: _Select = None,
    as_csv: Annotated[
        bool,
        typer.Option("--csv", help="Every target, in the form that `import` and `run` read."),
    ] = False,
) -> None:
    """Show what targets there are.

    One line for each kind: level, variable, variables of the constraints, how many, and the
    years they were published for. With --csv one line for each target.
    """
    found = _chosen(_read(source, year), select)
    if as_csv:
        _write_csv(found)
    else:
        _show_kinds(found)


@targets_app.command("check")
def _check(source: _Source, *, engine: _Engine = None, select: _Select = None) -> None:
    """Check all targets and say how many were checked.

    Of a database every stratum and every target, those that are switched off among them:
    constraints that contradict each other, areas that are not there, strata outside of
    their parents, values that are no numbers. With --engine also every variable.
    """
    from calibration.target_database import TargetDatabase, check_known

    chosen, known = _chosen(_read(source, None), select), _known(engine)
    if _is_csv(source):
        for target in chosen if known is not None else ():
            check_known(target, known or ())
    else:
        contents = TargetDatabase(source).check(known)
        typer.echo(
            f"{contents.strata} strata, {contents.active} targets in use, "
            f"{contents.switched_off} switched off"
        )
    typer.echo(f"{len(chosen)} targets{'' if select is None else ' selected'}")
    if known is None:
        typer.echo("variables not compared with an engine; give --engine for that")
    else:
        typer.echo(f"the {engine} engine knows every variable")


@targets_app.command("import")
def _import(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SOURCE",
            help="Files of targets: .csv, or target databases.",
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The database to write.")],
    published: Annotated[
        bool, typer.Option("--published", help="Take the totals that come with the package, too.")
    ] = False,
    select: _Select = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write over a file that is there already.")
    ] = False,
) -> None:
    """Write targets into a new database.

    It has their strata and the parents of those. All sources are read and checked before
    anything is written. A total that stands in two of them for the same year is an error.
    Targets of a database that are switched off, or belong to a reform, are not taken; how
    many there were is said.
    """
    if not sources and not published:
        raise typer.BadParameter("no source; name files, or give --published")
    if out.exists() and not replace:
        raise typer.BadParameter(f"{out} is there already; give --replace to write over it")
    from calibration.published import read_published
    from calibration.target_database import TargetDatabase
    from calibration.targets import sort_periods

    every = read_published() if published else []
    for source in sources or ():
        every = [*every, *_read(source, None)]
    chosen = _chosen(sort_periods(every), select)
    contents = TargetDatabase.write(out, chosen).check()
    typer.echo(f"{out}: {contents.active} targets, {contents.strata} strata")
    for source in sources or ():
        if not _is_csv(source) and (left := TargetDatabase(source).check().switched_off):
            typer.echo(f"{source}: {left} targets are switched off and were left out")


# -- reading ---------------------------------------------------------------------------


def _is_csv(source: Path) -> bool:
    return source.suffix.lower() == ".csv"


def _read(source: Path, year: int | None) -> list[Target]:
    from calibration.target_database import TargetDatabase, best_periods
    from calibration.targets import read_csv

    found = read_csv(source) if _is_csv(source) else TargetDatabase(source).read_periods()
    return found if year is None else best_periods(found, year)


def _chosen(targets: list[Target], select: Path | None) -> list[Target]:
    if select is None:
        return targets
    from calibration.selection import read_selection

    return read_selection(select).of(targets)


def _known(engine: str | None) -> set[str] | None:
    if engine is None:
        return None
    from calibration.engines import load_engine

    try:
        loaded = load_engine(engine)
    except EngineError as error:
        raise typer.BadParameter(str(error), param_hint="--engine") from error
    return {*loaded.inputs, *loaded.outputs}


# -- showing ---------------------------------------------------------------------------


def _show_kinds(targets: Iterable[Target]) -> None:
    kinds: dict[tuple[str, str, str], list[Target]] = {}
    for target in targets:
        kind = str(target.level), target.variable, target.domain or "-"
        kinds.setdefault(kind, []).append(target)
    rows = [("level", "variable", "domain", "targets", "years")]
    for kind, several in kinds.items():
        years = sorted({target.period for target in several})
        rows.append((*kind, str(len(several)), ", ".join(map(str, years))))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for level, variable, domain, number, years in rows:
        typer.echo(
            f"{level:{widths[0]}}  {variable:{widths[1]}}  {domain:{widths[2]}}  "
            f"{number:>{widths[3]}}  {years}"
        )
    typer.echo(f"{sum(map(len, kinds.values()))} targets of {len(kinds)} kinds")


def _write_csv(targets: Iterable[Target]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows(target.cells for target in targets)
