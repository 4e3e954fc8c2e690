"""How a command is declared and run: common options added, errors turned into one or two lines and an exit code.

Exit codes: 0 done, 1 the thing asked for failed, 2 wrong usage or config, 3 the mesh cannot be reached, 4 deadline
passed. Ctrl-C ends a command without a word (130), and so does a reader that goes away (`| head`).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from mesh.cli.guard import complain, ensure_streams, guarded
from mesh.cli.patience import Patience
from mesh.cli.scope import Scope
from mesh.errors import UsageError

Command = Callable[..., int | None]

# Every wrong call is a UsageError; typer shows only this subclass of it.
_WrongCall: type[Exception] = typer.BadParameter.__mro__[1]

Folder = Annotated[Path | None, typer.Option("--config", metavar="DIR", help="The project's folder.",
                                             show_default="found upwards from here")]
Environment = Annotated[str | None, typer.Option("--environment", metavar="NAME",
                                                 help="The environment section to use.",
                                                 show_default="MESH_ENVIRONMENT, else development")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
Timeout = Annotated[float | None, typer.Option("--timeout", metavar="SECONDS", help="How long to wait.",
                                               show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def command(
    app: typer.Typer, name: str | None, *, timeout: float | None = 5.0, patient: bool | None = None
) -> Callable[[Command], Command]:
    """Add a command whose function takes a `Scope` and its own arguments, and returns its exit code (None is 0).

    `timeout` is its limit in seconds unless `--timeout` says otherwise; None for one that follows something. Without a
    name it is what the group `app` does when none of its commands is named. `patient` tells whether a line says that it
    still works, after a second: by default where there is a limit.
    """

    def attach(function: Command) -> Command:
        parameters = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

        def run(
            ctx: typer.Context, config: Path | None, environment: str | None, debug: bool, timeout_s: float | None,
            json: bool, **own: Any,
        ) -> int:
            outer = ctx.obj if isinstance(ctx.obj, Scope) else Scope()
            given = Scope(config or outer.folder, environment or outer.environment, debug or outer.debug,
                          outer.timeout if timeout_s is None else timeout_s, json or outer.json)
            if ctx.invoked_subcommand is not None:
                ctx.obj = given
                return 0

            def work() -> int | None:
                scope = _limited(given, timeout)
                waits = timeout is not None if patient is None else patient
                with Patience(ctx.command_path, scope.timeout) if waits else nullcontext():
                    return function(scope, **own)

            return guarded(work, debug=given.debug)

        _declare(run, [*parameters, *_common()])
        run.__name__, run.__doc__ = function.__name__, function.__doc__
        if name is None:
            app.callback(invoke_without_command=True)(run)
        else:
            app.command(name)(run)
        return function

    return attach


def _limited(given: Scope, default: float | None) -> Scope:
    limit = default if given.timeout is None else given.timeout
    if limit is not None and not limit > 0:
        raise UsageError(f"--timeout is {limit:g}; give seconds above zero")
    return replace(given, timeout=limit)


def _common() -> list[inspect.Parameter]:
    def options(
        config: Folder = None, environment: Environment = None, debug: Debug = False, timeout_s: Timeout = None,
        json: Json = False,
    ) -> None: ...

    return list(inspect.signature(options, eval_str=True).parameters.values())


def _declare(run: Callable[..., int], parameters: Sequence[inspect.Parameter]) -> None:
    """Give `run` the signature that typer reads the options from."""
    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    named = [context, *(item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in parameters)]
    setattr(run, "__signature__", inspect.Signature(named))  # noqa: B010 - a function's type has no such field
    run.__annotations__ = {item.name: item.annotation for item in named}


def run_app(app: typer.Typer, arguments: Sequence[str] | None) -> int:
    """Parse a command line, run its command and return the exit code; a wrong call costs two lines and code 2."""
    ensure_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    program = typer.main.get_command(app)
    try:
        for word in words:
            _check_text(word)
        code = program.main(args=words, prog_name="mesh", standalone_mode=False)
    except UsageError as error:
        complain(error.message)
        return 2
    except _WrongCall as error:
        _explain(error)
        return 2
    return code if isinstance(code, int) else 0


def _check_text(word: str) -> None:
    try:
        word.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{word!r} is no UTF-8 text; is the terminal or the locale (LANG) set to something else?"
                         ) from None


def _explain(error: Any) -> None:
    """Say what is wrong with a call, and the command that shows how it is right; help that was due stays as it is."""
    message = error.format_message()
    path = error.ctx.command_path if error.ctx is not None else "mesh"
    if message.startswith("Usage: "):
        print(message, file=sys.stderr)
    else:
        complain(f"{message}\n`{path} --help` shows how it is called" if message else f"see `{path} --help`")
