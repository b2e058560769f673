"""The sandbox as the check of code generation."""

from eval.sandbox.judging import judge
from pipelines.tasks.code_generation import CodeGeneration, CodeRequest

__all__ = ["check_tests", "judged_code_generation"]

_LONGEST = 600


def judged_code_generation() -> CodeGeneration:
    """Code generation whose Python is run against the tests of the request; other languages are not run."""
    return CodeGeneration(check_tests, ("python",))


def check_tests(code: str, request: CodeRequest) -> str | None:
    """Run the tests of a request against code that a model wrote.

    Args:
        code: Finished code.
        request: Its ``tests`` are run, where there are any; Python.

    Returns:
        The line that failed and what the code gave; None where nothing did.

    Raises:
        UnavailableError: As for ``judge``.
    """
    if not request.tests:
        return None
    outcome = judge(code, request.tests)
    if outcome.passed:
        return None
    return f"{outcome.status}: {outcome.detail}"[:_LONGEST]
