"""From a local pipeline to a Space on the Hub: stage, verify, upload, watch."""
