"""Documents that are made from the code are not behind it, and their links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_the_reference_of_the_command_line_is_up_to_date() -> None:
    script = ROOT / "docs" / "write_cli_reference.py"
    written = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == written, "run `make docs`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_the_glossary_names_what_the_code_has() -> None:
    """Every identifier in the column "in code" stands in some file of the source."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    rows = [
        line.split("|") for line in (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    ]
    names = {name for row in rows if len(row) > 3 for name in re.findall(r"`([\w.]+)`", row[2])}
    assert len(names) > 20
    missing = {part for name in names for part in name.split(".") if not re.search(rf"\b{part}\b", source)}
    assert missing == set()


def test_the_glossary_names_files_that_are_there() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    files = set(re.findall(r"`([a-z_]+/[a-z_]+\.py)`", text))
    assert len(files) > 5
    assert {name for name in files if not (ROOT / "src" / "prost" / name).is_file()} == set()
