"""A folder of a public Git repository, at a commit that is known beforehand.

Git names everything by its content: the commit's name is the checksum of a list that has the checksum of each
file. So what is checked out at that name is what was pinned, or Git refuses it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from nextface.errors import FetchError, OutputError
from nextface.model_files.offer import Tell
from nextface.system.atomic import TEMPORARY, made_folder

SETTINGS = ("core.autocrlf=false", "http.lowSpeedLimit=1000", "http.lowSpeedTime=60")  # bytes a second, seconds


@dataclass(frozen=True)
class GitFolder:
    """See `nextface.model_files.offer.Source`. Only this folder's files, and one more, are fetched."""

    repository: str  # its URL
    commit: str  # forty hexadecimal digits
    folder: str  # in the repository
    licence: str  # a file of the repository's uppermost folder that goes with the copy
    size: str  # for people

    @property
    def described(self) -> str:
        """Protocol: what is fetched from where."""
        return f"the folder {self.folder} ({self.size}) from {self.repository}, commit {self.commit}"

    @property
    def by_hand(self) -> str:
        """Protocol: how to get it without this program."""
        return f"clone {self.repository} (or unpack its ZIP archive), take its folder {self.folder}"

    def fetch(self, folder: Path, tell: Tell) -> Path:
        """Protocol: `nextface.model_files.offer.Source.fetch`."""
        place = folder / Path(self.folder).name
        if place.exists():
            raise FetchError(f"{place} is there already. Move it away first, if it is to be fetched again.")
        if shutil.which("git") is None:
            raise FetchError("Fetching this needs the program git, which is not installed here.")
        made_folder(folder)
        try:
            with TemporaryDirectory(dir=folder, prefix=TEMPORARY) as temporary:
                self._check_out(temporary)
                fetched = Path(temporary) / self.folder
                shutil.copyfile(Path(temporary) / self.licence, fetched / self.licence)
                os.replace(fetched, place)
        except OSError as error:
            raise OutputError(f"{folder} cannot be written ({error.strerror or error}).") from error
        return place

    def _check_out(self, clone: str) -> None:
        self._git(clone, "init", "--quiet")
        self._git(clone, "remote", "add", "origin", self.repository)
        self._git(
            clone, "fetch", "--quiet", "--no-tags", "--depth=1", "--filter=blob:none", "origin", self.commit
        )
        self._git(clone, "sparse-checkout", "set", "--no-cone", f"/{self.folder}/", f"/{self.licence}")
        self._git(clone, "checkout", "--quiet", "--detach", self.commit)

    def _git(self, clone: str, *words: str) -> None:
        settings: Sequence[str] = [word for setting in SETTINGS for word in ("-c", setting)]
        ended = subprocess.run(
            ["git", "-C", clone, *settings, *words],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        )
        if ended.returncode:
            said = ended.stderr.decode(errors="replace").strip().splitlines()
            raise FetchError(
                f"{self.repository} at commit {self.commit} cannot be fetched; git {words[0]} says: "
                f"{said[-1] if said else 'nothing'}"
            )
