"""Raw rows in, rows to train on out, and a ledger that accounts for every one of them."""
