"""An agent file that does not fit is refused when it is loaded, and the message says what to do."""

from __future__ import annotations

import importlib.metadata
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mesh.agent import Agent
from mesh.config import AgentSpec
from mesh.errors import LoadError
from mesh.supervisor.cell.loader import Edition, forget, load_agent_class

LAMP = '''
from mesh import Agent, operation

class Lamp(Agent):
    """Gives light."""

    @operation
    async def shine(self, colour: str) -> bool:
        return bool(colour)
'''


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Take the modules of this test out again."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("_mesh_agent_", "agents_loft", "agents_common")):
            del sys.modules[name]


def written(folder: Path, source: str | bytes, class_name: str = "Lamp", service: str = "lamp") -> AgentSpec:
    file = folder / "lamp.py"
    file.write_bytes(source if isinstance(source, bytes) else source.encode())
    return AgentSpec(service=service, file=file, class_name=class_name)


def refusal(spec: AgentSpec) -> LoadError:
    with pytest.raises(LoadError) as refused:
        load_agent_class(spec)
    assert refused.value.message.startswith(f"{spec.service}: ")
    assert str(spec.file) in refused.value.message
    return refused.value


def line_of(error: LoadError) -> int | None:
    (finding,) = error.details["findings"]
    line: int | None = finding["line"]
    return line


def test_a_class_is_loaded_by_path_under_a_private_name(tmp_path: Path) -> None:
    cls = load_agent_class(written(tmp_path, LAMP))
    assert issubclass(cls, Agent) and cls.__name__ == "Lamp"
    assert cls.__module__.startswith("_mesh_agent_lamp")  # and a number, where another lamp was loaded before
    assert sys.modules[cls.__module__].__dict__["Lamp"] is cls


def test_two_services_of_one_file_share_its_module_and_its_state(tmp_path: Path) -> None:
    source = f"{LAMP}\nBULBS: list[str] = []\nclass Torch(Lamp):\n    '''Carried.'''\n"
    lamp = load_agent_class(written(tmp_path, source))
    torch = load_agent_class(written(tmp_path, source, "Torch", service="torch"))
    assert issubclass(torch, lamp) and torch.__module__ == lamp.__module__


def test_the_same_file_by_another_way_is_the_same_module(tmp_path: Path) -> None:
    spec = written(tmp_path, LAMP)
    (tmp_path / "sub").mkdir()
    other = AgentSpec(service="other", file=tmp_path / "sub" / ".." / "lamp.py", class_name="Lamp")
    assert load_agent_class(other) is load_agent_class(spec)


def test_files_of_one_name_in_two_projects_stay_apart(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = load_agent_class(written(tmp_path / "one", LAMP))
    two = load_agent_class(written(tmp_path / "two", LAMP))
    assert one is not two and one.__module__ != two.__module__


def test_data_next_to_the_file_can_be_read_while_it_loads(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("red green")
    source = f"from pathlib import Path\nWORDS = (Path(__file__).parent / 'words.txt').read_text().split()\n{LAMP}"
    cls = load_agent_class(written(tmp_path, source))
    assert sys.modules[cls.__module__].__dict__["WORDS"] == ["red", "green"]


def test_dataclasses_and_pickles_of_the_module_work(tmp_path: Path) -> None:
    source = f"from __future__ import annotations\nfrom dataclasses import dataclass\n{LAMP}\n" \
             "@dataclass\nclass Bulb:\n    watts: int = 7\n"
    cls = load_agent_class(written(tmp_path, source))
    bulb = sys.modules[cls.__module__].__dict__["Bulb"](9)
    assert pickle.loads(pickle.dumps(bulb)) == bulb


def in_folders(root: Path, source: str, **modules: str) -> AgentSpec:
    """Write an agent into `agents/loft` and modules into other folders of `agents`, given as `folder__name`."""
    for place, text in modules.items():
        folder, _, name = place.partition("__")
        (root / "agents" / folder).mkdir(parents=True, exist_ok=True)
        (root / "agents" / folder / f"{name}.py").write_text(text)
    (root / "agents" / "loft").mkdir(parents=True, exist_ok=True)
    return written(root / "agents" / "loft", source)


def test_what_lies_beside_an_agent_is_imported_by_its_folder(tmp_path: Path) -> None:
    source = f"from agents_loft.bulbs import WATTS\nfrom agents_common.words import WORDS\n{LAMP}"
    spec = in_folders(tmp_path, source, loft__bulbs="WATTS = 7\n", common__words="WORDS = ['red']\n")
    cls = load_agent_class(spec)
    assert sys.modules[cls.__module__].__dict__["WATTS"] == 7
    assert sys.modules["agents_common.words"].__dict__["WORDS"] == ["red"]


def test_a_folder_made_importable_by_others_before_stays_theirs_and_gets_ours(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "known.py").write_text("A = 1\n")
    package = ModuleType("agents_loft")
    package.__path__ = [str(tmp_path / "elsewhere")]
    sys.modules["agents_loft"] = package
    source = f"from agents_loft.known import A\nfrom agents_loft.bulbs import B\n{LAMP}"
    load_agent_class(in_folders(tmp_path, source, loft__bulbs="B = 2\n"))
    assert sys.modules["agents_loft"] is package


def test_a_missing_neighbour_says_how_neighbours_are_imported(tmp_path: Path) -> None:
    error = refusal(in_folders(tmp_path, "import agents_loft.nothing\n"))
    assert "needs the module agents_loft.nothing, which is not there; what lies beside an agent is" in error.message


def test_an_error_in_a_neighbour_is_told_at_the_line_that_imports_it(tmp_path: Path) -> None:
    error = refusal(in_folders(tmp_path, "import json\nimport agents_loft.bulbs\n", loft__bulbs="WATTS = 1 / 0\n"))
    assert "line 2 raised ZeroDivisionError" in error.message


# --- the file


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    written(tmp_path, LAMP)
    error = refusal(AgentSpec(service="lamp", file=tmp_path / "lmp.py", class_name="Lamp"))
    assert f"is not there; did you mean {tmp_path / 'lamp.py'}?" in error.message


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    error = refusal(AgentSpec(service="lamp", file=tmp_path / "pc9" / "lamp.py", class_name="Lamp"))
    assert "neither is its folder" in error.message


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lamp.txt").write_text(LAMP)
    error = refusal(AgentSpec(service="lamp", file=tmp_path / "lamp.txt", class_name="Lamp"))
    assert "is no Python file" in error.message


def test_a_syntax_error_shows_the_line_and_the_place(tmp_path: Path) -> None:
    error = refusal(written(tmp_path, "class Lamp:\n    def shine(self)\n        pass\n"))
    assert "line 2 is no valid Python: expected ':'" in error.message
    assert error.message.endswith("\n    def shine(self)\n                   ^")
    assert line_of(error) == 2


@pytest.mark.parametrize("source", [b"x = '\xff\xfe'\n", b"x = 1\0\n", b"if True:\nx = 1\n", b"'''"])
def test_what_python_cannot_read_is_refused_with_the_file(tmp_path: Path, source: bytes) -> None:
    refusal(written(tmp_path, source))


def test_a_failed_file_leaves_nothing_behind_and_loads_once_corrected(tmp_path: Path) -> None:
    before = set(sys.modules)
    refusal(written(tmp_path, "raise ValueError('dark')\n"))
    assert not {name for name in set(sys.modules) - before if name.startswith("_mesh_agent_")}
    assert load_agent_class(written(tmp_path, LAMP)).__name__ == "Lamp"


# --- what happens while it runs


def test_an_error_at_load_names_the_last_line_in_the_file(tmp_path: Path) -> None:
    source = "import json\n\ndef read():\n    return json.loads('{dark}')\n\nTABLE = read()\n"
    error = refusal(written(tmp_path, source))
    assert "line 4 raised JSONDecodeError: Expecting property name" in error.message
    assert error.message.endswith("\n    return json.loads('{dark}')")
    assert line_of(error) == 4


def test_a_file_that_exits_does_not_end_the_host(tmp_path: Path) -> None:
    assert "line 2 raised SystemExit: 3" in refusal(written(tmp_path, "import sys\nsys.exit(3)\n")).message


def test_a_missing_library_is_named_with_the_command(tmp_path: Path) -> None:
    error = refusal(written(tmp_path, f"import json\nimport lampotron.bulbs\n{LAMP}"))
    assert "line 2 needs the module lampotron, which is not installed here; run: " in error.message
    assert "-m pip install 'lampotron'" in error.message
    assert error.message.endswith("\n    import lampotron.bulbs")
    assert line_of(error) == 2


def test_a_library_of_an_extra_is_installed_by_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: [
        "pyzmq>=26.2", 'httpx>=0.27; extra == "http"', "Scikit_Learn>=1.4 ; extra == 'nlp'",
    ])
    error = refusal(written(tmp_path, f"{LAMP}\nfrom sklearn.svm import SVC\n"))
    assert "needs the module sklearn" in error.message and "-m pip install 'mesh[nlp]'" in error.message


def test_a_library_that_misses_its_own_library_is_told_at_the_line_of_the_agent(tmp_path: Path) -> None:
    (tmp_path / "bulbs_for_test.py").write_text("import lampotron\n")
    source = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\ntry:\n    import bulbs_for_test\nfinally:\n" \
             "    sys.path.pop(0)\n"
    error = refusal(written(tmp_path, source))
    assert "line 4 needs the module lampotron" in error.message


def test_what_the_mesh_does_not_have_is_told(tmp_path: Path) -> None:
    assert "this version of the mesh does not have" in refusal(written(tmp_path, "import mesh.lamps\n")).message
    assert "line 1 raised ImportError" in refusal(written(tmp_path, "from mesh import Agnet\n")).message


# --- the class


def test_a_missing_class_suggests_the_nearest(tmp_path: Path) -> None:
    error = refusal(written(tmp_path, LAMP, "Lmap"))
    assert "has no class Lmap; it has Lamp; did you mean Lamp?" in error.message


def test_a_file_without_classes_says_so(tmp_path: Path) -> None:
    assert "it has no class at all" in refusal(written(tmp_path, "from mesh import Agent\n")).message


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("class Bulb: ...\nclass Lamp(Bulb): ...\n", "is no agent: its base is Bulb; derive it from mesh.Agent"),
        ("def Lamp(): ...\n", "is a function, not a class"),
        ("from mesh import Agent as Lamp\n", "is the base class of the mesh"),
    ],
)
def test_what_is_no_agent_class_is_refused(tmp_path: Path, source: str, says: str) -> None:
    assert says in refusal(written(tmp_path, source)).message


def test_operations_that_do_not_fit_are_all_told_with_the_file(tmp_path: Path) -> None:
    source = LAMP + '''
    @operation
    async def dim(self, share) -> float:
        return 0.5

    async def setup(self, volts: int) -> None: ...
'''
    error = refusal(written(tmp_path, source))
    assert "does not fit" in error.message
    assert "dim" in error.message and "setup" in error.message
    assert len(error.details["findings"]) == 2


def test_a_decorator_that_refuses_is_told_with_the_file(tmp_path: Path) -> None:
    source = LAMP.replace("@operation", "@operation(max_body=-1)")
    error = refusal(written(tmp_path, source))
    assert "does not fit" in error.message and "max_body" in error.message


def test_a_forgotten_file_is_read_anew_even_within_the_second_that_bytecode_knows(tmp_path: Path) -> None:
    spec = written(tmp_path, LAMP)
    first = load_agent_class(spec)
    for number in range(1, 4):
        file = spec.file
        file.write_text(file.read_text().partition("# version")[0] + f"# version {number}\nVERSION = {number}\n")
        forget([file])
        fresh = load_agent_class(spec)
        assert number == sys.modules[fresh.__module__].VERSION and fresh is not first


def test_an_edition_stays_as_it_was_loaded_and_the_next_one_is_what_was_saved(tmp_path: Path) -> None:
    spec = written(tmp_path, LAMP)
    edition = Edition()
    first = edition(spec)
    forget([spec.file])
    spec.file.write_text("def Lamp(:\n")
    broken = edition.next()
    with pytest.raises(LoadError, match="line 1 is no valid Python"):
        broken(spec)
    assert edition(spec) is first
    written(tmp_path, LAMP)
    assert broken(spec) is not first and edition(spec) is first


def test_an_edition_follows_the_class_that_config_names(tmp_path: Path) -> None:
    spec = written(tmp_path, LAMP + "\nclass Other(Lamp):\n    pass\n")
    edition = Edition()
    assert edition(spec).__name__ == "Lamp"
    assert edition(spec.model_copy(update={"class_name": "Other"})).__name__ == "Other"
