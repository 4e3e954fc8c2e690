"""Agent classes, loaded by path and checked before anything of them runs.

Each file becomes one module under a private name, whichever services use it, so that no agent folder has to be
importable. What lies beside an agent, in a folder of `agents/`, it imports as `agents_<folder>.<module>`; `agents` as
a name belongs to others too. Every way a file can be wrong ends in a `LoadError` that names the service, the file, the
line, and what to do.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import linecache
import re
import sys
import threading
import traceback
from collections.abc import Callable, Collection
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from mesh.address import nearest
from mesh.agent import Agent, interface_of
from mesh.config import AgentSpec
from mesh.errors import LoadError

_PREFIX = "_mesh_agent_"
_DISTRIBUTIONS = {
    "bs4": "beautifulsoup4", "cv2": "opencv-python", "dateutil": "python-dateutil", "PIL": "pillow",
    "serial": "pyserial", "sklearn": "scikit-learn", "yaml": "pyyaml", "zmq": "pyzmq",
}

Load = Callable[[AgentSpec], type[Agent]]

_modules: dict[Path, ModuleType] = {}
_loading = threading.RLock()


def load_agent_class(spec: AgentSpec) -> type[Agent]:
    """Return the class `spec` names, loaded and compiled once without a fault; raises `LoadError`.

    `details["findings"]` of the error holds one map of `message`, `file` and `line` (or None) for each thing wrong.
    """
    with _loading:
        module = _module_of(spec)
    cls = _class_in(module, spec)
    try:
        interface_of(cls)
    except LoadError as error:
        raise LoadError(f"{spec.service}: {spec.file} does not fit\n{error.message}", **error.details) from None
    return cls


class Edition:
    """The code of an agent as it was when its cell loaded it first: each later start of the cell takes the same.

    What is saved meanwhile counts for the `next` edition, after `forget` has had the files read anew.
    """

    def __init__(self, load: Load = load_agent_class) -> None:
        self._load = load
        self._named: tuple[Path, str] | None = None
        self._class: type[Agent] | None = None
        self._source = b""

    def __call__(self, spec: AgentSpec) -> type[Agent]:
        """Return the class `spec` names; raises `LoadError` for as long as it cannot be loaded."""
        named = spec.file, spec.class_name
        if self._class is None or self._named != named:
            self._class, self._named = self._load(spec), named
            self._source = spec.file.read_bytes()
        return self._class

    def source(self, spec: AgentSpec) -> bytes:
        """Return what the file of the class had in it when that was loaded."""
        self(spec)
        return self._source

    def next(self) -> Edition:
        """Return one that has not loaded anything yet."""
        return Edition(self._load)


def _module_of(spec: AgentSpec) -> ModuleType:
    """Return the module of the file, run now if it is the first time."""
    path = spec.file.resolve()
    known = _modules.get(path)
    if known is not None:
        return known
    if not path.is_file():
        raise _no_file(spec)
    found = importlib.util.spec_from_file_location(_free_name(spec.service), path)
    if found is None or found.loader is None:
        raise _error(spec, f"{spec.file} is no Python file; name a .py file in `class:`")
    _expose_folders(path)
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses, pydantic and pickle look their module up by its name
    try:
        found.loader.exec_module(module)
    except KeyboardInterrupt:
        del sys.modules[found.name]
        raise
    except BaseException as error:  # SystemExit too: an agent file does not end the host
        del sys.modules[found.name]
        raise _explained(spec, path, error) from None
    _modules[path] = module
    return module


def _expose_folders(file: Path) -> None:
    """Make the folders of the `agents/` that holds the file importable, each as `agents_<folder>`."""
    agents = file.parent.parent
    if agents.name != "agents":
        return
    for folder in sorted(path for path in agents.iterdir() if path.is_dir() and path.name.isidentifier()):
        name = f"agents_{folder.name}"
        if name not in sys.modules:
            sys.modules[name] = importlib.util.module_from_spec(ModuleSpec(name, None, is_package=True))
        searched = sys.modules[name].__path__
        if str(folder) not in searched:
            searched.append(str(folder))


def _free_name(service: str) -> str:
    name, number = f"{_PREFIX}{service}", 1
    while name in sys.modules:
        number += 1
        name = f"{_PREFIX}{service}_{number}"
    return name


def _class_in(module: ModuleType, spec: AgentSpec) -> type[Agent]:
    cls = getattr(module, spec.class_name, None)
    if cls is None:
        raise _no_class(module, spec)
    if not isinstance(cls, type):
        raise _error(spec, f"{spec.class_name} in {spec.file} is a {type(cls).__name__}, not a class")
    if not issubclass(cls, Agent):
        bases = ", ".join(base.__name__ for base in cls.__bases__)
        raise _error(spec, f"{spec.class_name} in {spec.file} is no agent: its base is {bases}; "
                     "derive it from mesh.Agent, DataAgent or MLAgent")
    if cls.__module__.partition(".")[0] == "mesh":
        raise _error(spec, f"{spec.class_name} in {spec.file} is the base class of the mesh; name the class that "
                     f"derives from it: {_listed(module)}")
    return cls


# --- files that were saved since they were loaded


class Forgotten:
    """What was taken out of memory so that the next load reads the files anew."""

    def __init__(self, neighbours: dict[str, ModuleType]) -> None:
        self._neighbours = neighbours

    def keep_importable(self) -> None:
        """Put back the neighbours that nobody could import anew: who runs with them may still ask for them."""
        with _loading:
            for name, module in self._neighbours.items():
                sys.modules.setdefault(name, module)


def forget(files: Collection[Path]) -> Forgotten:
    """Have the next load run `files` anew, also when they were saved twice within the second that bytecode knows."""
    wanted = {file.resolve() for file in files}
    for file in wanted:
        with contextlib.suppress(OSError, ValueError, NotImplementedError):
            Path(importlib.util.cache_from_source(str(file))).unlink(missing_ok=True)
    with _loading:
        agents = [_modules.pop(path) for path in wanted & _modules.keys()]
        neighbours = {name: module for name, module in list(sys.modules.items()) if name.startswith("agents_")
                      and getattr(module, "__file__", None) and Path(str(module.__file__)).resolve() in wanted}
        for name in (*neighbours, *(module.__name__ for module in agents)):
            sys.modules.pop(name, None)
        for name in neighbours:
            package, _, last = name.rpartition(".")
            vars(sys.modules.get(package, ModuleType(package))).pop(last, None)
    importlib.invalidate_caches()
    return Forgotten(neighbours)


# --- what is said about a file that does not load


def _error(spec: AgentSpec, message: str, line: int | None = None) -> LoadError:
    told = f"{spec.service}: {message}"
    return LoadError(told, findings=[{"message": told, "file": str(spec.file), "line": line}])


def _no_file(spec: AgentSpec) -> LoadError:
    folder = spec.file.parent
    if not folder.is_dir():
        return _error(spec, f"{spec.file} is not there, and neither is its folder; correct `class:`")
    like = nearest(spec.file.name, [path.name for path in folder.glob("*.py")])
    hint = f"did you mean {folder / like}?" if like else "correct `class:`"
    return _error(spec, f"{spec.file} is not there; {hint}")


def _no_class(module: ModuleType, spec: AgentSpec) -> LoadError:
    like = nearest(spec.class_name, _classes_in(module))
    hint = f"; did you mean {like}?" if like else "; correct `class:`"
    return _error(spec, f"{spec.file} has no class {spec.class_name}; it has {_listed(module)}{hint}")


def _classes_in(module: ModuleType) -> list[str]:
    """Return the names of the classes written in the file, agents first."""
    own = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]
    own.sort(key=lambda cls: not issubclass(cls, Agent))
    return [cls.__name__ for cls in own]


def _listed(module: ModuleType) -> str:
    return ", ".join(_classes_in(module)) or "no class at all"


def _explained(spec: AgentSpec, path: Path, error: BaseException) -> LoadError:
    """Return what to say about an error raised while the file ran, or before it could."""
    if isinstance(error, SyntaxError) and _is_file(error.filename, path):
        return _error(spec, f"{spec.file} line {error.lineno} is no valid Python: {error.msg}{_pointed(error)}",
                      error.lineno)
    if isinstance(error, OSError) and _is_file(error.filename, path):
        return _error(spec, f"{spec.file} cannot be read: {error.strerror}")
    line, text = _last_line(path, error)
    if isinstance(error, LoadError):  # a decorator refused what it stands on
        return LoadError(f"{spec.service}: {spec.file} does not fit\n{error.message}", **error.details)
    where = f"{spec.file} line {line}" if line else f"{spec.file}"
    shown = f"\n    {text}" if text else ""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _error(spec, f"{where} needs the module {error.name}, which {_remedy(error.name)}{shown}", line)
    return _error(spec, f"{where} raised {type(error).__name__}: {error}{shown}", line)


def _is_file(name: object, path: Path) -> bool:
    return isinstance(name, str) and Path(name) == path


def _pointed(error: SyntaxError) -> str:
    """Return the offending line with a mark below the place, as far as Python knows them."""
    if not error.text:
        return ""
    text = error.text.rstrip()
    indent = len(text) - len(text.lstrip())
    mark = " " * (error.offset - 1 - indent) + "^" if error.offset and error.offset > indent else "^"
    return f"\n    {text.lstrip()}\n    {mark}"


def _last_line(path: Path, error: BaseException) -> tuple[int | None, str]:
    """Return number and text of the last line of the file that the error passed."""
    linecache.checkcache(str(path))
    passed = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_file(frame.filename, path)]
    return (passed[-1].lineno, (passed[-1].line or "").strip()) if passed else (None, "")


def _remedy(module: str) -> str:
    top = module.partition(".")[0]
    if top == "mesh":
        return "this version of the mesh does not have; agents import public names from `mesh` itself"
    if top == "agents" or top.startswith("agents_"):
        return "is not there; what lies beside an agent is imported as agents_<folder>.<module>, in agents/<folder>/"
    distribution = _DISTRIBUTIONS.get(top, top)
    extra = _extra_with(distribution)
    wanted = f"mesh[{extra}]" if extra else distribution
    return f"is not installed here; run: {sys.executable} -m pip install '{wanted}'"


def _extra_with(distribution: str) -> str | None:
    """Return the extra of the mesh that brings a distribution."""
    try:
        required = importlib.metadata.requires("mesh") or []
    except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return None
    for line in required:
        name, extra = re.match(r"[\w.-]+", line), re.search(r"extra == ['\"]([\w.-]+)['\"]", line)
        if name and extra and _same(name[0], distribution):
            return extra[1]
    return None


def _same(one: str, other: str) -> bool:
    return re.sub(r"[-_.]+", "-", one).lower() == re.sub(r"[-_.]+", "-", other).lower()
