"""Run programs that nobody trusts, without harm, and so that none passes that is not right."""

from eval.sandbox.judging import Limits, Outcome, judge, required_tier, run
from eval.sandbox.tiers import available_tier

__all__ = ["Limits", "Outcome", "available_tier", "judge", "required_tier", "run"]
