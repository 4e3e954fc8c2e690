"""`mesh new agent`: an agent, its config and its test from a template, ready to be run and then rewritten."""

from __future__ import annotations

import keyword
import os
import re
import shlex
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template

import mesh
from mesh.address import NAME, RESERVED
from mesh.cli.hosts import checked, did_you_mean
from mesh.cli.scope import Scope
from mesh.cli.screen import document, say
from mesh.config import MeshConfig
from mesh.config.host_checks import NAME_RULE
from mesh.errors import StartError, UsageError

LAYERS = ("Agent", "DataAgent", "MLAgent", "IntegrationAgent")
TEMPLATES = "mesh.cli.templates"


def new_agent(scope: Scope, name: str, host: str | None, layer: str) -> None:
    """Write the three files of a new agent and say what to do next; overwrites nothing."""
    config = scope.config()
    if layer not in LAYERS:
        raise UsageError(f"--layer is {layer!r}, which is none of {', '.join(LAYERS)}{did_you_mean(layer, LAYERS)}")
    at = next(iter(config.hosts)) if host is None else checked(host, list(config.hosts))
    _check_name(config, name)
    files = {path: _sorted_imports(text, config.root) for path, text in _filled(name, at, layer).items()}
    _check_free(config.root, files)
    _write(config.root, files)
    steps = _steps(config.root, name, list(files))
    if scope.json:
        document({"service": name, "host": at, "layer": layer, "files": list(files), "next": steps})
        return
    say(f"{name}, to run on {at}:")
    for file in files:
        say(f"    {file}")
    say("now")
    for step in steps:
        say(f"    {step}")


def _check_name(config: MeshConfig, name: str) -> None:
    if not NAME.match(name):
        wish = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")
        hint = f"; what about {wish}?" if NAME.match(wish) and wish != name else ""
        raise UsageError(f"{name!r} cannot name a service: {NAME_RULE}{hint}")
    if name in RESERVED:
        raise UsageError(f"{name} is what the mesh itself is called; choose another name")
    cls = class_name(name)
    if keyword.iskeyword(name) or keyword.iskeyword(cls) or cls in mesh.__all__:
        owner = "the mesh has one of its own" if cls in mesh.__all__ else "Python keeps that word for itself"
        raise UsageError(f"{name} would be a class {cls}, and {owner}; choose another name, such as my_{name}")
    if name in config.agents:
        raise UsageError(f"there is an agent {name} already, in {_below(config.root, config.agents[name].file)}; "
                         "choose another name, or change that one")


def class_name(service: str) -> str:
    """Return `KnowledgeBase` for `knowledge_base`."""
    return "".join(part[:1].upper() + part[1:] for part in service.split("_"))


def _filled(name: str, host: str, layer: str) -> dict[str, str]:
    """Return the text of each new file by its path in the project."""
    file = f"agents/{host}/{name}.py"
    title = name.replace("_", " ").strip()
    words: Mapping[str, str] = {"service": name, "Class": class_name(name), "host": host, "file": file,
                                "Title": title[:1].upper() + title[1:]}
    sources = {file: f"{layer}.py.in", f"config/agents/{name}.yaml": "config.yaml.in",
               f"tests/agents/test_{name}.py": f"{layer}.test.in"}
    folder = resources.files(TEMPLATES)
    return {path: Template((folder / source).read_text(encoding="utf-8")).substitute(words)
            for path, source in sources.items()}


def _sorted_imports(text: str, root: Path) -> str:
    """Return `text` with its imports as linters want them: the mesh is a package among others, unless it is here."""
    if (root / "mesh").is_dir():
        return text
    return re.sub(r"((?:from|import) (?:pydantic|pytest).*\n)\n((?:from mesh.*\n)+)", _together, text)


def _together(parts: re.Match[str]) -> str:
    lines = (parts[1] + parts[2]).splitlines(keepends=True)
    return "".join(sorted(lines, key=lambda line: (line.startswith("from"), line)))


def _check_free(root: Path, files: Mapping[str, str]) -> None:
    there = [path for path in files if os.path.lexists(root / path)]
    if there:
        raise UsageError(f"{' and '.join(there)} {'are' if len(there) > 1 else 'is'} there already, and nothing is "
                         "overwritten; choose another name, or move it away")


def _write(root: Path, files: Mapping[str, str]) -> None:
    """Write all files or none."""
    written: list[Path] = []
    try:
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            with (root / path).open("x", encoding="utf-8") as file:
                written.append(root / path)
                file.write(text)
    except OSError as error:
        for path_written in written:
            path_written.unlink(missing_ok=True)
        raise StartError(f"{error.filename or root} cannot be written: {error.strerror or error}; nothing was made"
                         ) from None


def _steps(root: Path, name: str, files: list[str]) -> list[str]:
    """Return the commands that follow, ready to be pasted."""
    there = [] if Path.cwd().resolve() == root else [f"cd {shlex.quote(str(root))}"]
    return [*there, f"python -m pytest -q {files[-1]}", "mesh up --watch", f"mesh describe {name}"]


def _below(root: Path, file: Path) -> str:
    return str(file.relative_to(root) if file.is_relative_to(root) else file)
