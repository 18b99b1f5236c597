"""Documents agree with the code: the names, files, commands and options that they cite exist."""

import ast
import keyword
import re
import shlex
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

import pytest
import typer.main

from prost.apps.cli import app
from prost.data.toybox import write

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "prost"
GLOSSARY = ROOT / "docs" / "glossary.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/results/*.md")])
# These two tell what was the case at a date, so they may cite names that are gone.
HISTORIES = {"CHANGELOG.md", "lab_notebook.md"}
# What tells a file name (`report.json`) from a name in code (`report.Row`).
FILE_SUFFIX = re.compile(
    r"\.(bin|csv|css|html|js|jsonl?|md|mp4|np[yz]|pickle|pkl|prost|pt|py|safetensors|tex|toml|txt|ya?ml)\b"
)
# Other people's modules, and their programs and classes that are cited by their bare names.
FOREIGN = {"F", "av", "lance", "nn", "np", "numba", "numpy", "torch", "transformers", "typer"}
FOREIGN |= {"torchrun", "pooler_output", "DistributedDataParallel", "basic_clean"}


def relative_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


# What the code defines


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def source_files() -> tuple[Path, ...]:
    return tuple(sorted(SOURCE.rglob("*.py")))


def names_bound_in(body: list[ast.stmt]) -> Iterator[str]:
    """Names that a module or a class binds: definitions, assignments and imports, in branches too."""
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield statement.name
            case ast.Import() | ast.ImportFrom():
                yield from (alias.asname or alias.name for alias in statement.names)
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                yield from (node.id for node in ast.walk(statement) if is_stored(node))
            case ast.If() | ast.Try() | ast.With():
                yield from names_bound_in(
                    [n for n in ast.iter_child_nodes(statement) if isinstance(n, ast.stmt)]
                )


def is_stored(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


@cache
def defined_at_the_top(file: Path) -> frozenset[str]:
    """Names that a module defines itself, without what it imports."""
    body = [node for node in tree_of(file).body if not isinstance(node, ast.Import | ast.ImportFrom)]
    return frozenset(names_bound_in(body))


@cache
def classes() -> dict[str, list[ast.ClassDef]]:
    found: dict[str, list[ast.ClassDef]] = {}
    for file in source_files():
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(node)
    return found


def own_members(definition: ast.ClassDef) -> set[str]:
    """Methods, fields and attributes of `self` that a class itself defines."""
    stored = [
        node
        for node in ast.walk(definition)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
    ]
    return set(names_bound_in(definition.body)) | {
        node.attr for node in stored if ast.unparse(node.value) == "self"
    }


def members(definition: ast.ClassDef) -> set[str]:
    """The same with what it inherits from this project's classes."""
    names = own_members(definition)
    for base in definition.bases:
        written = ast.unparse(base).partition("[")[0].rpartition(".")[2]
        for parent in classes().get(written, []):
            names |= members(parent)
    return names


@cache
def identifiers() -> frozenset[str]:
    """Every name that the source binds or takes as an argument, strings that look like names, and names of modules."""
    names = {part for file in source_files() for part in file.relative_to(SOURCE).with_suffix("").parts}
    for file in source_files():
        for node in ast.walk(tree_of(file)):
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    names.add(node.name)
                case ast.arg():
                    names.add(node.arg)
                case ast.Name(ctx=ast.Store()):
                    names.add(node.id)
                case ast.Attribute():
                    names.add(node.attr)
                case ast.alias():
                    names |= {node.asname or node.name}
                case ast.Constant(value=str(value)) if re.fullmatch(r"[\w.-]+", value):
                    names |= {value, *value.split(".")}
                case ast.keyword(arg=str(argument)):
                    names.add(argument)
    return frozenset(names)


def modules_named(name: str) -> list[Path]:
    """Files and folders of packages with this name."""
    packages = [
        file.parent for file in source_files() if file.name == "__init__.py" and file.parent.name == name
    ]
    return [*packages, *(file for file in source_files() if file.stem == name)]


def resolves(name: str) -> bool:
    """Whether a name leads to a definition: `module.function`, `Class.member`, `prost.package.module.Class.member`."""
    first, *rest = name.split(".")
    if first in FOREIGN:
        return True
    if first == "prost" and rest:
        return resolves_from(SOURCE, rest)
    if not rest:
        return first in identifiers()
    if first in classes():
        return any(rest[0] in members(definition) for definition in classes()[first])
    if any(resolves_from(file, rest) for file in modules_named(first)):
        return True
    # A value with attributes (`config.max_words`): each part must at least be a name that the code knows.
    return all(part in identifiers() for part in (first, *rest))


def resolves_from(place: Path, parts: list[str]) -> bool:
    """Whether the parts lead from a package or a module to a definition."""
    if not parts:
        return True
    if place.is_dir():
        inner = place / parts[0]
        if inner.is_dir():
            return resolves_from(inner, parts[1:])
        if inner.with_suffix(".py").is_file():
            return resolves_from(inner.with_suffix(".py"), parts[1:])
        place = place / "__init__.py"
    if parts[0] not in names_bound_in(tree_of(place).body):
        return False
    return len(parts) == 1 or any(
        parts[1] in members(definition) for definition in classes().get(parts[0], [])
    )


def cited_names(text: str) -> set[str]:
    """Names in code style (`like_this`), without keywords, letters of a formula and names of files."""
    names = re.findall(r"(?<![`\w])`([A-Za-z_]\w+(?:\.\w+)*)(?:\(\))?`(?!`)", text)
    return {n for n in names if not keyword.iskeyword(n) and not FILE_SUFFIX.search(n)}


def comments_and_docstrings(file: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
    with file.open("rb") as stream:
        yield from (
            token.string for token in tokenize.tokenize(stream.readline) if token.type == tokenize.COMMENT
        )


# Names


@pytest.mark.parametrize("file", source_files(), ids=relative_id)
def test_docstrings_cite_names_that_exist(file: Path) -> None:
    cited = {name for text in comments_and_docstrings(file) for name in cited_names(text)}
    assert sorted(name for name in cited if not resolves(name)) == []


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if d.name not in HISTORIES], ids=relative_id)
def test_documents_cite_names_that_exist(document: Path) -> None:
    """Names of classes and dotted names. A plain lower-case word may be anything: a key of a file, a column."""
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    cited = {name for name in cited_names(text) if "." in name or re.match(r"[A-Z]\w*[a-z]", name)}
    assert sorted(name for name in cited if not resolves(name)) == []


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if d.name not in HISTORIES], ids=relative_id)
def test_documents_cite_files_that_exist(document: Path) -> None:
    """Paths of the repository, from its root or from `src/prost`."""
    text = document.read_text(encoding="utf-8")
    cited = set(
        re.findall(r"(?<![\w/.~-])((?:[a-z_]+/)+[\w-]+\.(?:py|yaml|md|css|js)|[a-z]+/[a-z]+/)(?![\w*])", text)
    )
    cited = {path for path in cited if not path.startswith(("demo/", "runs/", "reports/", "trips/"))}
    places = (ROOT, SOURCE, document.parent)
    assert sorted(path for path in cited if not any((place / path).exists() for place in places)) == []


# The glossary


def glossary_rows() -> list[tuple[dict[str, str], str]]:
    """Each row as column -> cell, and its first cell; the words of a heading are the keys."""
    rows: list[tuple[dict[str, str], str]] = []
    headings: list[str] = []
    for line in GLOSSARY.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            headings = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not headings:
            headings = cells
        elif not set(line) <= set("|-: "):
            rows.append((dict(zip(headings, cells, strict=True)), cells[0]))
    return rows


def defined_in(name: str, place: Path) -> bool:
    """Whether a file (or some file of a folder) defines a function, a class or a class's member of this name."""
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    first, *rest = name.split(".")
    for file in files:
        if first in defined_at_the_top(file):
            own = [
                node
                for node in ast.walk(tree_of(file))
                if isinstance(node, ast.ClassDef) and node.name == first
            ]
            if not rest or any(rest[0] in own_members(definition) for definition in own):
                return True
    return False


CODE_ROWS = [(row["in code"], row["file"], term) for row, term in glossary_rows() if "file" in row]


@pytest.mark.parametrize(("code", "file", "term"), CODE_ROWS, ids=[term[:30] for _, _, term in CODE_ROWS])
def test_the_glossary_names_what_its_files_define(code: str, file: str, term: str) -> None:
    places = [SOURCE / path for path in re.findall(r"`([\w/.]+)`", file)]
    assert [str(place) for place in places if not place.exists()] == []
    missing = [
        n for n in re.findall(r"`([\w.]+)`", code) if not any(defined_in(n, place) for place in places)
    ]
    assert missing == [], f"{term}: not defined in {file}"


def test_the_glossary_names_settings_that_exist() -> None:
    """A column "in `ModelConfig`" holds fields of that class."""
    settings = [
        (heading.removeprefix("in ").strip("`"), cell.strip("`"))
        for row, _ in glossary_rows()
        for heading, cell in row.items()
        if heading.startswith("in `")
    ]
    assert len(settings) > 5
    assert [pair for pair in settings if not resolves(".".join(pair))] == []


def test_the_glossary_has_one_row_for_a_term() -> None:
    terms = [term.partition(":")[0] for _, term in glossary_rows()]
    assert len(terms) > 50
    assert sorted({term for term in terms if terms.count(term) > 1}) == []


# Commands


def command_lines(document: Path) -> Iterator[str]:
    """Lines of `prost` and `make` in blocks of code, and those in code style within the text."""
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    if document.name == "cli.md":
        return
    for block in re.findall(r"^```(?:console|text)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        yield from (line.removeprefix("$ ") for line in block.splitlines())
    yield from re.findall(
        r"`((?:prost|make) [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL).replace("\n", " ")
    )


def unknown_parts(line: str) -> list[str]:
    """What a command line names that the program does not have."""
    words = shlex.split(line, comments=True)
    if words[:1] == ["make"]:
        targets = re.findall(
            r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        return [word for word in words[1:] if re.fullmatch("[a-z-]+", word) and word not in targets]
    if words[:1] != ["prost"]:
        return []
    command: Any = typer.main.get_command(app)
    unknown = []
    for word in words[1:]:
        inner = getattr(command, "commands", {})
        if inner and not word.startswith("-"):
            if word not in inner:
                return [word]
            command = inner[word]
        elif word.startswith("--"):
            options = {
                option
                for parameter in command.params
                for option in (*parameter.opts, *parameter.secondary_opts)
            }
            unknown += [word] if word.partition("=")[0] not in {*options, "--help"} else []
    return unknown


@pytest.mark.parametrize("document", [*DOCUMENTS, *sorted(ROOT.glob("recipes/**/*.yaml"))], ids=relative_id)
def test_documents_give_commands_and_options_that_exist(document: Path) -> None:
    lines = list(command_lines(document))
    if document.suffix == ".yaml":
        lines = re.findall(r"^#\s+(prost .*)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [(line, unknown) for line in lines if (unknown := unknown_parts(line))] == []


def test_unknown_commands_and_options_are_seen() -> None:
    assert unknown_parts("prost serach 'a ball'") == ["serach"]
    assert unknown_parts("prost search 'a ball' --top 3 --limit 3") == ["--top"]
    assert unknown_parts("prost data chekc pairs x.csv") == ["chekc"]
    assert unknown_parts("make demo && echo") == ["echo"]
    assert unknown_parts("prost index ~/Videos --model toybox") == []


# Pages and links


def test_the_reference_of_the_command_line_is_up_to_date() -> None:
    script = ROOT / "docs" / "write_cli_reference.py"
    written = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == written, "run `make docs`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative_id)
def test_links_lead_to_files(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_every_decision_has_a_row() -> None:
    decisions = ROOT / "docs" / "decisions"
    table = (decisions / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\d{4})\]\((\S+?)\) \| (.+?) \|$", table, flags=re.MULTILINE)
    titles = {path.name: path.read_text(encoding="utf-8").splitlines()[0] for path in decisions.glob("0*.md")}
    expected = {name: re.sub(r"^# \d+[.:] ", "", title) for name, title in titles.items()}
    assert {name: title for _, name, title in listed} == expected
    assert [number for number, name, _ in listed if not name.startswith(number)] == []


def test_headings_of_the_lab_notebook_have_a_date_and_a_verdict() -> None:
    text = re.sub(
        r"```.*?```", "", (ROOT / "docs" / "lab_notebook.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    entries = [heading for heading in headings if heading != "Template"]
    assert len(entries) > 5
    assert [h for h in entries if not re.fullmatch(r"20\d\d-\d\d-\d\d: .+ \(.+\)", h)] == []


def test_the_architecture_lists_the_packages_in_the_order_of_the_import_rules() -> None:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(rule["layers"] for rule in rules if rule["type"] == "layers")
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE) == layers


def test_decisions_cited_in_the_source_exist() -> None:
    numbers = {path.name[:4] for path in (ROOT / "docs" / "decisions").glob("0*.md")}
    sources = [*source_files(), *SOURCE.rglob("*.yaml"), *ROOT.glob("benchmarks/*.py")]
    cited = {
        (relative_id(file), number)
        for file in sources
        for number in re.findall(r"[Dd]ecisions?[ /](\d{1,4})\b", file.read_text(encoding="utf-8"))
    }
    assert {(file, number) for file, number in cited if number.zfill(4) not in numbers} == set()
    assert cited


# What the README shows, done


def readme_block(language: str, first_words: str) -> str:
    """The block of code of the README that begins with some words."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"^```{language}\n(.*?)^```", readme, flags=re.DOTALL | re.MULTILINE)
    (block,) = (block for block in blocks if block.startswith(first_words))
    return str(block)


@pytest.mark.slow
def test_the_commands_that_need_no_download_run(tmp_path: Path) -> None:
    lines = [line.removeprefix("$ ") for line in readme_block("console", "$ prost toybox").splitlines()]
    assert len(lines) == 3
    for line in lines:
        command = [sys.executable, "-m", *shlex.split(line)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "toy-" in done.stdout


@pytest.mark.slow
def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "Videos", videos=2, seed=0)
    (tmp_path / "clip.mp4").hardlink_to(next((tmp_path / "Videos").glob("*.mp4")))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    # The model of the README must be pulled first; the bundled one has the same interface.
    exec(readme_block("python", "import prost").replace('"siglip2-b16"', '"toybox"'), names)
    assert ".mp4" in capsys.readouterr().out
    assert names["score"].total.shape == (1, 1)
