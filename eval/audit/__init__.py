"""The audit: what a model risks, or an adapter beside its base; by category, and with what it cannot show."""
