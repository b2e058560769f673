"""For ``evaluate.load("eval/metrics/role_leak")``."""

from eval.metrics import interface

__all__ = ["RoleLeak"]


class RoleLeak(interface.RowMetric):
    """How many replies hold marks of a chat template or another speaker's turn, in percent."""

    key = "role_leak"
    columns = ("conversations",)
