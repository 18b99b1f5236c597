"""Records with many fields are made with keywords, so that no two fields can be exchanged by mistake."""

import ast
from pathlib import Path

import prost

MOST_POSITIONAL = 6


def test_records_with_many_fields_take_keywords_only() -> None:
    package = Path(prost.__file__).parent
    positional = []
    for file in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and _is_positional_record(node):
                fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
                if len(fields) > MOST_POSITIONAL:
                    positional.append(f"{file.relative_to(package)}: {node.name} has {len(fields)} fields")
    assert positional == []


def _is_positional_record(node: ast.ClassDef) -> bool:
    tuple_ = any(ast.unparse(base).endswith("NamedTuple") for base in node.bases)
    decorators = [ast.unparse(each) for each in node.decorator_list]
    return tuple_ or any("dataclass" in each and "kw_only=True" not in each for each in decorators)
