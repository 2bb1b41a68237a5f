"""Signing statements and checking signatures: ed25519 and ECDSA P-256, with a key from a file, a variable or a command."""
