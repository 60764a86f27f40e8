"""Configuration: every key's type, default, unit, range and meaning, written once, and the INI reader over it.

To add, rename or remove a key, edit its line in `Config` and run `nextface config > configs/optimConfig.ini`.
A key that disappears, or whose unit or normalisation changes, also gets a line in `RETIRED_KEYS`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from nextface.errors import ConfigError
from nextface.export.registry import export_formats
from nextface.models.registry import face_models
from nextface.system.python import command
from renderers.registry import backends

Value = bool | int | float | str


NOTHING = "none"  # what a key of several words says where it names none of them


@dataclass(frozen=True)
class KeyInfo:
    """What a key means and which values it takes; its type is the type of its default."""

    help: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[Value, ...] = ()
    parts: tuple[str, ...] = ()  # words of which a text may name several, with commas; or none
    section: str = ""  # title of the group of keys that starts here

    def allowed(self) -> str:
        """The allowed values in words, empty where every value of the type will do."""
        if self.choices:
            return "one of " + ", ".join(map(_format, self.choices))
        if self.parts:
            return f"{NOTHING}, or some of {', '.join(self.parts)}, with commas"
        if math.isfinite(self.low) and math.isfinite(self.high):
            return f"{_format(self.low)} to {_format(self.high)}"
        return f"at least {_format(self.low)}" if math.isfinite(self.low) else ""


def _key(default: Any, help: str, **info: Any) -> Any:
    return field(default=default, metadata={"info": KeyInfo(help, **info)})


def _named(what: str, lines: Mapping[str, str]) -> str:
    """Help that names every choice with a line of its own."""
    return f"{what}: {', '.join(f'{name} ({line})' for name, line in lines.items())}."


def _weight(default: float, help: str, **info: Any) -> Any:
    return _key(default, help, low=0.0, high=1e6, **info)


@dataclass(frozen=True)
class Config:
    """All settings of a run. Field names are the INI keys; the values here are the defaults.

    Raises
    ------
    ConfigError: when a value has the wrong type or is out of range.
    """

    device: str = _key(
        "auto",
        "Where to compute. auto takes CUDA where there is a working one, else the CPU.",
        choices=("auto", "cpu", "cuda"),
        section="Where and how to run",
    )
    renderer: str = _key(
        "mitsuba",
        _named("What draws the face", {name: backend.help for name, backend in backends().items()}),
        choices=tuple(backends()),
    )
    rednerPython: str = _key(
        "auto", "Python 3.8 for redner's environment: the path of one, or auto to look for it."
    )
    threads: int = _key(
        0,
        "CPU threads of the renderer. 0 takes every core that this process may use, or one for vertex.",
        unit="threads",
        low=0,
        high=1024,
    )
    seed: int = _key(0, "Seed of all random numbers.", low=0, high=2**31 - 1)
    deterministic: bool = _key(False, "Repeat a run to the last bit, on one thread of the CPU (slower).")
    verbose: bool = _key(False, "Print all settings at the start.")

    morphableModel: str = _key(
        "open",
        _named("Face model", {name: model.help for name, model in face_models().items()}),
        choices=tuple(face_models()),
        section="Face model",
    )
    path: str = _key("baselMorphableModel", "Folder of face model files that you obtain yourself.")
    textureResolution: int = _key(
        512, "Width and height of the reflectance maps.", unit="pixels", choices=(256, 512, 1024, 2048)
    )

    landmarksDetectorType: str = _key(
        "mediapipe",
        "Landmark detector: mediapipe (478 points), opencv (the same network without the mediapipe package) or "
        "fan (68 points, the face-alignment package).",
        choices=("mediapipe", "opencv", "fan"),
        section="Photo and camera",
    )
    maxResolution: int = _key(
        256,
        "Longest side of the cropped photo that is fitted. Photos are never enlarged.",
        unit="pixels",
        low=64,
        high=4096,
    )
    focalLength35mm: float = _key(
        50.0,
        "Focal length as 35 mm equivalent, for photos whose EXIF tells none; the default stands for unknown.",
        unit="mm, 35 mm equivalent",
        low=8.0,
        high=1200.0,
    )
    optimizeFocalLength: bool = _key(True, "Refine the focal length around its starting value.")

    bands: int = _key(
        9,
        "Spherical-harmonics bands of the light: bands^2 coefficients a colour.",
        low=1,
        high=12,
        section="Light",
    )
    envMapRes: int = _key(
        64, "Height of the environment map; it is twice as wide.", unit="pixels", low=32, high=1024
    )

    maxBounces: int = _key(
        2,
        "Longest light path; 1 is direct light with shadows, 2 adds what skin sends to skin (not in vertex).",
        unit="bounces",
        low=1,
        high=16,
        section="Ray tracing",
    )
    visibilityGradients: bool = _key(
        False,
        "Let stage 2 feel how outlines move and, in mitsuba, shadows (a quarter slower; in redner more).",
    )
    lightTransfer: bool = _key(
        True,
        "While shape and pose stand still, trace rays once and then draw by matrix products, without noise "
        "(mitsuba and redner).",
    )
    rtTrainingSamples: int = _key(8, "Light paths while fitting.", unit="samples a pixel", low=2, high=4096)
    rtSamples: int = _key(
        512,
        "Light paths of the final picture; the others beside it take half of them.",
        unit="samples a pixel",
        low=1,
        high=65536,
    )

    iterStep1: int = _key(
        50,
        "Stage 1, pose and expression from landmarks: most least-squares iterations.",
        unit="iterations",
        low=1,
        high=100_000,
        section="Stages",
    )
    iterStep2: int = _key(
        150,
        "Stage 2, identity, expression, statistical albedo, light and pose.",
        unit="iterations",
        low=0,
        high=100_000,
    )
    iterStep3: int = _key(
        100,
        "Stage 3, reflectance maps texel by texel: most iterations. Without noise it ends when it stalls.",
        unit="iterations",
        low=0,
        high=100_000,
    )

    weightLandmarks: float = _weight(
        5.0,
        "Landmarks (stage 2): mean squared distance relative to the face and to what detectors err.",
        section="Weights of normalised terms: means, independent of photo, map and mesh size",
    )
    weightIdentity: float = _weight(
        1.5, "Identity prior: squared standard deviations, summed, per hundred coefficients."
    )
    weightExpression: float = _weight(
        12.0, "Expression prior: mean squared distance from what the detector lets expect."
    )
    weightAlbedo: float = _weight(0.15, "Statistical albedo prior: mean squared standard deviations.")
    weightLight: float = _weight(0.2, "Light prior: how much the light may vary with direction and colour.")
    weightDiffuseSymmetry: float = _weight(0.4, "Diffuse map: left-right symmetry.")
    weightDiffuseConsistency: float = _weight(0.4, "Diffuse map: closeness to stage 2's colours.")
    weightDiffuseSmoothness: float = _weight(20.0, "Diffuse map: smoothness; edges are kept.")
    weightSpecularSymmetry: float = _weight(0.02, "Specular map: left-right symmetry.")
    weightSpecularConsistency: float = _weight(0.02, "Specular map: closeness to stage 2's values.")
    weightSpecularSmoothness: float = _weight(0.3, "Specular map: smoothness.")
    weightRoughnessSymmetry: float = _weight(0.3, "Roughness map: left-right symmetry.")
    weightRoughnessConsistency: float = _weight(0.3, "Roughness map: closeness to stage 2's values.")
    weightRoughnessSmoothness: float = _weight(1.0, "Roughness map: smoothness.")

    keyFrames: int = _key(
        8,
        "Frames of a film that are reconstructed together: for the person, maps, lens and main light.",
        unit="frames",
        low=1,
        high=64,
        section="Film",
    )
    weightMotion: float = _weight(
        1.0, "Frames of a film: how little velocities of head and face change; 0 fits each frame by itself."
    )

    saveExr: bool = _key(True, "Write the light as OpenEXR beside its PNG preview.", section="Output")
    exportFormats: str = _key(
        NOTHING,
        _named(
            "Also export into the folder export", {name: one.help for name, one in export_formats().items()}
        ),
        parts=tuple(export_formats()),
    )
    report: bool = _key(
        True, "Also write report.html, which shows everything and the head in 3D (2 seconds, 3 MB)."
    )
    saveIntermediateStage: bool = _key(False, "Also write the results of stages 1 and 2.")
    debugFrequency: int = _key(
        0,
        "Write debug pictures and meshes every so many iterations; 0 writes none.",
        unit="iterations",
        low=0,
        high=100_000,
    )

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            _check(name, value, where="Config")
        if self.deterministic and self.device == "cuda":
            raise ConfigError(
                "deterministic = True with device = cuda: a GPU adds numbers up in another order in every run. "
                "Set device = cpu or auto, or deterministic = False."
            )

    @classmethod
    def from_file(cls, path: str | Path) -> Config:
        """The defaults, changed by the `key = value` lines of an INI file.

        Section headers are allowed and mean nothing; `#` and `;` start comments, at a line's start or after
        a space; values may be quoted.

        Raises
        ------
        ConfigError: when the file cannot be read, or a key or value is wrong; names file and line.
        """
        values: dict[str, Value] = {}
        lines: dict[str, int] = {}
        for number, written, text in _read_ini(Path(path)):
            where = f"{path}, line {number}"
            key, value = _parse(written, text, where)
            if key in lines:
                raise ConfigError(f"{where}: {key} was already set in line {lines[key]}. Remove one of them.")
            values[key], lines[key] = value, number
        return replace(cls(), **values)  # type: ignore[arg-type]

    def with_overrides(
        self, overrides: Mapping[str, object] | Iterable[str], where: str = "override"
    ) -> Config:
        """This configuration with some keys changed: {"key": value}, or ["key=value"] as on the command line.

        `where` tells the reader of an error where the settings come from.

        Raises
        ------
        ConfigError: when a key or value is wrong.
        """
        values: dict[str, Value] = {}
        pairs = (
            overrides.items() if isinstance(overrides, Mapping) else (_split(pair, where) for pair in overrides)
        )
        for written, text in pairs:
            key, value = _parse(written, str(text), where)
            values[key] = value
        return replace(self, **values)  # type: ignore[arg-type]

    @property
    def draws_with_torch(self) -> bool:
        """Whether the renderer draws with torch, on torch's device and threads."""
        return backends()[self.renderer].draws_with_torch

    @property
    def exports(self) -> tuple[str, ...]:
        """The formats that `exportFormats` names."""
        return _words(self.exportFormats)

    def describe(self) -> str:
        """Every key with value, default, unit, range and meaning, itself a valid INI file."""
        lines = ["# Settings of NextFace. Lines that are left out keep their defaults."]
        for name, value in asdict(self).items():
            info = KEYS[name]
            if info.section:
                lines += ["", f"[{info.section}]"]
            facts = [info.unit, info.allowed(), f"default {_format(DEFAULTS[name])}"]
            lines += [
                "",
                f"# {info.help}",
                f"# ({'; '.join(filter(None, facts))})",
                f"{name} = {_written(value)}",
            ]
        return "\n".join(lines) + "\n"


KEYS: dict[str, KeyInfo] = {item.name: item.metadata["info"] for item in fields(Config)}
DEFAULTS: dict[str, Value] = {item.name: item.default for item in fields(Config)}  # type: ignore[misc]

OLD_SPELLINGS = {"lamdmarksDetectorType": "landmarksDetectorType"}

_NORMALISED = "the term is now a mean that does not depend on photo, map and mesh size"
RETIRED_KEYS: dict[str, tuple[str | None, str]] = {  # old key -> (new key, reason)
    "camFocalLength": (
        "focalLength35mm",
        "it is now in mm, 35 mm equivalent, because pixels change with the crop",
    ),
    "weightLandmarksLossStep2": ("weightLandmarks", _NORMALISED),
    "weightLandmarksLossStep3": (None, "stage 3 changes reflectance alone, so landmarks cannot act there"),
    "weightShapeReg": ("weightIdentity", _NORMALISED),
    "weightExpressionReg": ("weightExpression", _NORMALISED),
    "weightAlbedoReg": ("weightAlbedo", _NORMALISED),
    **{
        f"weight{layer}{term}Reg": (f"weight{layer}{term}", _NORMALISED)
        for layer in ("Diffuse", "Specular", "Roughness")
        for term in ("Symmetry", "Consistency", "Smoothness")
    },
    "smoothSh": (None, "the exported light is now exactly the light that was fitted"),
    "trimPca": (None, "the embedded face model is small enough to be used whole"),
    "tracker": (None, "it never had an effect"),
}


def _words(text: str) -> tuple[str, ...]:
    """The words of a text with commas, each once; none where it says NOTHING."""
    words = dict.fromkeys(word.strip() for word in text.split(","))
    return () if list(words) == [NOTHING] else tuple(words)


def _format(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _read_ini(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, key and bare value of every setting; configparser does not tell lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: this is not a text file in UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"{path}: the configuration cannot be read ({error.strerror}).") from None
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line[0] in "#;[":
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise ConfigError(f"{path}, line {number}: expected 'key = value', found '{line}'.")
        quoted = re.fullmatch(r"""(["'])(.*?)\1\s*([#;].*)?""", value.strip())
        yield number, key.strip(), quoted[2] if quoted else re.sub(r"(^|\s)[#;].*", "", value).strip()


def _written(value: Value) -> str:
    """A value as `_read_ini` reads it back: quoted where it would else lose a part of itself."""
    text = _format(value)
    if not re.search(r"""^["'\s]|\s[#;]|^[#;]|\s$""", text):
        return text
    mark = "'" if '"' in text else '"'
    return f"{mark}{text}{mark}"


def _split(text: str, where: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"{where}: expected key=value, found '{text}'.")
    return key.strip(), value.strip()


def _parse(written: str, text: str, where: str) -> tuple[str, Value]:
    """Key and typed value of a setting as somebody wrote it, `where` saying where."""
    key = OLD_SPELLINGS.get(written, written)
    if key in RETIRED_KEYS:
        new, reason = RETIRED_KEYS[key]
        advice = f"Use {new} instead (default {_format(DEFAULTS[new])})." if new else "Remove it."
        raise ConfigError(f"{where}: the key {key} is gone: {reason}. {advice}")
    if key not in KEYS:
        raise ConfigError(f"{where}: unknown key '{key}'.{_nearest(key)}")
    value = _convert(text, type(DEFAULTS[key]))
    if value is None:
        raise ConfigError(f"{where}: {key} must be {_wanted(key)}, not '{text}'.")
    _check(key, value, where)
    return key, value


def _nearest(key: str) -> str:
    by_lower_case = {name.lower(): name for name in KEYS}
    close = get_close_matches(key.lower(), by_lower_case, n=1, cutoff=0.5)
    guess = f" Did you mean {by_lower_case[close[0]]}?" if close else ""
    return f"{guess} `{command('config')}` lists all keys."


def _convert(text: str, wanted: type) -> Value | None:
    """`text` as a value of the wanted type, or None where it is not one."""
    if wanted is bool:
        words = {"true": True, "yes": True, "on": True, "1": True}
        words |= {"false": False, "no": False, "off": False, "0": False}
        return words.get(text.lower())
    if wanted is str:
        return text or None
    try:
        number = float(text)
    except ValueError:
        return None
    if wanted is float:
        return number
    return int(number) if number.is_integer() else None


def _wanted(key: str) -> str:
    words = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
    allowed = KEYS[key].allowed()
    if KEYS[key].choices:
        return allowed
    return f"{words[type(DEFAULTS[key])]}{f', {allowed}' if allowed else ''}"


def _check(key: str, value: Value, where: str) -> None:
    """Raise ConfigError unless `value` has the key's type and lies in its range."""
    info, wanted = KEYS[key], type(DEFAULTS[key])
    fits = (
        isinstance(value, int | float) and not isinstance(value, bool)
        if wanted is float
        else type(value) is wanted
    )
    if fits and info.choices:
        fits = value in info.choices
    elif fits and info.parts:
        fits = set(_words(str(value))) <= set(info.parts)
    elif fits and wanted in (int, float):
        fits = info.low <= value <= info.high  # type: ignore[operator]
    if not fits:
        guess = ""
        if info.choices and isinstance(value, str):
            close = get_close_matches(value, [str(choice) for choice in info.choices], n=1)
            guess = f" Did you mean {close[0]}?" if close else ""
        raise ConfigError(f"{where}: {key} must be {_wanted(key)}, not {value!r}.{guess}")
