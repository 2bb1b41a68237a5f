"""DVC: what it recorded of the data files, read from its own files, and ``dvc pull`` through its command."""
