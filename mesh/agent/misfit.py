"""What does not fit in an agent class, told at load: what was declared, what is wrong with it, what was expected."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from mesh.errors import LoadError


def misfit(what: str, declared: str, problem: str, expected: str, subject: Any = None) -> LoadError:
    """Return the error for one misfit; `subject` is the function or class whose place in the source is shown.

    `details["findings"]` holds one map of `message`, `file` and `line` (both may be None).
    """
    file, line = place_of(subject)
    message = f"{what}: {problem}\n  declared: {declared}\n  expected: {expected}"
    finding = {"message": message, "file": file, "line": line}
    return LoadError(f"{message}\n  in: {file}:{line}" if file else message, findings=[finding])


def all_of(errors: Iterable[LoadError]) -> LoadError:
    """Return one error that tells all `errors`, in their order."""
    told = list(errors)
    findings = [finding for error in told for finding in error.details.get("findings", [])]
    return LoadError("\n".join(error.message for error in told), findings=findings)


def place_of(subject: Any) -> tuple[str | None, int | None]:
    """Return file and line where a function or class is written, None where that is not known."""
    code = getattr(inspect.unwrap(subject), "__code__", None) if callable(subject) else None
    if code is not None:
        return code.co_filename, code.co_firstlineno
    if not inspect.isclass(subject):
        return None, None
    try:
        return inspect.getsourcefile(subject), inspect.getsourcelines(subject)[1]
    except (OSError, TypeError):  # made without a source file
        return None, None
