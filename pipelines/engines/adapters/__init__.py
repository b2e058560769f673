"""Adapters in memory beside one base model, chosen for each request."""
