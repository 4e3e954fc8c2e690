"""The source of a typed peer: one class whose methods are the operations a service publishes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from mesh.cli.new import class_name
from mesh.cli.stubtypes import Types, sentence

Row = Mapping[str, Any]

MARK = "written by `mesh stubs` from what the service publishes: do not edit, write it again"


def client_name(service: str) -> str:
    """Return `KnowledgeBaseClient` for `knowledge_base`."""
    name = class_name(service)
    return name if name.endswith("Client") else f"{name}Client"


def module_of(service: str, purpose: str, operations: Sequence[Row]) -> str:
    """Return the module of one service from the descriptions of its operations."""
    operations = sorted(operations, key=lambda row: str(row["name"]))
    types = Types([row["arguments"] for row in operations], [row["result"] for row in operations])
    types.imports |= {("typing", "TYPE_CHECKING"), ("mesh", "TypedPeer")}
    methods = [text for row in operations for text in _method(row, types)]
    classes = list(types.classes())
    doc = sentence(purpose) or f"What {service} offers."
    guard = "    if TYPE_CHECKING:  # at run time its operations are looked up by name"
    body = ["", guard, *methods] if methods else []
    client = "\n".join([f"class {client_name(service)}(TypedPeer):", f'    """{doc}"""', "",
                        f'    SERVICE = "{service}"', *body, ""])
    head = f'# ruff: noqa\n"""Typed peer of `{service}`, {MARK}."""\n\nfrom __future__ import annotations\n'
    return "\n".join([head, _imports(types), "", "", "\n\n".join([*classes, client])])


def _imports(types: Types) -> str:
    names: defaultdict[str, list[str]] = defaultdict(list)
    for module, name in sorted(types.imports):
        names[module].append(name)
    return "\n".join(f"from {module} import {', '.join(each)}" for module, each in sorted(
        names.items(), key=lambda item: (item[0] in ("mesh", "typing_extensions"), item[0])))


def _method(row: Row, types: Types) -> list[str]:
    """Return the lines of one operation; one that yields has its items behind `stream`, as on any peer."""
    schema = row["arguments"]
    required = set(schema.get("required", ()))
    arguments = [_argument(name, each, types, name in required) for name, each in schema["properties"].items()
                 if name != "timeout"]  # which every call has, and means its deadline
    inside = ", ".join(["self", "*", *sorted(arguments, key=lambda text: " = " in text),
                        "timeout: float | None = None"])
    result = types.text(row["result"], given=False)
    doc = sentence(row["doc"])
    if not row.get("stream"):
        told = [f'            """{doc}"""'] if doc else ["            ..."]
        return ["", f"        async def {row['name']}({inside}) -> {result}:", *told]
    types.imports |= {("typing", "Protocol"), ("collections.abc", "AsyncIterator")}
    kind = f"_{class_name(row['name'])}"
    told = [f'                """{doc}"""'] if doc else ["                ..."]
    return ["", f"        class {kind}(Protocol):",
            f"            def stream({inside}) -> AsyncIterator[{result}]:", *told, "",
            f"        {row['name']}: {kind}"]


def _argument(name: str, schema: Row, types: Types, required: bool) -> str:
    text = f"{name}: {types.text(schema, given=True)}"
    if required:
        return text
    default = schema.get("default")
    return f"{text} = {default!r}" if default is None or isinstance(default, (str, int, float)) else f"{text} = ..."
