"""The sandbox as the check of code generation: ``CodeGeneration(check=check_tests)``."""

from eval.sandbox.judging import judge
from pipelines.tasks.code_generation import CodeRequest

__all__ = ["check_tests"]

_LONGEST = 600


def check_tests(code: str, request: CodeRequest) -> str | None:
    """Run the tests of a request against code that a model wrote.

    Args:
        code: Finished code.
        request: Only Python with ``tests`` is judged; of the rest nothing can be said.

    Returns:
        The line that failed and what the code gave; None where nothing did.

    Raises:
        UnavailableError: As for ``judge``.
    """
    if request.language != "python" or not request.tests:
        return None
    outcome = judge(code, request.tests)
    if outcome.passed:
        return None
    return f"{outcome.status}: {outcome.detail}"[:_LONGEST]
