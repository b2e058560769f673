"""Raw rows in, rows to train on out, and a ledger that accounts for every one of them.

``finetune.data.prepare.prepare`` does it; what it takes and gives is exported here.
"""

from finetune.data.config import DataConfig, Duplicates, Lengths, Source, Split
from finetune.data.ledger import Ledger
from finetune.data.row import Row

__all__ = ["DataConfig", "Duplicates", "Ledger", "Lengths", "Row", "Source", "Split"]
