"""A new plugin's distribution, made from templates: it works as it is, and its tests hold it against its contract."""

import importlib.util
import keyword
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import attrs
import jinja2

from mmseqdiff.errors import UserError
from mmseqdiff.host import Host
from mmseqdiff.values import closest

__all__ = ["KINDS", "Kind", "create"]

_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_TEMPLATES = Path(__file__).parent / "templates"


@attrs.frozen
class Kind:
    """What the template of a kind makes.

    Attributes:
        contract: the name of its contract class.
        about: one line on what the new plugin does, for its listing.
        use: how it is used, in a recipe or on the command line.
    """

    contract: str
    about: str
    use: str


KINDS: Mapping[str, Kind] = {
    "modality": Kind(
        "ModalityContract",
        "a sensor's waveform, from .wav or .npz",
        '[modalities.{{ name }}]\nname = "{{ name }}"\nrate = 32',
    ),
    "policy": Kind(
        "PolicyContract",
        "even and odd segments differ, or all cells share a level",
        'policy = { name = "{{ name }}", alternating = 0.5 }',
    ),
    "task": Kind("TaskContract", "every other stretch of time is given", "mmseqdiff plan {{ name }}:period=1/2"),
    "sampler": Kind("SamplerContract", "DDIM with a share of fresh noise", "mmseqdiff generate joint --sampler {{ name }}:fresh=0.2 …"),
    "plan": Kind("PlanContract", "levels spaced by a power, denser near clean", "mmseqdiff plan joint --plan {{ name }}:steps=20,power=2"),
    "guidance": Kind("GuidanceContract", "estimates held within a limit", "mmseqdiff generate joint --guidance {{ name }}:limit=3 …"),
    "backbone": Kind("BackboneContract", "cells mixed through their mean", '[backbone]\nname = "{{ name }}"\nwidth = 64'),
    "codec": Kind("CodecContract", "blocks of a waveform, scaled", 'codec = { name = "{{ name }}", block = 8 }'),
    "metric": Kind("MetricContract", "how far generated frames are from the real ones", 'mmseqdiff plugins metric  # "{{ name }}" is listed, and evaluated with the others'),
}  # fmt: skip
"""Kind → what its template makes."""


def create(host: Host, kind: str, name: str, out: Path) -> Path:
    """Writes the distribution ``mmseqdiff-NAME`` into a new folder.

    Args:
        host: knows which names are taken.
        kind: one of :data:`KINDS`.
        name: of the plugin: lower-case words of letters and digits, joined by ``-`` or ``_``.
        out: where the folder will be.

    Returns:
        The folder.

    Raises:
        UserError: if there is no template of that kind, the name is no name or taken, or the folder exists; the message
            says which.
    """
    if kind not in KINDS:
        raise UserError(f"there is no template for the kind {kind!r}; {closest(kind, KINDS)}")
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} is no name for a plugin: use lower-case letters and digits, words joined by '-' or '_'"
        )
    words = re.split("[-_]", name)
    values = {
        "kind": kind,
        "name": name,
        "package": f"mmseqdiff_{'_'.join(words)}",
        "distribution": f"mmseqdiff-{'-'.join(words)}",
        "module": f"{'_'.join(words)}_{kind}",
        "cls": "".join(word.capitalize() for word in words),
        **attrs.asdict(KINDS[kind]),
    }
    _refuse_taken(host, kind, name, values["cls"])
    if importlib.util.find_spec(values["package"]):
        raise UserError(
            f"{name!r} would make the distribution {values['distribution']}, which is installed: choose another name"
        )
    folder = Path(out) / values["distribution"]
    if folder.exists():
        raise UserError(f"{folder} exists already: nothing was written; remove it, or choose another --out or name")
    files = _render(values)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        made = Path(temporary) / folder.name
        for path, text in files.items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_text(text, encoding="utf-8")
        try:
            os.rename(made, folder)  # refuses a folder that has come to be meanwhile, unless it is empty
        except OSError as error:
            shutil.rmtree(made, ignore_errors=True)
            raise UserError(f"{folder} cannot be written: {error.strerror}") from None
    return folder


def _refuse_taken(host: Host, kind: str, name: str, cls: str) -> None:
    for entry in host.registrations(kind):
        if entry.name == name:
            raise UserError(f"there is a {kind} named {name!r} already, of {entry.origin}: choose another name")
    if keyword.iskeyword(cls) or cls in _words(kind):
        raise UserError(f"a plugin cannot be named {name!r}: its class {cls} would hide what it needs itself")


def _words(kind: str) -> set[str]:
    """What the files of a template import and define."""
    texts = [(_TEMPLATES / kind / file).read_text(encoding="utf-8") for file in ("plugin.py.jinja", "test.py.jinja")]
    lines = re.findall(r"^(?:from|import|class|def) .*$", "\n".join(texts), re.MULTILINE)
    return {word for line in lines for word in re.findall(r"\w+", line.removeprefix("class Test"))}


def _render(values: Mapping[str, str]) -> dict[str, str]:
    """Path in the new folder → text."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    use = templates.from_string(values["use"]).render(values)
    sources = {
        "pyproject.toml": "pyproject.toml.jinja",
        "README.md": "README.md.jinja",
        f"{values['package']}/__init__.py": "__init__.py.jinja",
        f"{values['package']}/{values['module']}.py": f"{values['kind']}/plugin.py.jinja",
        f"tests/test_{values['module']}.py": f"{values['kind']}/test.py.jinja",
    }
    return {path: templates.get_template(source).render({**values, "use": use}) for path, source in sources.items()}
