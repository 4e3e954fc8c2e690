"""What an agent is made of is read from its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.supervisor.adjusting.sources import Sources


@pytest.fixture
def agents(tmp_path: Path) -> Path:
    folder = tmp_path / "agents"
    for name, text in {
        "mainpc/one.py": "import agents_mainpc.near\nfrom agents_shared import words\n"
                         "from agents_pc2.deep.inner import x\nimport json, agents_nowhere.gone\n\n"
                         "def later():\n    from agents_shared.late import y\n",
        "mainpc/near.py": "from agents_mainpc import one\n",
        "shared/words.py": "from pathlib import Path\nTEXT = Path(__file__).with_name('words.yaml').read_text()\n",
        "shared/words.yaml": "a: 1\n",
        "shared/late.py": "y = 1\n",
        "shared/unused.py": "",
        "pc2/deep/__init__.py": "",
        "pc2/deep/inner.py": "from .beside import z\nfrom . import other\nx = z\n",
        "pc2/deep/beside.py": "z = 1\n",
        "pc2/deep/other.py": "",
    }.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def names(agents: Path, found: frozenset[Path]) -> set[str]:
    return {str(path.relative_to(agents)) for path in found}


def test_imports_are_followed_wherever_they_stand_and_data_by_name(agents: Path) -> None:
    found = names(agents, Sources(agents).of(agents / "mainpc" / "one.py"))
    assert found == {"mainpc/one.py", "mainpc/near.py", "shared/words.py", "shared/words.yaml", "shared/late.py",
                     "pc2/deep/__init__.py", "pc2/deep/inner.py", "pc2/deep/beside.py", "pc2/deep/other.py"}


def test_what_cannot_be_read_counts_as_it_was(agents: Path) -> None:
    sources, file = Sources(agents), agents / "mainpc" / "one.py"
    before = sources.of(file)
    file.write_text("import (\n")
    assert sources.of(file) == before
    file.write_text("import agents_shared.unused\n")
    assert names(agents, sources.of(file)) == {"mainpc/one.py", "shared/unused.py"}
    file.unlink()
    assert file in sources.of(file)


def test_every_agent_of_the_project_is_made_of_files_that_are_there() -> None:
    root = Path(__file__).resolve().parents[3] / "agents"
    found = Sources(root).of(root / "mainpc" / "nlu.py")
    assert {"mainpc/nlu.py", "mainpc/intent_grammar.py", "shared/intents.py"} <= names(root, found)
    assert all(path.is_file() for path in found)
