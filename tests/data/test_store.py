import json
from fractions import Fraction

import datasets
import pytest
import torch

from mmseqdiff.data.clips import Clip
from mmseqdiff.data.store import LatentStore
from mmseqdiff.errors import StoreError
from mmseqdiff.layout import Layout, Track, uniform_edges

LAYOUT = Layout(
    [Track("video", uniform_edges(3, 2), grid=(2, 2), channels=4), Track("heart", uniform_edges(5, 3), channels=2)]
)
CODECS = {"video": "aa11", "heart": "bb22"}
RECIPE = {"seconds": "17/8", "stride": "17/8", "modalities": {"video": {"name": "video", "height": 32}}}


def latents(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {track.modality: 3 + torch.randn(count, *track.shape, generator=generator) for track in LAYOUT.tracks}


def clips(count, file="a.mp4"):
    return [Clip(file, Fraction(17 * n, 8)) for n in range(count)]


@pytest.fixture
def parts():
    return [latents(count, seed) for seed, count in enumerate((4, 1, 7))]


@pytest.fixture
def store(tmp_path, parts):
    store = LatentStore.create(tmp_path / "store", LAYOUT, CODECS)
    for n, part in enumerate(parts):
        store.commit(clips(len(part["video"]), f"{n}.mp4"), part, done=[f"{n}.mp4"], left_out={"bad.mp4": "it is bad"})
    return store


def test_what_is_committed_is_read_in_any_order(store, parts):
    again = LatentStore.open(store.folder, LAYOUT, CODECS)
    assert len(again) == 12
    assert again.layout == LAYOUT
    order = [11, 0, 5, 4, 4, 3]
    for name in CODECS:
        whole = torch.cat([part[name] for part in parts])
        assert torch.equal(again.batch(order)[name], whole[order])
        assert torch.equal(again.batch(torch.tensor(order))[name], whole[order])
    assert again.clips() == (*clips(4, "0.mp4"), *clips(1, "1.mp4"), *clips(7, "2.mp4"))
    assert again.done == {"0.mp4", "1.mp4", "2.mp4"}
    assert again.left_out == {"bad.mp4": "it is bad"}
    with pytest.raises(IndexError, match="clips 0 … 11"):
        again.batch([12])


def test_statistics_are_those_of_all_latents(store, parts):
    for name, statistics in LatentStore.open(store.folder).statistics().items():
        whole = torch.cat([part[name] for part in parts]).flatten(0, -2)
        assert torch.allclose(statistics.mean, whole.mean(0), atol=1e-6)
        assert torch.allclose(statistics.std, whole.std(0, correction=0), atol=1e-6)
    empty = LatentStore.create(store.folder.with_name("empty"), LAYOUT, CODECS)
    with pytest.raises(StoreError, match="no clip yet"):
        empty.statistics()


def test_half_precision_takes_half_the_room(tmp_path, parts):
    sizes = {}
    for dtype in ("float32", "float16"):
        store = LatentStore.create(tmp_path / dtype, LAYOUT, CODECS, dtype=dtype)
        many = latents(2000)
        store.commit(clips(2000), many)
        batch = store.batch([1999, 7])
        assert batch["video"].dtype == torch.float32
        assert torch.equal(batch["video"], many["video"][[1999, 7]].to(getattr(torch, dtype)).float())
        sizes[dtype] = sum(path.stat().st_size for path in (tmp_path / dtype).glob("*.arrow"))
    assert sizes["float16"] < 0.65 * sizes["float32"]
    with pytest.raises(StoreError, match="holds float16, but float32 was asked for; say float16"):
        LatentStore.create(tmp_path / "float16", LAYOUT, CODECS, dtype="float32")
    assert LatentStore.create(tmp_path / "float16", LAYOUT, CODECS).dtype == "float16", "it is completed as it is"
    with pytest.raises(StoreError, match="not finite in float16"):
        LatentStore.open(tmp_path / "float16").commit(
            clips(1), {name: 1e5 + values[:1] for name, values in many.items()}
        )
    with pytest.raises(ValueError, match="not 'int8'"):
        LatentStore.create(tmp_path / "other", LAYOUT, CODECS, dtype="int8")


def test_a_shard_can_be_looked_at_with_datasets(store):
    shard = datasets.Dataset.from_file(str(min(store.folder.glob("*.arrow"))))
    assert shard.column_names == ["file", "start", "latents/video", "latents/heart"]
    assert shard[2]["start"] == "17/4"


def test_another_layout_or_codec_is_refused_and_both_are_named(store):
    other = Layout([Track("video", uniform_edges(3, 2), grid=(4, 4), channels=4), LAYOUT.tracks[1]])
    for make in (LatentStore.open, LatentStore.create):
        with pytest.raises(StoreError, match=r"video 3 x 2 x 2 x 4 over .* but video 3 x 4 x 4 x 4 over"):
            make(store.folder, other, CODECS)
        with pytest.raises(StoreError, match="heart codec bb22, but cc33 is expected"):
            make(store.folder, LAYOUT, {**CODECS, "heart": "cc33"})
    assert len(LatentStore.create(store.folder, LAYOUT, CODECS)) == 12


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_a_flipped_bit_is_found(store, where):
    shard = sorted(store.folder.glob("*.arrow"))[2]
    content = bytearray(shard.read_bytes())
    content[int(where * len(content))] ^= 4
    shard.write_bytes(content)
    again = LatentStore.open(store.folder)
    again.batch([0, 4])  # the other shards are whole
    with pytest.raises(StoreError, match=f"{shard.name} is damaged"):
        again.batch([0, 7])


def test_a_shard_that_was_deleted_can_be_made_again(store, parts):
    sorted(store.folder.glob("*.arrow"))[1].unlink()
    with pytest.raises(StoreError, match="is missing, .* encode again, which makes the clips in it anew"):
        LatentStore.open(store.folder).batch([4])
    again = LatentStore.create(store.folder, LAYOUT, CODECS)
    assert again.clips() == (*clips(4, "0.mp4"), *clips(7, "2.mp4"))
    assert again.done == frozenset()
    again.commit(clips(1, "1.mp4"), parts[1], done=["0.mp4", "1.mp4", "2.mp4"])
    mended = LatentStore.open(store.folder)
    for name, statistics in mended.statistics().items():
        whole = torch.cat([parts[0][name], parts[2][name], parts[1][name]])
        assert torch.equal(mended.batch(range(12))[name], whole)
        assert torch.allclose(statistics.mean, whole.flatten(0, -2).mean(0), atol=1e-6)
        assert torch.allclose(statistics.std, whole.flatten(0, -2).std(0, correction=0), atol=1e-6)
    assert mended.left_out == {"bad.mp4": "it is bad"}


def test_damaged_stores_are_explained(store, tmp_path):
    with pytest.raises(StoreError, match="holds no latent store"):
        LatentStore.open(tmp_path / "nowhere")
    shard = min(store.folder.glob("*.arrow"))
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match="is damaged"):
        LatentStore.open(store.folder).batch([0])
    shard.unlink()
    with pytest.raises(StoreError, match="is missing"):
        LatentStore.open(store.folder).batch([0])
    index = (store.folder / "index.json").read_text()
    (store.folder / "index.json").write_text(index[:-20])
    with pytest.raises(StoreError, match=r"index\.json is damaged"):
        LatentStore.open(store.folder)


def test_a_newer_store_is_refused_and_left_as_it_is_and_an_older_one_read(store):
    index = json.loads((store.folder / "index.json").read_text())
    (store.folder / "index.json").write_text(json.dumps({**index, "version": 99}))
    (store.folder / "00003-later.arrow").write_text("what a newer program put here")
    before = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    for make in (LatentStore.open, LatentStore.create):
        with pytest.raises(
            StoreError, match=r"version 99, but this program reads versions up to 2; .* update mmseqdiff"
        ):
            make(store.folder, LAYOUT, CODECS)
    assert {path.name: path.read_bytes() for path in store.folder.iterdir()} == before
    del index["recipe"]  # as version 1 was
    (store.folder / "index.json").write_text(json.dumps({**index, "version": 1}))
    assert len(LatentStore.open(store.folder, LAYOUT, CODECS, RECIPE)) == 12
    LatentStore.create(store.folder, LAYOUT, CODECS, recipe=RECIPE).commit((), {})
    assert LatentStore.open(store.folder).recipe == RECIPE


def test_another_recipe_is_refused_and_the_difference_named(tmp_path):
    LatentStore.create(tmp_path, LAYOUT, CODECS, recipe=RECIPE)
    for other, difference in (
        ({**RECIPE, "stride": "1"}, 'stride is "17/8", expected "1"'),
        ({"modalities": {"video": {"name": "video", "height": 64}}}, "modalities.video.height is 32, expected 64"),
    ):
        for make in (LatentStore.open, LatentStore.create):
            with pytest.raises(StoreError, match=difference):
                make(tmp_path, LAYOUT, CODECS, recipe=other)
    for same in (RECIPE, {"stride": "17/8"}, {}, None):  # only what the reader asks for is compared
        assert LatentStore.open(tmp_path, LAYOUT, CODECS, same).recipe == RECIPE


def test_latents_that_do_not_fit_are_refused_and_change_nothing(store):
    good = latents(2)
    with pytest.raises(StoreError, match=r"takes video latents of shape \(2, 3, 2, 2, 4\), but got \(2, 3, 2, 1, 4\)"):
        store.commit(clips(2), {**good, "video": good["video"][..., :1, :]})
    good["heart"][1, 0, 0] = float("nan")
    with pytest.raises(StoreError, match=r"heart codec gave latents of b\.mp4@17/8 that are not finite"):
        store.commit(clips(2, "b.mp4"), good)
    assert len(store) == len(LatentStore.open(store.folder)) == 12


def test_a_full_disk_changes_nothing(store, full_disk):
    before = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    with pytest.raises(StoreError, match="disk is full"):
        store.commit(clips(500), latents(500), done=["big.mp4"])
    assert {path.name: path.read_bytes() for path in store.folder.iterdir()} == before
    assert len(store) == 12
    assert "big.mp4" not in store.done


def test_create_sweeps_up_after_a_kill_and_nothing_else(store):
    for name in ("00003-deadbeef.arrow", ".00003-deadbeef.77.arrow", ".index.77.json", "notes.txt"):
        (store.folder / name).write_text("?")
    LatentStore.open(store.folder)
    assert (store.folder / "00003-deadbeef.arrow").exists()
    LatentStore.create(store.folder, LAYOUT, CODECS).batch(range(12))
    names = {path.name for path in store.folder.iterdir()}
    assert {"index.json", "notes.txt"} < names
    assert len(names) == 5
