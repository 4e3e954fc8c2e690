"""What the registry has to remember so that an operator's wish for some instances of a service holds from then on.

The wish for the service stands under its name, one for an instance under `nlu#2`, the first being `nlu#1`. An instance
runs if neither is `stopped`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mesh.records import DesiredState


def remembered(
    service: str, numbers: Sequence[int], number: int | None, wanted: DesiredState, desired: Callable[[str], str]
) -> list[tuple[str, DesiredState]]:
    """Return what to remember for the wish that instance `number`, or for None all of `numbers`, be as `wanted`.

    `desired` returns what is remembered of a name already.
    """
    own = {each: f"{service}#{each}" for each in numbers}
    if wanted == "stopped":
        return [(service if number is None else own[number], "stopped")]
    stopped = desired(service) == "stopped"
    kept: list[tuple[str, DesiredState]] = []
    if number is not None and stopped:  # the others stay as they are
        kept += [(name, "stopped") for each, name in own.items() if each != number and desired(name) != "stopped"]
    meant = own.values() if number is None else (own[number],)
    return [*kept, (service, "running"), *((name, "running") for name in meant if desired(name) == "stopped")]
