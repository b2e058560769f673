"""Whether an adapter helped: answers to held-out rows, paired comparison with its base, what was copied, the card."""
