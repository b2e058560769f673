"""Run programs that nobody trusts, without harm, and so that none passes that is not right."""

from eval.sandbox.checking import check_tests, judged_code_generation
from eval.sandbox.judging import Limits, Outcome, Status, judge, required_tier, run
from eval.sandbox.tiers import available_tier, refusal

__all__ = [
    "Limits",
    "Outcome",
    "Status",
    "available_tier",
    "check_tests",
    "judge",
    "judged_code_generation",
    "refusal",
    "required_tier",
    "run",
]
