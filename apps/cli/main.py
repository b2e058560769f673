"""The edge of the ``cinquain`` command: every failure ends here, as one sentence and an exit code.

Exit codes: 0 done, 1 the run failed, 2 what was asked for cannot be done, 130 stopped by Ctrl-C.
Everything is imported inside ``main``, so that Ctrl-C during the imports, which take a second on a busy machine, is no
traceback either.
"""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typer.exceptions import TyperException

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the program's name; ``sys.argv`` where None.

    Returns:
        The exit code. Nothing is raised: every failure ends as one sentence on standard error.
    """
    try:
        from typer.main import get_command

        from apps.cli.group import app
        from apps.cli.terminal import use_utf8

        use_utf8()
        # Commands return an exit code or nothing; Ctrl-C arrives as typer's own exit code 130.
        code = get_command(app).main(args=arguments, prog_name="cinquain", standalone_mode=False) or 0
        sys.stdout.flush()
        if code == 130:
            _complain(_stopped())
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        return _silence()
    except SystemExit as end:  # typer and rich end the program this way when the reader of a pipe has gone
        return end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        _complain(_stopped())
        return 130
    except Exception as error:
        return _explain(error)
    finally:
        if terminal := sys.modules.get("apps.cli.terminal"):
            terminal.use_language("")  # tests and notebooks call this more than once


def _stopped() -> str:
    """The word for Ctrl-C, without loading anything more for it: a person who presses it does not want to wait."""
    if "pipelines.wording" not in sys.modules:
        return "Stopped."
    from apps.cli.terminal import say

    return say("cli_stopped")


def _silence() -> int:
    """The reader of our output has gone (``| head``): nobody is left to tell."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _explain(error: Exception) -> int:
    """One sentence for an error; returns the exit code."""
    from typer.exceptions import TyperException

    if os.environ.get("CINQUAIN_DEBUG") == "1" and not isinstance(error, TyperException):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, ModuleNotFoundError):  # perhaps one that our sentences need: said without them
        _complain(f"The library {error.name} is missing. Run: {sys.executable} -m pip install -c constraints.txt -e .")
        return 1
    from apps.cli.terminal import say
    from pipelines.errors import CinquainError

    if isinstance(error, CinquainError):
        _complain(say(error))
        return error.exit_code
    if isinstance(error, TyperException):
        return _explain_usage(error)
    if isinstance(error, OSError) and _is_no_space(error):
        _silence()  # where it was the output, the interpreter would try once more at its end, and fail with a trace
        _complain(say("cli_no_space", problem=error.strerror))
        return 1
    if isinstance(error, MemoryError):
        _complain(say("cli_out_of_memory"))
        return 1
    problem = " ".join(str(error).split())[:300]
    _complain(say("cli_unexpected", kind=type(error).__name__, problem=problem))
    return 1


def _is_no_space(error: OSError) -> bool:
    """Whether a disk is full: the one behind ``cinquain … > file``, or that of temporary files."""
    from pipelines.home import NO_SPACE

    return error.errno in NO_SPACE


def _explain_usage(error: "TyperException") -> int:
    """A wrong command line: typer's complaint (the help page, where nothing was asked) and where the help is."""
    from apps.cli.terminal import say

    text = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        _complain(text)  # the page was printed while the text was made; the text itself is empty with rich
    else:
        context = getattr(error, "ctx", None)
        _complain(say("cli_usage", problem=text.rstrip("."), command=context.command_path if context else "cinquain"))
    return error.exit_code


def _complain(text: str) -> None:
    if text:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - the edge of the program
