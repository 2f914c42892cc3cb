"""Training a denoiser from a store into a run's folder, with processes that are killed or share the work."""

import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import attrs
import pytest
import torch
import train_fakes as fakes
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mmseqdiff.assembly import Assembly
from mmseqdiff.data.store import LatentStore
from mmseqdiff.errors import CheckpointError, RecipeError, StoreError
from mmseqdiff.train import checkpoint
from mmseqdiff.train.codec_folder import save_codec
from mmseqdiff.train.denoiser import _validate, train_denoiser, training_rows, usual_tasks
from mmseqdiff.train.parallel import World
from mmseqdiff.train.run import load_run

SCRIPT = Path(__file__).parent / "train_fakes.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MMSEQDIFF_TYPECHECK": "0"}


@pytest.fixture
def store(tmp_path):
    return fakes.fake_store(tmp_path / "store")


def train(store, run, recipe=None, **options):
    return train_denoiser(
        recipe or fakes.fake_recipe(), fakes.fake_host(), store, run, console=Console(quiet=True), **options
    )


def files(run: Path) -> dict[str, bytes]:
    folder = checkpoint.newest(run / "checkpoints")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_killed_and_resumed_is_the_same_run_bit_for_bit(tmp_path, store, one_thread):
    """Law 11, with SIGKILL at whatever moment the process is in once its first checkpoint is there."""
    overrides = ["steps=60", "checkpoint_every=5", "validate_every=20"]
    killed = subprocess.Popen([sys.executable, SCRIPT, store, tmp_path / "broken", *overrides], env=ENVIRONMENT)
    while checkpoint.newest(tmp_path / "broken" / "checkpoints") is None:
        assert killed.poll() is None
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    reached = checkpoint.read_manifest(checkpoint.newest(tmp_path / "broken" / "checkpoints"))["step"]
    assert 0 < reached < 60, "it was killed before its end"
    recipe = fakes.fake_recipe().override([f"training.{entry}" for entry in overrides])
    for run in ("broken", "whole"):
        assert train(store, tmp_path / run, recipe)
    assert files(tmp_path / "broken") == files(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_take_the_same_steps_as_one(tmp_path, store):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    for name, command in (("one", [sys.executable]), ("two", torchrun)):
        subprocess.run([*command, SCRIPT, store, tmp_path / name, "accumulate=2"], check=True, env=ENVIRONMENT)
    one, two = (checkpoint.newest(tmp_path / name / "checkpoints") for name in ("one", "two"))
    for group in ("weights", "ema", "optimizer"):
        expected = checkpoint.load_group(one, group)
        for name, tensor in checkpoint.load_group(two, group).items():
            assert torch.allclose(tensor, expected[name], atol=1e-6), f"{group} {name}"


def test_training_lowers_the_validation_loss_and_the_run_loads_as_it_was_saved(tmp_path, store):
    recipe = fakes.fake_recipe(steps=60, learning_rate=0.05, ema_decay=0.9)
    assert train(store, tmp_path / "run", recipe)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    losses = [event.value for event in events.Scalars("validation/given_first/fast")]
    assert losses[-1] < losses[0]
    assert "validation/given_first/slow" not in events.Tags()["scalars"], "it is given whole"
    assert {"loss/slow", "loss by level/fast/level 0.1-0.2", "loss by component/fast/0 alike"} <= set(
        events.Tags()["scalars"]
    )

    assembly = load_run(tmp_path / "run", fakes.fake_host())
    saved = checkpoint.load_group(checkpoint.newest(tmp_path / "run" / "checkpoints"), "ema")
    assert all(torch.equal(value, saved[name]) for name, value in assembly.backbone.state_dict().items())
    assert assembly.denoiser.backbone is assembly.backbone
    opened = LatentStore.open(store)
    for name, statistics in opened.statistics().items():
        loaded = assembly.modalities[name].statistics
        assert torch.equal(loaded.mean, statistics.mean)
        assert torch.equal(loaded.std, statistics.std)
        assert checkpoint.codec_hash(assembly.modalities[name].codec) == opened.codecs[name]


def test_batches_are_normalised_and_held_out_clips_are_never_trained_on(tmp_path, store, monkeypatch):
    read, batch = [], LatentStore.batch

    def spy(self, indices):
        read.append([int(index) for index in indices])
        return batch(self, indices)

    monkeypatch.setattr(LatentStore, "batch", spy)
    seen = []
    objective = "mmseqdiff.train.objective.DenoisingObjective.__call__"
    real = __import__("mmseqdiff.train.objective", fromlist=["x"]).DenoisingObjective.__call__
    monkeypatch.setattr(objective, lambda self, z0, keys: (seen.append(z0), real(self, z0, keys))[1])
    train(store, tmp_path / "run", fakes.fake_recipe(steps=29, batch_size=29))
    assert read[0] == [29], "one in twenty of 30 clips is held out"
    assert sorted(index for indices in read[1:] for index in indices) == sorted(list(range(29)) * 29), (
        "epochs without gaps"
    )
    clips = torch.cat([z0["fast"] for z0 in seen]).flatten(0, -2)
    assert clips.mean(0).abs().max() < 0.2
    assert (clips.std(0) - 1).abs().max() < 0.2


def test_the_same_run_with_another_recipe_is_refused_by_the_field(tmp_path, store):
    train(store, tmp_path / "run")
    with pytest.raises(RecipeError, match=r"there training.learning_rate is 0.01, expected 0.02; choose another --out"):
        train(store, tmp_path / "run", fakes.fake_recipe(learning_rate=0.02))


def test_another_store_codec_or_layout_is_refused(tmp_path, store):
    recipe, run = fakes.fake_recipe(), tmp_path / "run"
    train(store, run)
    with pytest.raises(CheckpointError, match="another statistics|another data"):
        train(fakes.fake_store(tmp_path / "other", clips=31), run)
    torch.manual_seed(5)
    save_codec(fakes.PairCodec(2), run / "codecs" / "slow", {})
    with pytest.raises(CheckpointError, match="another codecs: codecs.slow is"):
        load_run(run, fakes.fake_host())
    save_codec(fakes.PairCodec(2), store / "codecs" / "slow", {})
    with pytest.raises(StoreError, match="slow codec"):
        train(store, tmp_path / "new")
    longer = attrs.evolve(recipe, seconds=Fraction(4))
    with pytest.raises(StoreError, match="layout"):
        train(fakes.fake_store(tmp_path / "fresh"), tmp_path / "new", longer)
    (run / "codecs" / "slow" / "codec.safetensors").unlink()
    with pytest.raises(CheckpointError, match="has no codec.safetensors"):
        load_run(run, fakes.fake_host())
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_run(tmp_path / "nowhere", fakes.fake_host())


def test_a_new_run_can_start_from_another_ones_weights_and_statistics(tmp_path, store):
    train(store, tmp_path / "first")
    trained = checkpoint.load_group(checkpoint.newest(tmp_path / "first" / "checkpoints"), "ema")
    gentle = fakes.fake_recipe(steps=1, learning_rate=1e-12, checkpoint_every=1)
    more = fakes.fake_store(tmp_path / "more", clips=50)  # from the same codecs
    train(more, tmp_path / "second", gentle, start_from=tmp_path / "first")
    manifests = [
        checkpoint.read_manifest(checkpoint.newest(tmp_path / run / "checkpoints")) for run in ("first", "second")
    ]
    assert manifests[0]["statistics"] == manifests[1]["statistics"]
    started = checkpoint.load_group(checkpoint.newest(tmp_path / "second" / "checkpoints"), "weights")
    assert all(torch.allclose(value, started[name]) for name, value in trained.items())
    other = attrs.evolve(gentle, prediction="v")
    with pytest.raises(CheckpointError, match='another prediction: prediction is "epsilon", expected "v"'):
        train(store, tmp_path / "third", other, start_from=tmp_path / "first")


def test_samples_get_the_averaged_model_and_a_folder_of_their_step(tmp_path, store):
    seen = []

    def sample(step, assembly, folder):
        seen.append((step, folder.relative_to(tmp_path).as_posix(), assembly.denoiser.backbone is assembly.backbone))
        assert not assembly.backbone.training

    train(store, tmp_path / "run", fakes.fake_recipe(sample_every=5), sample=sample)
    assert seen == [(5, "run/samples/00000005", True), (10, "run/samples/00000010", True)]


def test_validation_takes_every_task_that_fits():
    assert list(usual_tasks(fakes.fake_host(), fakes.LAYOUT)) == ["given_first"]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40)), min_size=1, max_size=12))
def test_no_film_is_trained_on_and_held_out(films):
    """Neighbouring clips of a film look alike, and may overlap. A film's clips may lie apart, where encoding was resumed."""
    files = [str(film) for film, clips in films for _ in range(clips)]
    cut = training_rows(files)
    assert not set(files[:cut]) & set(files[cut:])
    assert len(files) - cut <= len(files) / 5


def test_of_films_of_one_clip_one_in_twenty_is_held_out():
    for count, held_out in ((10, 0), (40, 2), (4000, 64)):
        assert training_rows([str(n) for n in range(count)]) == count - held_out
    assert training_rows(["one"] * 100) == 100


def test_processes_that_share_validation_find_what_one_finds(monkeypatch):
    torch.manual_seed(0)
    assembly = Assembly.from_recipe(fakes.fake_recipe(), fakes.fake_host())
    clips, summed = {track.modality: torch.randn(5, *track.shape) for track in assembly.layout.tracks}, []
    alone = _validate(assembly, clips, 2, World())
    monkeypatch.setattr(World, "sum", lambda self, tensors: summed.extend(tensors))
    parts = [_validate(assembly, clips, 2, World(rank, 2)) for rank in range(2)]
    assert {name: parts[0][name] + parts[1][name] for name in alone} == pytest.approx(alone, rel=1e-5)
    assert len(summed) == 2 * len(usual_tasks(assembly.host, assembly.layout)), "what the others found is added"
