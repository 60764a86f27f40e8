"""Pages from templates, whose values are escaped, and from this package's own files, which are not."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from nextface.system.versions import versions

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


@cache
def own(name: str) -> Markup:
    """A file of this package's data folder, to be put into a page as it is."""
    from markupsafe import Markup

    return Markup(_text(name))


def filled(template: str, **values: Any) -> str:
    """A template of the data folder with its values, and with this program's version."""
    version = versions().get("nextface", "")
    return _environment().get_template(template).render(version=version, **values)


@cache
def _environment() -> Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _text(name: str) -> str:
    return (files("nextface.export.report") / "data" / name).read_text(encoding="utf-8")
