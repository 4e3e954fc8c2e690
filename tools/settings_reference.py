"""Prints docs/settings.md from the models that read the settings, so the page cannot say anything else than the code.

python tools/settings_reference.py            prints the page
python tools/settings_reference.py --write    writes it to docs/settings.md
python tools/settings_reference.py --check    ends with 1 and says so if docs/settings.md is another
"""

from __future__ import annotations

import argparse
import ast
import enum
import inspect
import json
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mesh.agent import Agent
from mesh.config import CODES, AgentSpec, load
from mesh.config.schema import AgentFile, HostsFile
from mesh.config.variables import VARIABLES
from mesh.errors import LoadError, MeshError
from mesh.supervisor.cell.loader import load_agent_class

ROOT = Path(__file__).resolve().parents[1]
PAGE = "docs/settings.md"
COMMAND = "python tools/settings_reference.py --write"

INTRODUCTION = f"""\
# Settings

This page is printed from the models that read the settings (`{COMMAND}`).
`mesh check` lists whatever is wrong in them, with file, line and the nearest right name.

A value comes from the last of these that has it:

1. the default in the tables below;
2. the file;
3. the file's section of the environment in force (`environments: {{production: …}}`): it says only what differs;
   mappings are merged, lists are replaced whole;
4. an environment variable;
5. a setting that the registry keeps for an agent (settings of agents only).

`mesh describe SERVICE` shows for each value in force where it came from.
"""

VARIABLES_TEXT = """\
A variable is named like the path of a key in capitals, its steps parted by two underscores, after `MESH_`:
`MESH_REGISTRY__PORT=7500`, `MESH_HOSTS__PC2__ADDRESS=192.168.1.12`,
`MESH_AGENTS__MODEL_MANAGER__SETTINGS__TIMEOUT=10`. The value is read as one YAML value: `10` is a number, `"10"` a
text; `[…]` and `{…}` are a list and a mapping. A variable with two underscores that sets nothing known is an error,
one without is a warning, since it may be another program's.
"""

AGENTS_TEXT = """\
Each key stands under `settings:` of the agent's file. Relative paths are below the agent's own folder,
`.mesh/<host>/state/<service>/`.
"""

_WORDS: Mapping[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    bytes: "bytes",
    Path: "path",
    Any: "any value",
    type(None): "nothing",
    dict: "mapping",
    list: "list",
}


def page(root: Path) -> str:
    """Return the whole page; an agent that does not load is left out and named on stderr."""
    parts = [
        INTRODUCTION,
        "## `config/hosts.yaml`\n",
        table(HostsFile),
        "## `config/agents/<service>.yaml`\n\nThe name of the file is the name of the service.\n",
        table(AgentFile),
        f"## Environment variables\n\n{VARIABLES_TEXT}",
        _two_columns("variable", VARIABLES),
        "## Findings\n\nWhat `mesh check` can find, by the `code` of `mesh check --json`:\n",
        _two_columns("code", CODES),
        f"## Settings of the agents\n\n{AGENTS_TEXT}",
    ]
    for service, spec in sorted(load(root, environ={}).agents.items()):
        try:
            parts.append(agent_section(spec, load_agent_class(spec)))
        except LoadError as error:
            print(f"{service} is left out: {error}", file=sys.stderr)
    return "\n".join(parts)


def agent_section(spec: AgentSpec, agent: type[Agent]) -> str:
    """Return heading, purpose and table of one agent."""
    purpose = (agent.__doc__ or "").strip().partition("\n")[0]
    settings = table(agent.Config) if agent.Config.model_fields else "It has no settings.\n"
    return f"### `{spec.service}`\n\n{purpose}\n\n{settings}"


def table(model: type[BaseModel]) -> str:
    """Return a table with a row for every key of `model`, those of sections with their path."""
    lines = ["| key | takes | default | meaning |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows(model)]
    return "\n".join([*lines, ""])


def rows(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield key, type, default and meaning of every field, a section before the keys inside it."""
    notes = _notes(model)
    for name, info in model.model_fields.items():
        key = f"{before}{info.alias or name}"
        inside, steps = _section(info.annotation)
        meaning = " ".join((info.description or notes.get(name, "")).split())
        yield f"`{key}`", _takes(info.annotation, info.metadata), _default(info, inside), meaning
        if inside is not None:
            yield from rows(inside, f"{key}{steps}.")


def _notes(model: type[BaseModel]) -> dict[str, str]:
    """Return the texts that stand below the fields of `model` and of its bases."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if not issubclass(cls, BaseModel) or cls is BaseModel:
            continue
        [body] = (
            node.body
            for node in ast.parse(textwrap.dedent(inspect.getsource(cls))).body
            if isinstance(node, ast.ClassDef)
        )
        for field, note in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(note, ast.Expr):
                found[field.target.id] = str(ast.literal_eval(note.value))
    return found


def _section(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """Return the model whose keys stand under a key of this type, and what stands between: `<name>` or `[]`."""
    bare = _bare(annotation)
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return bare, ""
    arguments = get_args(bare)
    if get_origin(bare) in (dict, list, tuple) and arguments:
        model, steps = _section(arguments[-1] if get_origin(bare) is dict else arguments[0])
        return model, (".<name>" if get_origin(bare) is dict else "[]") + steps
    return None, ""


def _bare(annotation: Any) -> Any:
    """Return the type inside `Annotated` and `X | None`."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        return _bare(parts[0]) if len(parts) == 1 else annotation
    return annotation


def _takes(annotation: Any, metadata: list[Any]) -> str:
    """Return in words what a key of this type takes, with its bounds."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _takes(inner, [*more, *metadata])
    bounds = _bounds(metadata)
    return _type(annotation) + (f", {bounds}" if bounds else "")


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_takes(part, []) for part in arguments)
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in arguments)
    if origin in (list, tuple, set, frozenset) and arguments:
        inner = _takes(arguments[0], [])
        return f"list of {inner}{'s' if inner == 'mapping' else ''}"
    if origin is dict:
        inner = _takes(arguments[1], [])
        return "mapping" if arguments[1] is Any else f"mapping of names to {inner}{'s' if inner == 'mapping' else ''}"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return " or ".join(f"`{choice.value}`" for choice in annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return _WORDS.get(annotation) or str(getattr(annotation, "__name__", annotation))


def _bounds(metadata: list[Any]) -> str:
    """Return the bounds pydantic keeps beside the type, as words."""
    words = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
    words |= {"min_length": "at least this long:", "max_length": "at most this long:", "pattern": "like"}
    # a bare Field(...) inside Annotated keeps its bounds in a list of its own
    flat = [part for item in metadata for part in (item.metadata if isinstance(item, FieldInfo) else [item])]
    found = [(word, getattr(item, name, None)) for item in flat for name, word in words.items()]
    return ", ".join(f"{word} {bound}" for word, bound in found if bound is not None).replace(
        "at least 0, at most", "0 to"
    )


def _default(info: FieldInfo, inside: type[BaseModel] | None) -> str:
    """Return the default as it would be written, `required` where there is none."""
    extra = info.json_schema_extra
    if (isinstance(extra, dict) and extra.get("required")) or info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is PydanticUndefined or (inside is not None and isinstance(value, BaseModel)):
        return ""
    plain = str(value) if isinstance(value, PurePath) else TypeAdapter(Any).dump_python(value, mode="json")
    return "none" if plain is None else f"`{json.dumps(plain, ensure_ascii=False)}`"


def _two_columns(head: str, meanings: Mapping[str, str]) -> str:
    lines = [f"| {head} | meaning |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {meaning} |" for name, meaning in meanings.items()), ""])


def main() -> int:
    """Print, write or compare the page; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help=f"write {PAGE}")
    what.add_argument("--check", action="store_true", help=f"fail if {PAGE} is another")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project")
    arguments = parser.parse_args()
    try:
        text = page(arguments.root)
    except MeshError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    file = arguments.root / PAGE
    if arguments.write:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    elif arguments.check:
        return _compare(file, text)
    else:
        print(text, end="")
    return 0


def _compare(file: Path, text: str) -> int:
    """Return 0 if `file` holds `text`; else say where it first differs and return 1."""
    old = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    new = text.splitlines()
    if old == new:
        return 0
    line = next(
        (number for number, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new))
    )
    print(f"{PAGE}:{line + 1} is not what the models say; run `{COMMAND}`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
