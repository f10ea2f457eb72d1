"""Documentation that cannot lie: what is generated is current, what is linked exists, what is named is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def test_the_command_line_page_is_what_the_program_says() -> None:
    code = "import sys; sys.path.insert(0, 'scripts'); import docs; sys.stdout.write(docs.page())"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / "cli.md").read_text() == said, "run: python scripts/docs.py"


def test_the_table_of_deviations_is_what_the_contracts_tests_have() -> None:
    code = "import sys; sys.path.insert(0, 'scripts'); import docs; sys.stdout.write(docs.backends())"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / "backends.md").read_text() == said, "run: python scripts/docs.py"
    assert "keeps all of it" in said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_a_page_links_to_exists(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_a_page_names_exists(page: Path) -> None:
    """`tests/gate/test_dns.py` or `tests/gate/test_dns.py::test_x`, so that a claim stays backed."""
    wrong = []
    for name, _, test in re.findall(r"`(tests/[\w/.]+\.py)(::(\w+))?`", page.read_text()):
        file = ROOT / name
        if not file.is_file() or (test and f"def {test}(" not in file.read_text()):
            wrong.append(name + test)
    assert not wrong


def test_the_first_screen_of_the_readme_has_the_two_commands() -> None:
    first_screen = (ROOT / "README.md").read_text().splitlines()[:25]
    assert {"./cli.py demo", "./test"} <= {line.split("#")[0].strip() for line in first_screen}
