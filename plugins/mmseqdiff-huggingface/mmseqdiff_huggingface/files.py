"""Where a pretrained model's files lie, and what its ``config.json`` says.

    FOLDER                                    as save_pretrained writes it: config.json and safetensors
    FOLDER                                    as mmseqdiff keeps it: config.json, codec.safetensors, manifest.json
    hub:OWNER/NAME[/SUBFOLDER][@REVISION]     the Hugging Face hub, from its cache on this machine or else downloaded

A folder is never looked up on the hub: only a name with the prefix is. No pickle is loaded, and no code of a model's.
"""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmseqdiff.errors import CheckpointError
from mmseqdiff.train.checkpoint import load_group, load_into
from mmseqdiff.values import closest

__all__ = ["Pretrained", "find", "load", "read_configuration"]

CONFIGURATION = "config.json"
KEPT = "codec.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
INCIDENTAL = ("_name_or_path", "_diffusers_version", "transformers_version", "architectures", "torch_dtype", "dtype")
"""Entries of a configuration that say nothing of what the network computes."""

_HUB = re.compile(r"hub:(?P<name>[\w.-]+/[\w.-]+)(?:/(?P<subfolder>[\w./-]+))?(?:@(?P<revision>[\w./-]+))?")


class Pretrained(nn.Module):
    """What both kinds of codec share: a model from files, with its configuration as a part of its state.

    The configuration enters the state dict, hence the hash that a latent store is keyed by: two models with equal
    weights but another padding are two codecs.

    Attributes:
        model: the network, in float32 and evaluation mode, without gradients.
        configuration: of ``config.json``, as it stands there.
    """

    def __init__(self, model: nn.Module, configuration: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.configuration = dict(configuration)
        # A copy: weights that are mapped from a file would change with it, and they are aligned otherwise than those that
        # were read, which is enough for other rounding.
        self.load_state_dict({name: tensor.clone() for name, tensor in self.state_dict().items()}, assign=True)

    def get_extra_state(self) -> Tensor:
        """The configuration as bytes, without what is incidental."""
        relevant = {key: value for key, value in self.configuration.items() if key not in INCIDENTAL}
        return torch.tensor(list(json.dumps(relevant, sort_keys=True).encode()), dtype=torch.uint8, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Refuses the state of another configuration."""
        if not torch.equal(state.cpu(), self.get_extra_state()):
            raise CheckpointError(f"these weights belong to another {CONFIGURATION} than the one beside them")

    def save_configuration(self, folder: Path) -> None:
        """Writes ``config.json``: with the weights beside it, all that building this codec again needs."""
        text = json.dumps(self.configuration, indent=2, sort_keys=True)
        (Path(folder) / CONFIGURATION).write_text(f"{text}\n", encoding="utf-8")


def find(model: str, weights: str) -> Path:
    """The folder of a model's files.

    Args:
        model: a folder, or a name of the hub: see this module's text.
        weights: the stem of its weight files, ``"model"`` for example.

    Raises:
        ValueError: if there is no such folder, or the name does not read so; the message says which it was taken for.
    """
    if not model.startswith("hub:"):
        folder = Path(model).expanduser()
        if not folder.is_dir():
            raise ValueError(
                f"there is no folder {model!r} on this machine; a model of the Hugging Face hub is named hub:OWNER/NAME"
            )
        return folder
    parts = _HUB.fullmatch(model)
    if parts is None:
        raise ValueError(f"{model!r} should read hub:OWNER/NAME, hub:OWNER/NAME/SUBFOLDER or hub:OWNER/NAME@REVISION")
    return _from_hub(parts["name"], parts["subfolder"] or "", parts["revision"], weights)


def _from_hub(name: str, subfolder: str, revision: str | None, weights: str) -> Path:
    import huggingface_hub

    inside = f"{subfolder}/" if subfolder else ""
    wanted = [f"{inside}{CONFIGURATION}"]
    if not _on_meta():
        wanted += [
            f"{inside}{weights}{ending}" for ending in (".safetensors", "-*.safetensors", ".safetensors.index.json")
        ]
    for cached in (True, False):
        if not cached:
            print(f"downloading {name} from the Hugging Face hub", file=sys.stderr)
        try:
            root = huggingface_hub.snapshot_download(
                name, revision=revision, allow_patterns=wanted, local_files_only=cached
            )
        except Exception as error:
            if cached:
                continue
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ValueError(f"{name} could not be had from the Hugging Face hub: {reason}") from error
        folder = Path(root) / subfolder
        if not cached or ((folder / CONFIGURATION).is_file() and (_on_meta() or _complete(folder, weights))):
            break
    return folder


def _on_meta() -> bool:
    """Whether modules are made without storage now, for their geometry alone."""
    return torch.get_default_device().type == "meta"


def _complete(folder: Path, stem: str) -> bool:
    """Whether all weight files of a model are there: a download may have stopped between two."""
    index = folder / f"{stem}.safetensors.index.json"
    if not index.is_file():
        return (folder / f"{stem}.safetensors").is_file()
    try:
        return all(
            (folder / file).is_file() for file in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        )
    except (ValueError, KeyError, AttributeError):
        return False


def _weights(folder: Path, stem: str) -> list[Path]:
    return sorted(folder.glob(f"{stem}*.safetensors"))


def read_configuration(folder: Path, key: str, known: Sequence[str]) -> dict[str, Any]:
    """A model's ``config.json``.

    Args:
        folder: of its files.
        key: the entry that says which model it is.
        known: what that entry may be.

    Raises:
        ValueError: if there is none, it is damaged, or it is of a model that is not known here.
    """
    file = folder / CONFIGURATION
    if not file.is_file():
        below = sorted(path.parent.name for path in folder.glob(f"*/{CONFIGURATION}"))
        hint = f"; its subfolders {', '.join(below)} have one each: name one of these" if below else ""
        raise ValueError(f"{folder} holds no pretrained model: it has no {CONFIGURATION}{hint}")
    try:
        configuration = json.loads(file.read_text(encoding="utf-8"))
        found = configuration.get(key)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    if found not in known:
        said = f"{key} {found!r}, which" if found is not None else f"no {key}, so it"
        raise ValueError(f"{file} names {said} is no model that this codec knows; {closest(str(found), known)}")
    return configuration


@contextmanager
def _quietly(*libraries: str) -> Iterator[None]:
    """Without what the libraries print of weights that do not fit: here that is an error, and said once."""
    loggers = [logging.getLogger(name) for name in libraries]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def load(
    folder: Path,
    stem: str,
    from_configuration: Callable[[], nn.Module],
    from_pretrained: Callable[[], tuple[nn.Module, Mapping[str, Any]]],
) -> nn.Module:
    """A model with the weights of a folder; without any, on the meta device.

    Args:
        folder: of its files.
        stem: of its weight files' names.
        from_configuration: makes the model without its weights.
        from_pretrained: loads it from the library's own files; returns it with the library's account of the loading.

    Raises:
        ValueError: if there are no weights, they are a pickle, or they do not fit the configuration.
        CheckpointError: if what mmseqdiff kept was damaged.
    """
    if _on_meta():
        return from_configuration()
    if (folder / KEPT).is_file():
        model = from_configuration()
        group = load_group(folder, KEPT.removesuffix(".safetensors"))
        tensors = {name.removeprefix("model."): tensor for name, tensor in group.items() if name.startswith("model.")}
        load_into(model, tensors, str(folder))
        return model
    if not _weights(folder, stem):
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        if pickles:
            raise ValueError(
                f"{folder} holds its weights only as a pickle ({', '.join(pickles)}), and none is ever loaded: "
                "convert it to safetensors"
            )
        raise ValueError(f"{folder} holds no weights: it has no {stem}.safetensors")
    try:
        with _quietly("diffusers", "transformers"):
            model, account = from_pretrained()
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{folder}: the weights cannot be loaded: {reason[:300]}") from error
    for what, names in (
        ("lack", account.get("missing_keys")),
        ("have no place for", account.get("unexpected_keys")),
        ("have another shape of", account.get("mismatched_keys")),
    ):
        if names:
            first = sorted(name if isinstance(name, str) else name[0] for name in names)[0]
            raise ValueError(
                f"{folder}: the weights do not fit {CONFIGURATION}: they {what} {first!r}, of {len(names)}"
            )
    return model
