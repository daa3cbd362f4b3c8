"""Nothing on a page goes unchecked without being listed."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from collections import Counter

import griffe
import pytest

from site_tools import guard, names, pages, results
from site_tools.blocks import parse, parse_text, with_outputs

PAGES = pages.executed()
EXAMPLES = Counter()


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(pages.ROOT).as_posix())
def test_fences(path) -> None:
    """Every fence is run, compared, quoted from the package, or on the list."""
    complaints = guard.complaints(path, parse(path), guard.read_skips())
    assert not complaints, "\n".join(complaints)


def test_the_list_of_skips_is_true() -> None:
    """Every entry of the list is about a fence that is there."""
    skips = guard.read_skips()
    met = {skip for path in PAGES for _, skip in guard.skipped(parse(path), skips)}
    assert [skip for skip in skips if skip not in met] == []


def _modules() -> list[str]:
    import calibration

    found = pkgutil.walk_packages(calibration.__path__, "calibration.")
    return ["calibration", *(m.name for m in found if not m.name.endswith("__main__"))]


def _written() -> int:
    """Count the prompts in the docstrings, as text."""
    count = 0
    stack: list[griffe.Object | griffe.Alias] = [names.package()]
    while stack:
        thing = stack.pop()
        if thing.is_alias:
            continue
        if thing.docstring:
            count += len(re.findall(r"^\s*>>> ", thing.docstring.value, re.MULTILINE))
            assert "```" not in thing.docstring.value, f"{thing.path}: a fence in a docstring"
        stack += thing.members.values()
    return count


def test_docstring_examples() -> None:
    """Every prompt in a docstring of the package is run, and answers what is written."""
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner()
    ran = 0
    for name in _modules():
        if name.startswith("calibration.toy_data"):
            continue
        for test in finder.find(importlib.import_module(name)):
            ran += len(test.examples)
            runner.run(test)
    assert runner.failures == 0
    assert ran == _written()
    EXAMPLES["examples"] = ran


def test_fences_add_up(state) -> None:
    """Fences = executed + outputs + excerpts + listed, counted over all pages."""
    skips, counts = guard.read_skips(), Counter()
    for path in PAGES:
        page = parse(path)
        counts["fences"] += len(page.blocks)
        counts["executed"] += len(page.runs)
        counts["outputs"] += sum(b.expected is not None for b in page.blocks)
        counts["excerpts"] += sum(b.kind == "excerpt" for b in page.blocks)
        counts["skipped"] += len(guard.skipped(page, skips))
    parts = ("executed", "outputs", "excerpts", "skipped")
    assert counts["fences"] == sum(counts[part] for part in parts)
    keys = ("fences", *parts)
    results.save("guard", {k: counts[k] for k in keys} | {"examples": EXAMPLES["examples"]}, state)


BAD = {
    "title": '```python title="x.py"\nprint(1)\n```',
    "lines": '```python hl_lines="1"\nprint(1)\n```',
    "braces": "```{ .python }\nprint(1)\n```",
    "short": "```py\nprint(1)\n```",
    "space": "``` python\nprint(1)\n```",
    "three": "```python3\nprint(1)\n```",
    "console": "```pycon\n>>> 1\n```",
    "shell": "```sh\nls\n```",
    "tilde": "~~~python\nprint(1)\n~~~",
    "unlisted": "```yaml\na: 1\n```",
    "indented": "    print(1)\n",
    "continued": "```yaml\na: 1\n```\n\n<!--pytest-codeblocks:cont-->\n\n```python\nprint(1)\n```",
    "mark": '<!--pytest.mark.skip(reason="x")-->\n\n```python\nprint(1)\n```',
    "far output": "```python\nprint(1)\n```\n\nWords.\n\n"
    "<!--pytest-codeblocks:expected-output-->\n\n```text\n1\n```",
    "no output": "```python\nx = 1\n```\n\n```text\n1\n```",
    "unclosed": "```python\nprint(1)\n",
    "excerpt of nothing": '```python title="calibration/rng.py"\n'
    '--8<-- "calibration/rng.py:no_such_name"\n```',
    "excerpt of two": '```python title="calibration/rng.py"\n'
    '--8<-- "calibration/rng.py:uniform"\nprint(1)\n```',
}


@pytest.mark.parametrize("name", BAD)
def test_the_guard_sees(name: str, tmp_path) -> None:
    """Each way in which code can escape is a complaint, with page and line."""
    text = f"# Title\n\n{BAD[name]}\n"
    path = tmp_path / "page.md"
    path.write_text(text, encoding="utf-8")
    found = guard.complaints(path, parse_text(text, "page.md"), [])
    assert found
    assert all(re.match(r"page\.md:\d+: ", line) for line in found)


def test_the_guard_lets_good_pages_pass(tmp_path) -> None:
    """Blocks in boxes and lists, claims, outputs and excerpts are no complaint."""
    text = """# Title

Words.

<!-- claim
```python
print(1)
```
-->

!!! note "Box"

    ```python
    print(1)
    ```

    <!--pytest-codeblocks:expected-output-->

    ```text
    1
    ```

1.  Item

    ```bash
    ls
    ```

```python title="calibration/rng.py"
--8<-- "calibration/rng.py:uniform"
```
"""
    path = tmp_path / "page.md"
    path.write_text(text, encoding="utf-8")
    assert guard.complaints(path, parse_text(text, "page.md"), []) == []


def test_outputs_are_put_back_where_they_stand() -> None:
    """New outputs replace the old ones to the letter, in boxes too; other text stays."""
    text = (
        "Before.\n\n```python\nprint(1)\n```\n\n<!--pytest-codeblocks:expected-output-->\n"
        "```text\nold\n```\n\n??? note\n\n    ```python\n    print(2)\n    ```\n\n"
        "    <!--pytest-codeblocks:expected-output-->\n"
        "    ```text\n    older\n    lines\n    ```\n\n"
        "After.\n"
    )
    page = parse_text(text, "site_src/page.md")
    first, second = page.runs
    assert with_outputs(page, {}) == text
    again = parse_text(
        with_outputs(page, {first.line: "1\n\n2\n", second.line: "3\n"}), "site_src/page.md"
    )
    assert [block.expected for block in again.runs] == ["1\n\n2\n", "3\n"]
    assert again.text.startswith("Before.\n")
    assert again.text.endswith("    ```\n\nAfter.\n")
