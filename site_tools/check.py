"""Check pages while you write them.

    python -m site_tools.check [--update] [PAGE...]       all pages of the book by default

Fences, blocks, outputs, claims and numbers: what tests/docs checks, for these pages, in
seconds. One line for each thing that is wrong, with file and line. `--update` first writes
into the pages what their blocks print; look at the difference.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from site_tools import claims, excerpts, guard, numbers, pages, recorded, render
from site_tools.blocks import Block, Page, parse
from site_tools.prove import in_place, mutants_of, proved
from site_tools.run_blocks import LIST, Runner, modes

__all__ = ["claim_faults", "main"]


def claim_faults(block: Block) -> Iterator[str]:
    """Say what keeps a claim from proving anything."""
    try:
        for line, fault in claims.faults(block.body):
            yield f"{block.page}:{block.line + line}: {fault}"
    except SyntaxError as error:
        yield f"{block.page}:{block.line + (error.lineno or 0)}: {error.msg}"


def _check(path: Path, page: Page, runner: Runner) -> list[str]:
    found = guard.complaints(path, page, guard.read_skips())
    outcomes = runner.run_many([(b, mode) for b in page.runs for mode in modes(b)])
    wrong = {o.block.where: o.complaint for o in reversed(outcomes) if o.complaint}
    found += reversed(wrong.values())
    proofs = [b for b in page.blocks if b.claim]
    for block in proofs:
        found += claim_faults(block)
    try:
        html = render.content(path)
    except (recorded.RecordedError, excerpts.ExcerptError) as error:
        return [*found, str(error)]
    changed = [m for b in proofs for m in mutants_of(b, numbers.needed(html))]
    noticed = proved(proofs, in_place(runner, changed))
    read = numbers.read_numbers(page, html, numbers.read_allowed(), noticed)
    _say(page, outcomes, read)
    return found + numbers.complaints(page, read)


def _update(path: Path, runner: Runner) -> None:
    """Write into a page what its blocks print."""
    page = parse(path)
    rows = page.text.split("\n")
    for before, after in reversed(list(zip(page.blocks, page.blocks[1:], strict=False))):
        if before.expected is not None and after.kind == "text":
            outcome = runner.run(before, modes(before)[0])
            if outcome.error is None:
                indent = rows[after.line - 1].partition("`")[0]
                printed = outcome.out.rstrip("\n").split("\n") if outcome.out else []
                rows[after.line : after.end - 1] = [(indent + r).rstrip() for r in printed]
    path.write_text("\n".join(rows), encoding="utf-8")


def _say(page: Page, outcomes: list, read: list[numbers.Number]) -> None:  # type: ignore[type-arg]
    words = len(_prose(page).split())
    hows = Counter(n.how or "unaccounted" for n in read)
    sys.stdout.write(
        f"{page.path}: {sum(b.executed for b in page.visible)} blocks, "
        f"{sum(b.claim for b in page.blocks)} claims, about {words} words; numbers: "
        + ", ".join(f"{count} {how}" for how, count in hows.items())
        + "\n"
    )
    for o in outcomes:
        if o.cpu > LIST and o.mode != "prompt":
            sys.stdout.write(f"{o.block.where}: {o.cpu:.1f} CPU seconds, more than {LIST:.0f}\n")


def _prose(page: Page) -> str:
    code = {n for b in page.blocks for n in range(b.line - b.hidden, b.end + b.hidden + 1)}
    rows = page.text.split("\n")
    return "\n".join(row for n, row in enumerate(rows, start=1) if n not in code)


def main() -> None:
    """Check pages; exit status 1 if something is wrong."""
    names = [name for name in sys.argv[1:] if not name.startswith("-")]
    chosen = [Path(name).resolve() for name in names] or pages.book()
    found = []
    with Runner() as runner:
        for path in chosen:
            if "--update" in sys.argv:
                _update(path, runner)
            found += _check(path, parse(path), runner)
    sys.stdout.write("\n".join(found) + ("\n" if found else ""))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
