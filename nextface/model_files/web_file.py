"""One file from the web, of which the content is known beforehand."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from nextface.errors import FetchError
from nextface.model_files.offer import Tell
from nextface.system.atomic import replacing

PATIENCE = 30.0  # seconds without a byte
BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class WebFile:
    """See `nextface.model_files.offer.Source`."""

    url: str
    size: int  # bytes
    sha256: str  # in hexadecimal digits
    name: str  # in the user's folder

    @property
    def described(self) -> str:
        """Protocol: what is fetched from where."""
        return f"{self.size / 1e6:.0f} MB from {self.url}"

    @property
    def by_hand(self) -> str:
        """Protocol: how to get it without this program."""
        return f"download {self.url} with a browser (its SHA-256 is {self.sha256}), name it {self.name}"

    def fetch(self, folder: Path, tell: Tell) -> Path:
        """Protocol: `nextface.model_files.offer.Source.fetch`."""
        place = folder / self.name
        if place.exists():
            self._compare(place)
            tell(f"{place} is there already, and is the right file.")
            return place
        with replacing(place) as temporary:
            self._receive(temporary)
        return place

    def _compare(self, place: Path) -> None:
        from nextface.model_files.cache import checksum  # brings NumPy, which the command line starts without

        try:
            same = checksum(place) == self.sha256
        except OSError as error:
            raise FetchError(f"{place} is there already and cannot be read ({error.strerror}).") from error
        if not same:
            raise FetchError(f"{place} is there already, and is another file. Move it away first.")

    def _receive(self, temporary: Path) -> None:
        """Write the file, no byte more than it has; its checksum is compared before it is kept."""
        digest, received = hashlib.sha256(), 0
        request = Request(self.url, headers={"User-Agent": "nextface"})
        try:
            response = urlopen(request, timeout=PATIENCE)
        except HTTPError as error:
            raise FetchError(f"{self.url} answers {error.code} {error.reason}.") from error
        except (OSError, HTTPException) as error:
            raise FetchError(f"{self.url} cannot be reached ({_reason(error)}).") from error
        with response, temporary.open("wb") as file:
            while True:
                try:
                    block = response.read(BLOCK)
                except (OSError, HTTPException) as error:
                    raise FetchError(f"{self._broke_off(received)} ({_reason(error)}).") from error
                if not block:
                    break
                received += len(block)
                if received > self.size:
                    raise FetchError(f"{self.url} sends more than the {self.size:,} bytes that the file has.")
                digest.update(block)
                file.write(block)
        if received < self.size:
            raise FetchError(f"{self._broke_off(received)}.")
        if digest.hexdigest() != self.sha256:
            raise FetchError(
                f"{self.url} sends another file than is pinned: its SHA-256 is {digest.hexdigest()}, "
                f"not {self.sha256}. Nothing of it was kept."
            )

    def _broke_off(self, received: int) -> str:
        return f"{self.url} broke off after {received:,} of {self.size:,} bytes"


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error) or type(error).__name__
