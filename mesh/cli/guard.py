"""What a command raises becomes words on standard error and an exit code, whichever program runs it."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from mesh.errors import MeshError

INTERRUPTED = 130


def guarded(work: Callable[[], int | None], *, debug: bool) -> int:
    """Run `work` and return its exit code; what it raises becomes words on standard error and an exit code."""
    try:
        code = work() or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its end
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, MeshError):
            complain(error.message + _hint(error))
            return error.exit_code
        complain(f"unexpected {type(error).__name__}: {error}; run it again with --debug to see where")
        return 1


def _hint(error: MeshError) -> str:
    """Return the command that tells more of a failure that some host keeps, on a line of its own."""
    kept = error.details.get("error_id")
    return f"\n`mesh errors show {kept}` tells more" if kept else ""


def complain(text: str) -> None:
    """Say what went wrong."""
    print(f"mesh: {text}", file=sys.stderr)


def ensure_streams() -> None:
    """Have streams that take any text; one that was closed (`>&-`) leads nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - as long as the process
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
