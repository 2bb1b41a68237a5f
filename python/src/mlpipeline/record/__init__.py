"""What was done and decided: results, the run record, the hash-chained ledger."""
