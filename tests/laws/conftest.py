"""Runs a law's test for every registered plugin of a kind: a test with an argument ``sampler`` runs for all samplers."""

import pytest

from mmseqdiff import load_plugins

KINDS = (
    "schedule", "policy", "task", "plan", "sampler", "guidance", "backbone", "codec", "modality", "metric",
)  # fmt: skip

GAMMA = {"levels": [float(t) for t in range(11)], "values": [0.1 * t for t in range(11)]}
CALIBRATED = {"family": "a", "calibration": {"a": dict.fromkeys(("video", "audio", "pose", "all"), GAMMA)}}
SMALL_VIDEO = {"channels": 4, "multipliers": [1, 1, 1, 1], "blocks": 1, "latent_channels": 4}
SMALL_AUDIO = {"channels": 2, "latent_channels": 4}
PARAMETERS = {
    ("sampler", "ddim"): [{"eta": 0.0}, {"eta": 0.5}],
    ("sampler", "ddpm"): [{"variance": "posterior"}, {"variance": "beta"}],
    ("sampler", "unipc"): [{"order": 1}, {"order": 2, "variant": "bh1"}, {"order": 3}],
    ("sampler", "analytic_dpm"): [{}, CALIBRATED],
    ("sampler", "analytic_ddim"): [{"eta": 0.5, **CALIBRATED}],
    ("schedule", "zero_terminal_snr"): [{}, {"base": {"name": "cosine", "num_levels": 7}}],
    ("schedule", "linear"): [{}, {"num_levels": 1}, {"num_levels": 10, "last": 0.9}],
    ("policy", "monl"): [{}, {"granularity": "segment"}],
    ("policy", "mixture"): [{"policies": ["vanilla", "monl"], "weights": [1, 4]}],
    ("policy", "per_segment"): [{}, {"reference": "audio"}],
    ("policy", "per_segment_modality"): [{"granularity": "latent"}, {"granularity": "segment"}, {"floor": 0.6}],
    ("policy", "monotone"): [{}, {"reference": "audio"}],
    ("policy", "uniform_future"): [{}, {"context": "1/3", "reference": "audio"}],
    ("policy", "dual_time"): [{}, {"share": 1.0, "granularity": "latent"}],
    ("policy", "coupled"): [{}, {"shifts": {"audio": 3.0}, "per_segment": True}],
    ("policy", "rolling_window"): [{}, {"initial": 1.0, "reference": "audio"}],
    ("policy", "restricted"): [{"policy": "monl", "modalities": ["audio"], "rest": "per_segment"}],
    ("policy", "task"): [{"task": "a2v"}],
    ("policy", "with_clean"): [{"policy": "monl", "task": "v2a", "probability": 0.5}],
    ("task", "cross_modal"): [{"modalities": ["video", "audio"]}],
    ("task", "ranges"): [{"text": "video:0-0.625 audio:1/3-1.2 audio:1.5-2"}],
    ("task", "continue"): [{}, {"length": 7, "frame_rate": 8}],
    ("plan", "full"): [{"steps": 1}, {"steps": 3}, {"steps": 23}],
    ("plan", "autoregressive"): [{"steps": 3}, {"steps": 2, "reference": "video"}],
    ("plan", "block_autoregressive"): [{"steps": 3}, {"steps": 1, "block": 3}],
    ("plan", "pyramid"): [{"steps": 3}, {"steps": 3, "uncertainty": "7/3"}, {"steps": 2, "uncertainty": 9, "block": 2}],
    ("plan", "trapezoid"): [{"steps": 3}, {"steps": 4, "uncertainty": 0.5, "middle_out": True}],
    ("plan", "ar_step"): [{"steps": 3}, {"steps": 8, "behind": 3, "window": 3}],
    ("plan", "keyframes"): [{"steps": 3}, {"steps": 2, "every": 3}],
    ("plan", "cascade"): [{"steps": 3, "leads": {"video": 1}}, {"steps": 3, "leads": {"video": 0.4}, "uncertainty": 2}],
    ("plan", "repaint"): [
        {"steps": 4, "jump": 2, "resamples": 3},
        {"steps": 5, "jump": 1, "resamples": 2},
        {"steps": 1, "resamples": 1},
    ],
    ("plan", "matrix"): [{"rows": [1, 0.5, 0.25, 0], "top": 1}],
    ("codec", "magvit2"): [SMALL_VIDEO, {**SMALL_VIDEO, "temporal_downsample": [True, False, False]}],
    ("codec", "soundstream"): [SMALL_AUDIO, {**SMALL_AUDIO, "quantizers": 2, "codebook_size": 8}],
    ("modality", "video"): [
        {"codec": {"name": "magvit2", **SMALL_VIDEO}, "frame_rate": 8, "height": 16, "width": 24},
    ],
    ("modality", "audio"): [
        {"codec": {"name": "soundstream", "sample_rate": 8000, **SMALL_AUDIO}, "sample_rate": 8000}
    ],
    ("backbone", "avdit"): [{"layers": 1, "dimension": 16, "heads": 2}],
    ("guidance", "stabilise"): [
        {"level": 1.5},
        {"level": 1, "given": True, "guidance": {"name": "cfg", "scale": 2.0}},
    ],
    ("guidance", "cfg"): [
        {"scale": 1.0},
        {"scale": 3.0, "modalities": ["video"], "start": 0.25, "stop": 0.5},
        {"scale": 2.0, "level": 0.3, "scales": {"video": 0.0}, "interval": [0.2, 0.8], "rescale": 0.7},
    ],
    ("guidance", "history"): [
        {"windows": [{"weight": 2.0, "stop": 0.25}, {"weight": 0.5, "modalities": ["video"], "level": 0.5}]}
    ],
    ("guidance", "cross_modal"): [{"scale": 2.0}, {"scales": {"video": 0.0}, "rescale": 1.0}],
    ("guidance", "reconstruction"): [{"weight": 0.5}],
    ("guidance", "mmd_gradient"): [{}, {"weight": "sigma", "reduce": "sum"}],
}
"""Examples of parameters, for plugins that need some or whose laws should be tried with several."""

ELSEWHERE = {
    ("guidance", "autoguidance"): "tests/plugins/guidance/test_autoguidance.py",
    ("codec", "diffusers_video"): "tests/plugins/huggingface/test_video.py",
    ("codec", "transformers_audio"): "tests/plugins/huggingface/test_audio.py",
    **dict.fromkeys(
        [("task", "world_model"), ("task", "inverse_dynamics"), ("task", "behaviour")],
        "tests/plugins/vizdoom/test_tasks.py",
    ),
    **dict.fromkeys([("modality", "actions"), ("codec", "one_hot")], "tests/plugins/vizdoom/test_actions.py"),
    **dict.fromkeys(
        [("metric", "inverse_dynamics"), ("metric", "behaviour"), ("metric", "prediction_error")],
        "tests/plugins/vizdoom/test_metrics.py",
    ),
    ("metric", "identity_consistency"): "tests/plugins/monologues/test_metrics.py",
    ("metric", "mouth_alignment"): "tests/plugins/monologues/test_metrics.py",
    ("metric", "word_error"): "tests/plugins/monologues/test_words.py",
}
"""Plugins that need a trained model, or clips of their own; their tests subclass the contract themselves."""


def pytest_generate_tests(metafunc):
    host = load_plugins()
    for kind in KINDS:
        if kind in metafunc.fixturenames:
            examples = [
                pytest.param((kind, name, parameters), id=" ".join([name, *map(str, parameters.values())]))
                for name in host.names(kind)
                if (kind, name) not in ELSEWHERE
                for parameters in PARAMETERS.get((kind, name), [{}])
            ]
            metafunc.parametrize(kind, examples, indirect=True)


@pytest.fixture
def schedule(host, request):
    kind, name, parameters = request.param
    return host.build(kind, name, **parameters)


policy = task = plan = sampler = guidance = codec = modality = metric = schedule


@pytest.fixture
def backbone(host, request):
    """Makes the network for a layout."""
    kind, name, parameters = request.param
    return lambda layout: host.build(kind, name, layout=layout, **parameters)
