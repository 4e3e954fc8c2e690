"""The import graph: arrows go down, never up and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "address", "clock", "exporter", "logs", "metrics", "parent", "port", "restart", "scrape", "throttle",
     "tracing"),
    ("message", "config", "topics", "database"),
    ("wire", "records", "connections", "models", "cache"),
    ("view", "directory"),
    ("transport",),
    ("policy",),
    ("client", "errorbus", "state", "stream"),
    ("membership",),
    ("agent",),
    ("supervisor", "launcher"),
    ("testing", "cli"),
)
"""Parts of `mesh`, low to high; those of one row may import each other as long as no circle arises."""

CELL = ("tenure", "life", "renewal", "cell")
"""What a cell is made of, low to high; each knows those before it, in `mesh/supervisor/cell`."""

RANK = {part: rank for rank, row in enumerate(LAYERS) for part in row}
REGISTRY_MAY = {part for part, rank in RANK.items() if rank <= RANK["policy"]}


def modules(folder: str) -> dict[str, Path]:
    """Return the Python modules below a folder of the project, by dotted name."""
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> Iterator[str]:
    """Yield every name a file imports, anywhere in it, as a dotted path."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where the arrow goes"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def edges(known: dict[str, Path]) -> set[tuple[str, str]]:
    """Return who imports whom among the known modules; a name imported from a package counts as its module."""
    found = set()
    for module, path in known.items():
        for name in imports(path):
            target = name if name in known else name.rpartition(".")[0]
            if target in known and target != module and target != "mesh":
                found.add((module, target))
    return found


def part(module: str) -> str:
    """Return the part of `mesh` a module belongs to."""
    return module.split(".")[1]


def test_every_part_of_the_mesh_has_a_layer() -> None:
    assert {part(module) for module in modules("mesh") if module != "mesh"} == set(RANK)


def test_no_arrow_points_up() -> None:
    up = [
        f"{source} -> {target}" for source, target in sorted(edges(modules("mesh")))
        if source != "mesh" and RANK[part(target)] > RANK[part(source)]
    ]
    assert up == []


def test_of_what_a_cell_is_made_none_knows_what_is_above_it() -> None:
    rank = {f"mesh.supervisor.cell.{name}": number for number, name in enumerate(CELL)}
    found = {(source, target) for source, target in edges(modules("mesh")) if {source, target} <= rank.keys()}
    assert found, "the files have other names now"
    assert [f"{source} -> {target}" for source, target in sorted(found) if rank[target] > rank[source]] == []
    others = {target for source, target in edges(modules("mesh"))
              if source in rank and source != "mesh.supervisor.cell.cell"}
    assert "mesh.supervisor.cells" not in others and "mesh.supervisor.cell.cell" not in others


def test_no_module_imports_itself_in_a_circle() -> None:
    for folder in ("mesh", "registry"):
        waiting: dict[str, set[str]] = {}
        for source, target in edges(modules(folder)):
            if not target.count(".") or source == "mesh":
                continue
            waiting.setdefault(source, set()).add(target)
        while True:
            free = {module for module, needs in waiting.items() if not needs & waiting.keys()}
            if not free:
                break
            for module in free:
                del waiting[module]
        assert waiting == {}, "a circle among these"


def test_the_mesh_knows_neither_registry_nor_agents() -> None:
    for module, path in modules("mesh").items():
        roots = {name.split(".")[0] for name in imports(path)}
        outside = {"registry", "agents", "agents_shared", "agents_mainpc", "agents_pc2", "tools", "tests"}
        assert not roots & outside, module


def test_the_registry_stays_below_the_policies() -> None:
    for module, path in modules("registry").items():
        used = {name.split(".")[1] for name in imports(path) if name.startswith("mesh.") and name.count(".")}
        used &= set(RANK)
        assert used <= REGISTRY_MAY, f"{module} imports {sorted(used - REGISTRY_MAY)}"


def test_agents_import_the_public_names_only() -> None:
    public = {f"mesh.{name}" for name in _public_names()}
    for folder in ("agents/mainpc", "agents/pc2"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for name in imports(path):
                root = name.split(".")[0]
                assert root not in {"zmq", "registry", "agents"}, f"{path} imports {name}"
                assert root != "mesh" or name in public, f"{path} imports {name}, which is not public"


def _public_names() -> list[str]:
    tree = ast.parse((ROOT / "mesh" / "__init__.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return [str(ast.literal_eval(item)) for item in node.value.elts]  # type: ignore[attr-defined]
    raise AssertionError("mesh/__init__.py has no __all__")
