"""The table of benchmarks/README.md is what the scripts found, and has the rows that the scripts have now."""

import ast
import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load_table():
    """Return benchmarks/table.py as a module; the package would set variables of this process."""
    spec = importlib.util.spec_from_file_location("benchmark_table", BENCHMARKS / "table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


table = load_table()
RESULTS = table.load_results()


def to_pattern(node):
    """Return the expression that a text matches; None where the node is no text. Values in an f-string may be any."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.escape(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(to_pattern(part) or ".+" for part in node.values)
    return None


def find_names(script):
    """Return what the rows of a script are called: arguments ``what``, and variables of this name, as expressions."""
    trees = [ast.parse(path.read_text()) for path in (BENCHMARKS / "common.py", script)]
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    called = {function.name for function in functions if function.args.args and function.args.args[0].arg == "what"}
    nodes = []
    for node in ast.walk(trees[1]):
        if isinstance(node, ast.Call):
            nodes += [word.value for word in node.keywords if word.arg == "what"]
            nodes += node.args[:1] if isinstance(node.func, ast.Name) and node.func.id in called else []
        elif isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["what"]:
            nodes.append(node.value)
    return {pattern for pattern in map(to_pattern, nodes) if pattern}


@pytest.mark.parametrize("part", RESULTS)
def test_rows_are_those_of_the_scripts(part):
    """Each row has a name that its script gives, and each name that a script gives is in the table."""
    patterns = find_names(BENCHMARKS / f"{part}.py")
    rows = [finding["what"] for finding in RESULTS[part]["findings"]]
    assert [row for row in rows if not any(re.search(pattern, row) for pattern in patterns)] == []
    assert [pattern for pattern in patterns if not any(re.search(pattern, row) for row in rows)] == []


def test_tables_are_made_of_the_results():
    """Nobody has edited what stands between the markers."""
    text = table.README.read_text(encoding="utf-8")
    assert table.insert_tables(text, RESULTS) == text


def test_every_script_is_a_part_or_named():
    """Scripts that the table leaves out are told of in the text."""
    scripts = {path.stem for path in BENCHMARKS.glob("*.py")} - {"__init__", "__main__", "common", "table", "textbook"}
    text = table.README.read_text(encoding="utf-8")
    assert scripts >= set(table.PARTS)
    assert [script for script in scripts if f"`{script}.py`" not in text] == []


def test_a_part_that_is_run_again_replaces_its_own_rows(tmp_path, monkeypatch):
    """Rows of other parts stay, in the file and in the tables, and what is not measured is said to be so."""
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    monkeypatch.setattr(table, "README", readme)
    monkeypatch.setattr(table, "RESULTS", tmp_path / "results.json")
    finding = {"what": "seconds", "value": 1.0, "target": "<= 2", "holds": True, "detail": ""}
    table.save_part("sink", [finding], {"commit": "abc1234"})
    table.save_part("isr", [finding], {"commit": "abc1234"})
    table.save_part("sink", [finding | {"value": 3.0, "holds": False}], {"commit": "def5678"})
    lines = readme.read_text().splitlines()
    assert "| isr | seconds | 1 | <= 2 | holds |  |" in lines
    assert "| sink | seconds | 3 | <= 2 | **missed** |  |" in lines
    assert "| sink | seconds | 1 | <= 2 | holds |  |" not in lines
    assert "| pair | not measured |  |  |  |  |  |" in lines
    assert "| sink | def5678 |  |  |  |  |  |" in lines
    assert (lines[0], lines[-1]) == ("before", "after")


def test_conditions_say_where_and_when():
    """Commit, date, processor, cores and load go with each part."""
    conditions = table.describe_conditions()
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=BENCHMARKS, capture_output=True, text=True, check=False
    )
    assert conditions["commit"].removesuffix(" and changes") == head.stdout.strip()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", conditions["date"])
    assert conditions["processor"]
    assert conditions["cores"] >= 1
    assert conditions["load_before"] >= 0
