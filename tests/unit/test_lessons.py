"""Every known defect has its test or its reason: tests/lessons.toml, held to its form."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
LESSONS = tomllib.loads((ROOT / "tests/lessons.toml").read_text(encoding="utf-8")).get("lesson", [])


@cache
def names_in(name: str) -> frozenset[str]:
    """List the test functions of a file, those of classes as Class::test."""
    found = set()
    for node in ast.parse((ROOT / name).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)}
    return frozenset(name for name in found if name.split("::")[-1].startswith("test_"))


def test_a_lesson_names_its_test_or_its_reason():
    """An id, a sentence, and exactly one of test and cannot; nothing else."""
    for lesson in LESSONS:
        where = lesson.get("id", lesson)
        assert lesson.keys() in ({"id", "defect", "test"}, {"id", "defect", "cannot"}), where
        assert re.fullmatch(r"[A-Z0-9]+(\.[A-Za-z0-9-]+)+", lesson["id"]), where
        for text in (lesson["defect"], lesson.get("cannot", "A.")):
            assert text[0].isupper(), where
            assert text.endswith("."), where


def test_every_lesson_stands_once():
    """No id twice."""
    ids = [lesson["id"] for lesson in LESSONS]
    assert len(set(ids)) == len(ids)


def test_every_named_test_is_there():
    """A file of tests, and in it a test function of that name, with a case or without."""
    for lesson in LESSONS:
        if "test" in lesson:
            name, _, test = lesson["test"].partition("::")
            assert test.partition("[")[0] in names_in(name), lesson["id"]
