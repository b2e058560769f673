"""Encoder–decoder models: translation, summarization and text-to-text."""
