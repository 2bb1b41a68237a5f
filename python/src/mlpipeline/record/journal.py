"""The service's release journal: what a worker was about to do, written with fsync before it does it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlpipeline.core.release import State
from mlpipeline.errors import EnvironmentFault, Held
from mlpipeline.record.files import write_atomically


class Journal:
    """Reads and writes one service's journal file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def exists(self) -> bool:
        """Whether anything was ever written down here."""
        return self._path.is_file()

    def read(self) -> State:
        """The newest state; an empty one before the first release.

        Raises:
            EnvironmentFault: The file is not a journal. It is never guessed at: the target's word and a person decide.
        """
        if not self._path.is_file():
            return State()
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=State)
        except msgspec.DecodeError as error:
            raise EnvironmentFault(
                "the release journal cannot be read",
                facts={"journal": self._path, "found": error},
                likely="someone edited the file, or a disk lost data",
                tries=(
                    "mlpipeline status    # what is live, from the target itself",
                    f"mv {self._path} {self._path}.broken    # forgets the release in progress and what is quarantined",
                ),
            ) from error

    def write(self, state: State, *, token: int) -> State:
        """Replaces the content atomically and returns it with the token.

        Args:
            token: The writer's fencing token; a greater one in the file means that another worker took over.

        Raises:
            Held: A newer worker wrote already.
        """
        newest = self.read().token
        if newest > token:
            raise Held(
                "a newer worker took over this service",
                facts={"journal": self._path, "token": f"{token}, the newer one has {newest}"},
                tries=("mlpipeline status",),
            )
        written = msgspec.structs.replace(state, token=token)
        write_atomically(self._path, msgspec.json.format(msgspec.json.encode(written)) + b"\n")
        return written
