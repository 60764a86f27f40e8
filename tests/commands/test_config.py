"""Configuration: one typed class, the INI reader over it, and errors that say where and what instead."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from nextface.config import DEFAULTS, KEYS, OLD_SPELLINGS, RETIRED_KEYS, Config
from nextface.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"


def write(folder: Path, text: str) -> Path:
    path = folder / "some.ini"
    path.write_text(text, encoding="utf-8")
    return path


def error_of(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        Config.from_file(write(folder, text))
    return str(caught.value)


def test_default_file_is_what_the_class_says() -> None:
    path = CONFIGS / "optimConfig.ini"
    assert Config.from_file(path) == Config()
    assert path.read_text(encoding="utf-8") == Config().describe(), (
        "run: nextface config > configs/optimConfig.ini"
    )


@pytest.mark.parametrize("name", ["optimConfigShadows.ini", "previewConfig.ini"])
def test_other_shipped_files_are_valid_and_differ(name: str) -> None:
    assert Config.from_file(CONFIGS / name) != Config()


def test_shadows_file_asks_for_more_symmetry_only() -> None:
    shadows, default = Config.from_file(CONFIGS / "optimConfigShadows.ini"), Config()
    for item in fields(Config):
        changed, usual = getattr(shadows, item.name), getattr(default, item.name)
        assert changed > usual if item.name.endswith("Symmetry") else changed == usual


def test_description_is_a_configuration(tmp_path: Path) -> None:
    config = Config(renderer="vertex", seed=7, saveExr=False, weightLight=0.25, path="my models/#1")
    assert Config.from_file(write(tmp_path, config.describe())) == config


def test_description_tells_everything() -> None:
    text = Config().describe()
    for name, info in KEYS.items():
        block = text[: text.index(f"\n{name} = ")].rsplit("\n\n", 1)[1]
        assert info.help in block
        assert info.unit in block
        assert "default " in block


def test_reads_what_the_original_wrote(tmp_path: Path) -> None:
    text = (
        "\ufeff# comment\n; another\n\n[section]\n"
        "device = 'cpu' # quoted, with a comment\n"
        '  path   =  "a # b"   # quotes keep the hash\n'
        "lamdmarksDetectorType = fan\n"
        "iterStep2 = 2000.0\n"
        "textureResolution = 1024\n"
        "saveExr = FALSE\n"
        "weightLight = 1e-2 # ten times more\n"
    )
    config = Config.from_file(write(tmp_path, text))
    assert (config.device, config.path, config.landmarksDetectorType) == ("cpu", "a # b", "fan")
    assert (config.iterStep2, config.textureResolution) == (2000, 1024)
    assert type(config.iterStep2) is int
    assert config.saveExr is False
    assert config.weightLight == 0.01


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("seed = 3 ; comment", "seed", 3),
        ("seed = 3\t;comment # and more", "seed", 3),
        ("device = 'cpu' ; quoted", "device", "cpu"),
        ("path = a;b#c", "path", "a;b#c"),
        ('path = "a ; b" ; quotes keep it', "path", "a ; b"),
    ],
)
def test_comments_after_values(tmp_path: Path, line: str, key: str, value: object) -> None:
    assert getattr(Config.from_file(write(tmp_path, line)), key) == value


@pytest.mark.parametrize("path", ["a ; b", "#a", "'a' b", " a", "it's a # b"])
def test_descriptions_quote_what_would_be_lost(tmp_path: Path, path: str) -> None:
    assert Config.from_file(write(tmp_path, Config(path=path).describe())).path == path


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("bandz = 9", ["unknown key 'bandz'", "Did you mean bands?"]),
        ("iterstep2 = 9", ["unknown key 'iterstep2'", "Did you mean iterStep2?"]),
        ("qqqqqq = 9", ["unknown key 'qqqqqq'", "nextface config"]),
        ("bands = nine", ["bands", "whole number", "1 to 12", "'nine'"]),
        ("bands = 2.5", ["bands", "whole number"]),
        ("bands = 1e400", ["bands", "whole number"]),
        ("bands = nan", ["bands", "whole number"]),
        ("bands = 13", ["bands", "1 to 12", "13"]),
        ("bands =", ["bands", "''"]),
        ("bands", ["key = value", "'bands'"]),
        ("textureResolution = 300", ["textureResolution", "256, 512, 1024, 2048", "300"]),
        ("renderer = mitsubi", ["renderer", "mitsuba, redner, vertex", "Did you mean mitsuba?"]),
        ("saveExr = perhaps", ["saveExr", "True or False"]),
        ("weightLight = -1", ["weightLight", "-1"]),
        ("weightLight = nan", ["weightLight", "nan"]),
        ("focalLength35mm = inf", ["focalLength35mm", "8 to 1200", "inf"]),
        ("seed = 2\nseed = 3", ["line 4", "seed", "line 3"]),
    ],
)
def test_errors_name_file_line_and_key(tmp_path: Path, line: str, words: list[str]) -> None:
    message = error_of(tmp_path, f"# first\n\n{line}\n")
    for word in [str(tmp_path / "some.ini"), "line ", *words]:
        assert word in message
    assert "line 3" in message


@pytest.mark.parametrize("old", RETIRED_KEYS)
def test_retired_keys_name_their_successor_and_its_default(tmp_path: Path, old: str) -> None:
    new, reason = RETIRED_KEYS[old]
    message = error_of(tmp_path, f"{old} = 1\n")
    assert old in message
    assert "line 1" in message
    assert reason in message
    if new is None:
        assert "Remove it." in message
    else:
        default = re.search(rf"Use {new} instead \(default (.+)\)\.", message)
        assert default is not None
        assert type(DEFAULTS[new])(default[1]) == DEFAULTS[new]


def test_key_tables_do_not_contradict_each_other() -> None:
    successors = {new for new, _ in RETIRED_KEYS.values() if new}
    assert successors | set(OLD_SPELLINGS.values()) <= set(KEYS)
    assert not (set(RETIRED_KEYS) | set(OLD_SPELLINGS)) & set(KEYS)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00binary", None])
def test_unreadable_files(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "some.ini"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        Config.from_file(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        Config.from_file(tmp_path)


def test_overrides() -> None:
    config = Config().with_overrides(["bands=3", "renderer = vertex", "path=a=b"])
    assert (config.bands, config.renderer, config.path) == (3, "vertex", "a=b")
    assert config.with_overrides({"bands": 4, "saveExr": False, "iterStep3": 20.0}) == Config(
        bands=4, renderer="vertex", path="a=b", saveExr=False, iterStep3=20
    )
    with pytest.raises(ConfigError, match="--set: expected key=value, found 'bands'"):
        config.with_overrides(["bands"], where="--set")


def test_python_values_are_checked_too() -> None:
    with pytest.raises(ConfigError, match="bands must be a whole number, 1 to 12, not 20"):
        Config(bands=20)
    with pytest.raises(ConfigError, match="seed must be a whole number"):
        Config(seed=True)
    with pytest.raises(ConfigError, match="deterministic = True with device = cuda"):
        Config(deterministic=True, device="cuda")
    with pytest.raises(FrozenInstanceError):
        Config().bands = 3  # type: ignore[misc]
