"""Errors that a user can mend, each with the exit code the command line returns for it."""

from __future__ import annotations


class NextFaceError(Exception):
    """What went wrong, where, and how to mend it, in words for the person at the keyboard.

    The command line prints the message without a traceback and exits with `exit_code`.
    """

    exit_code: int = 2


class ConfigError(NextFaceError):
    """A key, type or value of the configuration is wrong."""


class PhotoError(NextFaceError):
    """The photo is missing, unreadable, damaged, too large or too small."""


class VideoError(NextFaceError):
    """The film is missing, unreadable, empty, too large or too short."""


class FaceNotFoundError(NextFaceError):
    """No usable face was found in the photo."""


class CameraError(NextFaceError):
    """What is said of cameras contradicts itself or the photos, or is of a kind that is not known."""


class BatchError(NextFaceError):
    """A list of photos, or the cluster that is to do them, cannot be used."""


class MissingPartError(NextFaceError):
    """A package, system library, model file or device that the request needs is not here."""


class FetchError(NextFaceError):
    """A file cannot be fetched, is not the one that was promised, or was not wanted after all."""


class ModelError(NextFaceError):
    """A face model's parts contradict each other, or its values make no face."""


class OutputError(NextFaceError):
    """A result cannot be written."""


class ResultError(NextFaceError):
    """A folder is no result, is of another version, or a file in it is missing or damaged."""


class ImplausibleFitError(NextFaceError):
    """What was fitted cannot be a face: the input says something else than it seems to."""


class CheckpointError(NextFaceError):
    """A checkpoint cannot be read, or does not fit this run."""


class LightError(NextFaceError):
    """A file is no light, or holds values that no light has."""


class CurvesError(NextFaceError):
    """A file is no table of expressions over time."""


class RendererError(NextFaceError):
    """A renderer's process died, hung or ran out of memory; another attempt may go well."""

    exit_code = 1


class TooLittleMemoryError(NextFaceError):
    """The machine has too little memory for what was asked; the last good checkpoint is kept."""


class DivergedError(NextFaceError):
    """A loss or parameter became NaN or infinite; the last good checkpoint is kept."""

    exit_code = 1


class Interrupted(NextFaceError):  # noqa: N818 - nothing went wrong
    """The person at the keyboard stopped the run; the message says how to resume it."""

    exit_code = 130
