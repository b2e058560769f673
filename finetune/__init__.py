"""Teaching a model a task: data with a ledger, LoRA training, a merge with a parity gate; not in this version."""
