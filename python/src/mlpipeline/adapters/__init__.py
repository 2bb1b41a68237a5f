"""One package per outside system, each the only importer of its client. No adapter imports another."""
