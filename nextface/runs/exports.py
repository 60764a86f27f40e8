"""A person into files of several formats, each all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nextface.errors import ConfigError
from nextface.export.registry import ExportOptions, export_formats
from nextface.person.reconstruction import Reconstruction
from nextface.system.atomic import filling

EXPORTS = "export"  # the folder in a result folder where exports go


def check_formats(names: Sequence[str]) -> None:
    """Refuse formats that cannot be written here, before any work.

    Raises
    ------
    ConfigError: for a name that no format has.
    MissingPartError: when a format's package is not here; the message says how to get it.
    """
    for name in names:
        if name not in export_formats():
            raise ConfigError(f"There is no format {name}; choose of: {', '.join(export_formats())}.")
        export_formats()[name].check()


def export(
    reconstruction: Reconstruction,
    names: Sequence[str],
    output: Path,
    stem: str,
    options: ExportOptions | None = None,
) -> list[Path]:
    """Write a person in some formats; returns the main file or folder of each.

    Parameters
    ----------
    output: a folder, which gets `stem` with each format's ending, and a folder for each format of many files.
        With one format, its file (a path with the format's ending) or the very folder of its files.
    options: by default the first photo, maps as they were fitted, PNGs of 8 bits.

    Raises
    ------
    ConfigError: for a format or a photo that there is not.
    MissingPartError: when a format's package is not here.
    OutputError: when something cannot be written; of that format nothing is left.
    """
    options = options or ExportOptions()
    check_formats(names)
    if not 0 <= options.photo < len(reconstruction):
        count = len(reconstruction)
        raise ConfigError(f"There is no photo {options.photo}: the result has {count}, counted from 0.")
    written, person = [], reconstruction.to("cpu")
    for name in names:
        chosen = export_formats()[name]
        if not chosen.suffix:
            path = output if len(names) == 1 else output / name
        elif len(names) == 1 and output.suffix.lower() == chosen.suffix:
            path = output
        else:
            path = output / f"{stem}{chosen.suffix}"
        folder = path if not chosen.suffix else path.parent
        with filling(folder) as temporary:
            chosen.write(temporary / path.name if chosen.suffix else temporary, person, options)
        written.append(path)
    return written
