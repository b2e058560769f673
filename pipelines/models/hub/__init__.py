"""Models of the Hugging Face Hub: found, pinned, fetched whole, or refused in one sentence."""
