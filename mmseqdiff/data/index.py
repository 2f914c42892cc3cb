"""What a latent store knows about itself, and its way to and from JSON."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch

from mmseqdiff.data.files import replacing
from mmseqdiff.data.moments import Moments
from mmseqdiff.errors import StoreError
from mmseqdiff.layout import Layout, Track

__all__ = ["Shard", "StoreIndex"]

_VERSION = 2
"""Version 1 had no recipe."""


@attrs.frozen
class Shard:
    """One Arrow file of a store: its name, its rows, and the hash of its bytes."""

    file: str
    clips: int
    sha256: str


@attrs.frozen
class StoreIndex:
    """The state of a store between two commits.

    Attributes:
        layout: the tracks of a clip.
        codecs: modality → hash of the codec that made its latents.
        dtype: how latents are stored, one of :data:`mmseqdiff.data.store.DTYPES`.
        recipe: how the clips were cut and encoded, in plain values; empty if nobody said.
        shards: the files that count, in the order of their rows.
        moments: modality → moments of all its raw latents.
        done: files of which every clip is in the store.
        sizes: file → its bytes, of files with clips in the store that were not left out, as far as known.
        left_out: file → why it, or the rest of it, is not in the store.
    """

    layout: Layout
    codecs: Mapping[str, str]
    dtype: str
    recipe: Mapping[str, Any] = attrs.field(factory=dict)
    shards: tuple[Shard, ...] = ()
    moments: Mapping[str, Moments] = attrs.field(
        default=attrs.Factory(
            lambda self: {track.modality: Moments.none(track.channels) for track in self.layout.tracks}, takes_self=True
        ),
        repr=False,
    )
    done: frozenset[str] = frozenset()
    left_out: Mapping[str, str] = attrs.field(factory=dict)
    sizes: Mapping[str, int] = attrs.field(factory=dict)

    def with_files(
        self, done: Iterable[str], left_out: Mapping[str, str], sizes: Mapping[str, int] | None = None
    ) -> "StoreIndex":
        """More files are done, or left out; one that is done is no longer left out, one that is left out may be mended."""
        all_done = self.done | frozenset(done)
        reasons = {file: why for file, why in {**self.left_out, **left_out}.items() if file not in all_done}
        known = {file: size for file, size in {**self.sizes, **(sizes or {})}.items() if file not in reasons}
        return attrs.evolve(self, done=all_done, left_out=reasons, sizes=known)

    def with_shard(self, shard: Shard, moments: Mapping[str, Moments]) -> "StoreIndex":
        """One more shard, with the moments of its latents."""
        merged = {name: self.moments[name].merge(moments[name]) for name in self.moments}
        return attrs.evolve(self, shards=(*self.shards, shard), moments=merged)

    def write(self, path: Path) -> None:
        """Writes the index, whole or not at all.

        Raises:
            StoreError: if it cannot be written.
        """
        content = {
            "version": _VERSION,
            "layout": [_track_to_json(track) for track in self.layout.tracks],
            "codecs": dict(self.codecs),
            "dtype": self.dtype,
            "recipe": dict(self.recipe),
            "shards": [attrs.asdict(shard) for shard in self.shards],
            "moments": {
                name: {"count": moments.count, "mean": moments.mean.tolist(), "m2": moments.m2.tolist()}
                for name, moments in self.moments.items()
            },
            "done": sorted(self.done),
            "left_out": dict(self.left_out),
            "sizes": dict(self.sizes),
        }
        with replacing(path, StoreError) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "StoreIndex":
        """The index in a file.

        Raises:
            StoreError: if there is none, it is damaged, or of a newer version.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["version"] > _VERSION:
                raise StoreError(
                    f"{path.parent} is a store of version {content['version']}, but this program reads versions up to "
                    f"{_VERSION}; it is left as it is: update mmseqdiff, or encode into another folder"
                )
            return cls(
                layout=Layout(Track(**track) for track in content["layout"]),
                codecs=content["codecs"],
                dtype=content["dtype"],
                recipe=content.get("recipe", {}),
                shards=tuple(Shard(**shard) for shard in content["shards"]),
                moments={name: _moments_from_json(values) for name, values in content["moments"].items()},
                done=frozenset(content["done"]),
                left_out=content["left_out"],
                sizes=content.get("sizes", {}),
            )
        except (FileNotFoundError, NotADirectoryError):
            raise StoreError(
                f"{path.parent} holds no latent store (no {path.name}); make one with `mmseqdiff encode`"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{path} is damaged ({error}); delete the folder and encode again") from None


def _track_to_json(track: Track) -> dict[str, object]:
    edges = [str(edge) for edge in track.edges]
    return {"modality": track.modality, "edges": edges, "grid": list(track.grid), "channels": track.channels}


def _moments_from_json(values: Mapping[str, object]) -> Moments:
    mean, m2 = (torch.tensor(values[key], dtype=torch.float64) for key in ("mean", "m2"))
    return Moments(values["count"], mean, m2)
