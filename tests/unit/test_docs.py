"""The documentation says what the code says: generated parts are fresh, links lead somewhere, nothing goes undocumented."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from docs import generate, words
from memoryd import errors
from memoryd.cli import app
from memoryd.config import Settings
from memoryd_telemetry import names

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_generated_parts_are_what_the_code_says_now(page: Path) -> None:
    """After a change: `python -m docs.generate`."""
    assert page.read_text("utf-8") == generate.written(page)


def test_the_tests_that_a_page_names_are_there() -> None:
    """A sentence that is proven by a test is proven by one that exists."""
    there = set(re.findall(r"def (test_\w+)", "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py"))))
    named = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text("utf-8"))}
    assert len(named) > 10
    assert named - there == set()


def test_every_command_and_every_option_says_what_it_is_for() -> None:
    """A command without help is a guess."""
    silent = []
    for path, command in generate.commands():
        silent += [path] if not command.help else []
        silent += [[*path, one.name] for one in command.params if not one.help]
    assert silent == []


def test_every_command_is_in_the_page() -> None:
    """The page is generated; this proves that the generator finds the commands that the help shows."""
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    listed = re.findall(r"^│ (\w+) ", CliRunner().invoke(app, ["--help"]).output, re.MULTILINE)
    assert len(listed) >= 14
    assert [name for name in listed if f"## `memoryd {name}" not in page] == []


def test_the_page_of_settings_lists_what_the_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """`memoryd config` and the page are of the same table."""
    monkeypatch.delenv("MEMORYD_REDIS_PASSWORD_FILE", raising=False)
    printed = json.loads(CliRunner().invoke(app, ["config", "--json"]).output)
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert list(printed) == re.findall(r"^\| `(MEMORYD_\w+)` ", page, re.MULTILINE)
    assert all(field.description for field in Settings.model_fields.values())


def test_every_attribute_that_is_set_is_in_the_page() -> None:
    """A name of `memoryd_telemetry.names` that the code uses has to be told to who reads the spans."""
    sources = [path for package in ("memoryd", "sync", "telemetry") for path in (ROOT / package).rglob("*.py")]
    used = set(
        re.findall(r"\b(?:telemetry|names)\.([A-Z_]+)\b", "\n".join(path.read_text("utf-8") for path in sources))
    )
    values = {name: value for name in used if isinstance(value := getattr(names, name, None), str)}
    page = (ROOT / "docs" / "telemetry.md").read_text("utf-8")
    aside = {names.SCOPE, names.OK, names.OTHER}
    assert {name for name, value in values.items() if value not in aside and f"`{value}`" not in page} == set()


def test_every_error_that_a_reply_can_carry_is_in_the_table_and_those_of_the_client_are_not() -> None:
    """The table says what to do; a code without that would be a dead end."""
    page = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    table = page[page.index("<!-- generated: errors -->") : page.index("## Versions of this protocol")]
    listed = set(re.findall(r"^\| `(\w+)` ", table, re.MULTILINE))
    assert listed == errors.BY_CODE.keys() - set(words.CLIENT_SIDE)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Also into the code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_pages_that_the_code_points_at_exist() -> None:
    """Docstrings say "see docs/journal.md"; a reader follows."""
    sources = [
        path for package in ("memoryd", "schemas", "sync", "telemetry") for path in (ROOT / package).rglob("*.py")
    ]
    named = {name for path in sources for name in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text("utf-8"))}
    assert {name for name in named if not (ROOT / name).exists()} == set()

