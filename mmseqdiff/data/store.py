"""The latent store: a folder of Arrow files (shards) and one index that says which of them count.

    index.json              layout, codecs, recipe, number type, shards with their hashes, moments, files done and left out
    00000-1c8e0a52.arrow …  one row per clip: its file, its start, and the raw latents of every modality, flattened

A commit writes a shard under a temporary name, renames it to a name that holds its hash, and then does the same with
an index that lists it. Only the last rename counts, so a kill at any moment leaves the store as it was after some whole
commit; what no index lists is swept away by the next :meth:`LatentStore.create`. A shard can be looked at with
``datasets.Dataset.from_file``.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import attrs
import datasets
import pyarrow as pa
import torch
from jaxtyping import Int
from torch import Tensor

from mmseqdiff.data.clips import Clip
from mmseqdiff.data.files import replacing
from mmseqdiff.data.index import Shard, StoreIndex
from mmseqdiff.data.moments import Moments
from mmseqdiff.errors import StoreError
from mmseqdiff.layout import Layout
from mmseqdiff.modality import Statistics
from mmseqdiff.values import difference

__all__ = ["DTYPES", "LatentStore"]

DTYPES = ("float32", "float16")
"""How latents can be stored; a new store has the first where nothing is said."""

_INDEX = "index.json"
_AGAIN = "delete the folder and encode again"
_MEND = "encode again, which makes the clips in it anew and keeps all others"


@attrs.define
class LatentStore:
    """Raw latents of many clips. Made by :meth:`create` and :meth:`open`.

    Only one process may commit to a store at a time (:func:`mmseqdiff.data.files.only_writer`); any number may read.

    Attributes:
        folder: where it lies.
    """

    folder: Path
    _index: StoreIndex
    _tables: dict[str, datasets.table.Table] = attrs.field(factory=dict, init=False, repr=False)

    @classmethod
    def create(
        cls,
        folder: Path,
        layout: Layout,
        codecs: Mapping[str, str],
        *,
        recipe: Mapping[str, Any] | None = None,
        dtype: str | None = None,
    ) -> "LatentStore":
        """A new store, or the one that is already there, to be completed; shards that were deleted are forgotten.

        Args:
            folder: where it is to lie.
            layout: the tracks of a clip.
            codecs: modality → hash of the codec that makes its latents.
            recipe: how clips are cut and encoded, in plain values (as JSON has them); None says nothing.
            dtype: one of :data:`DTYPES`; how latents are stored; None is the store's own. They are always read as float32.

        Raises:
            StoreError: if the store that is there was made otherwise, or the folder cannot be written.
            ValueError: if the dtype is unknown, or codecs and layout name different modalities.
        """
        if dtype is not None and dtype not in DTYPES:
            raise ValueError(f"a store holds {' or '.join(DTYPES)}, not {dtype!r}")
        if set(codecs) != set(layout.modalities):
            raise ValueError(
                f"the layout has {', '.join(layout.modalities)}, but codecs were given for {', '.join(codecs)}"
            )
        folder = Path(folder)
        if (folder / _INDEX).exists():
            store = cls.open(folder, layout, codecs, recipe)
            if dtype not in (None, store.dtype):
                raise StoreError(
                    f"{folder} holds {store.dtype}, but {dtype} was asked for; say {store.dtype}, or {_AGAIN}"
                )
            if not store._index.recipe:
                store._index = attrs.evolve(store._index, recipe=dict(recipe or {}))
            store._forget_missing()
            store._sweep()
            return store
        store = cls(folder, StoreIndex(layout, dict(codecs), dtype or DTYPES[0], dict(recipe or {})))
        store._index.write(folder / _INDEX)
        return store

    @classmethod
    def open(
        cls,
        folder: Path,
        layout: Layout | None = None,
        codecs: Mapping[str, str] | None = None,
        recipe: Mapping[str, Any] | None = None,
    ) -> "LatentStore":
        """The store in a folder.

        Args:
            folder: where it lies.
            layout: what the reader expects; None takes any.
            codecs: modality → hash, what the reader expects; None takes any.
            recipe: those entries of the recipe that the reader expects; one that says nothing fits any.

        Raises:
            StoreError: if there is none, its index is damaged or from a newer version, or it was made with another
                layout, codec or recipe.
        """
        store = cls(Path(folder), StoreIndex.read(Path(folder) / _INDEX))
        store._expect(layout, codecs, recipe)
        return store

    @property
    def layout(self) -> Layout:
        """The tracks of a clip."""
        return self._index.layout

    @property
    def codecs(self) -> dict[str, str]:
        """Modality → hash of the codec that made its latents."""
        return dict(self._index.codecs)

    @property
    def recipe(self) -> dict[str, Any]:
        """How the clips were cut and encoded, in plain values; empty if nobody said."""
        return dict(self._index.recipe)

    @property
    def dtype(self) -> str:
        """How latents are stored, one of :data:`DTYPES`."""
        return self._index.dtype

    @property
    def done(self) -> frozenset[str]:
        """Files of which every clip is in the store."""
        return self._index.done

    @property
    def left_out(self) -> dict[str, str]:
        """File → why it, or the rest of it, is not in the store."""
        return dict(self._index.left_out)

    @property
    def sizes(self) -> dict[str, int]:
        """File → its bytes when its clips were encoded, as far as known."""
        return dict(self._index.sizes)

    def _forget_missing(self) -> None:
        """A shard that was deleted, because it was damaged, is forgotten, so that its clips can be made again."""
        old = self._index
        there = tuple(shard for shard in old.shards if (self.folder / shard.file).is_file())
        if there == old.shards:
            return
        self._index = attrs.evolve(old, shards=there)
        index, first = (
            StoreIndex(old.layout, old.codecs, old.dtype, old.recipe, left_out=old.left_out, sizes=old.sizes),
            0,
        )
        for shard in there:
            latents = self.batch(range(first, first + shard.clips))
            index = index.with_shard(shard, {name: Moments.of(values) for name, values in latents.items()})
            first += shard.clips
        self._index = index

    def _sweep(self) -> None:
        """Removes what an interrupted commit left behind."""
        listed = {shard.file for shard in self._index.shards}
        for pattern in ("*.arrow", ".*.arrow", f".{Path(_INDEX).stem}.*"):
            for path in self.folder.glob(pattern):
                if path.name not in listed:
                    path.unlink()

    def _expect(
        self, layout: Layout | None, codecs: Mapping[str, str] | None, recipe: Mapping[str, Any] | None
    ) -> None:
        if layout is not None and set(layout.tracks) != set(self.layout.tracks):
            raise StoreError(
                f"{self.folder} was made with the layout {_layout_text(self.layout)}, but {_layout_text(layout)} is "
                "expected; encode into another folder, or use the recipe that it was made with"
            )
        for name, expected in (codecs or {}).items():
            if self.codecs.get(name) != expected:
                raise StoreError(
                    f"{self.folder} was made with the {name} codec {self.codecs.get(name)}, but {expected} is "
                    "expected; encode into another folder, or use the codec that it was made with"
                )
        if self.recipe and recipe:
            reason = difference({key: self.recipe.get(key) for key in recipe}, recipe)
            if reason is not None:
                raise StoreError(
                    f"{self.folder} was made with another recipe: {reason}; encode into another folder, or use the "
                    "recipe that it was made with"
                )

    def commit(
        self,
        clips: Sequence[Clip],
        latents: Mapping[str, Tensor],
        *,
        done: Iterable[str] = (),
        left_out: Mapping[str, str] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        """Adds clips and says which files are finished, all of it or nothing.

        Args:
            clips: one per row of the latents; none only records ``done`` and ``left_out``.
            latents: modality → raw latents ``(clips, N_m, *grid, channels)``.
            done: files that are now complete; a reason for having been left out is forgotten.
            left_out: file → why.
            sizes: file → its bytes, of files that these clips are from.

        Raises:
            StoreError: if the latents do not fit the layout or are not finite, or the disk is full.
        """
        index = self._index.with_files(done, left_out or {}, sizes)
        if clips:
            rounded = {name: latents[name].detach().cpu().to(getattr(torch, self.dtype)) for name in self.codecs}
            self._check(clips, rounded)
            moments = {name: Moments.of(values) for name, values in rounded.items()}
            index = index.with_shard(self._write_shard(clips, rounded), moments)
        index.write(self.folder / _INDEX)
        self._index = index

    def _check(self, clips: Sequence[Clip], latents: Mapping[str, Tensor]) -> None:
        for track in self.layout.tracks:
            values, expected = latents[track.modality], (len(clips), *track.shape)
            if tuple(values.shape) != expected:
                raise StoreError(
                    f"{self.folder} takes {track.modality} latents of shape {expected}, but got {tuple(values.shape)}"
                )
            finite = values.isfinite().flatten(1).all(1)
            if not finite.all():
                clip = clips[int((~finite).nonzero()[0])]
                raise StoreError(
                    f"the {track.modality} codec gave latents of {clip} that are not finite in {self.dtype}"
                    + ("; encode into another folder with float32" if self.dtype == "float16" else "")
                )

    def _write_shard(self, clips: Sequence[Clip], latents: Mapping[str, Tensor]) -> Shard:
        columns = {
            "file": pa.array([clip.file for clip in clips]),
            "start": pa.array([str(clip.start) for clip in clips]),
        }
        features = {"file": datasets.Value("string"), "start": datasets.Value("string")}
        for name, values in latents.items():
            size = values[0].numel()
            columns[_column(name)] = pa.FixedSizeListArray.from_arrays(pa.array(values.numpy().reshape(-1)), size)
            features[_column(name)] = datasets.Sequence(datasets.Value(self.dtype), length=size)
        table = pa.table(columns, schema=datasets.Features(features).arrow_schema)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        content = sink.getvalue()
        digest = hashlib.sha256(content).hexdigest()
        path = self.folder / f"{len(self._index.shards):05d}-{digest[:8]}.arrow"
        with replacing(path, StoreError) as temporary:
            temporary.write_bytes(content)
        return Shard(path.name, len(clips), digest)

    def __len__(self) -> int:
        """How many clips the store holds."""
        return sum(shard.clips for shard in self._index.shards)

    def clips(self) -> tuple[Clip, ...]:
        """Where every row comes from, in the order of the rows."""
        tables = [self._table(shard) for shard in self._index.shards]
        return tuple(
            Clip(file, Fraction(start))
            for table in tables
            for file, start in zip(table.column("file").to_pylist(), table.column("start").to_pylist())
        )

    def statistics(self) -> dict[str, Statistics]:
        """Per-channel mean and standard deviation of the raw latents of each modality.

        Raises:
            StoreError: if the store is empty.
        """
        if not len(self):
            raise StoreError(f"{self.folder} holds no clip yet, so its latents have no statistics")
        return {name: moments.statistics() for name, moments in self._index.moments.items()}

    def batch(self, indices: Sequence[int] | Int[Tensor, " batch"]) -> dict[str, Tensor]:
        """Raw latents of some clips, modality → float32 ``(batch, N_m, *grid, channels)``, in the order asked for.

        Raises:
            IndexError: if there is no such clip.
            StoreError: if a shard is missing or damaged.
        """
        indices = [int(index) for index in indices]
        if indices and not 0 <= min(indices) <= max(indices) < len(self):
            raise IndexError(f"{self.folder} holds the clips 0 … {len(self) - 1}, but {indices} were asked for")
        shards = self._index.shards
        ends = list(accumulate(shard.clips for shard in shards))
        homes = [bisect_right(ends, index) for index in indices]
        batch = {track.modality: torch.empty(len(indices), *track.shape) for track in self.layout.tracks}
        for home in sorted(set(homes)):
            rows = [row for row, other in enumerate(homes) if other == home]
            within = [indices[row] - ends[home] + shards[home].clips for row in rows]
            for name, values in batch.items():
                column = self._table(shards[home]).column(_column(name)).take(within).combine_chunks()
                flat = torch.tensor(column.flatten().to_numpy()).to(torch.float32)
                values[rows] = flat.reshape(-1, *values.shape[1:])
        return batch

    def _table(self, shard: Shard) -> datasets.table.Table:
        """A shard, memory-mapped; its hash is checked the first time."""
        if shard.file not in self._tables:
            path = self.folder / shard.file
            if not path.is_file():
                raise StoreError(f"{path} is missing, though the store's index lists it; {_MEND}")
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
                    raise StoreError(f"{path} is damaged: its content is not what was written; delete it, and {_MEND}")
            self._tables[shard.file] = datasets.Dataset.from_file(str(path)).data
        return self._tables[shard.file]


def _column(modality: str) -> str:
    return f"latents/{modality}"


def _layout_text(layout: Layout) -> str:
    return ", ".join(
        f"{t.modality} {' x '.join(map(str, t.shape))} over {float(t.edges[0]):g}–{float(t.edges[-1]):g} s"
        for t in layout.tracks
    )
