"""Reads the code blocks of a page: commands (``sh``) and files (any language followed by a file name)."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """``file`` is empty for commands."""

    text: str
    file: str = ""


def blocks(page: str) -> list[Block]:
    """The blocks of a page that a reader is to type, in order."""
    found = []
    for language, file, text in re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL):
        if language == "sh" or file:
            found.append(Block(text, file))
    return found


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
