"""Tiny random models of the real classes, saved as their libraries save them."""

import pytest
import torch

LTX = {
    "latent_channels": 4,
    "block_out_channels": (8, 8, 8, 8),
    "decoder_block_out_channels": (8, 8, 8, 8),
    "layers_per_block": (1, 1, 1, 1, 1),
    "decoder_layers_per_block": (1, 1, 1, 1, 1),
    "patch_size": 1,
    "spatio_temporal_scaling": (True, True, False, False),
    "decoder_spatio_temporal_scaling": (True, True, False, False),
}
BLOCKS = {"latent_channels": 4, "block_out_channels": (4, 4, 4, 4), "layers_per_block": 1, "norm_num_groups": 2}
WAN = {"base_dim": 4, "z_dim": 4, "num_res_blocks": 1, "latents_mean": [5.0] * 4, "latents_std": [3.0] * 4}
VIDEO = {
    "magvit": ("AutoencoderKLMagvit", BLOCKS),
    "magvit-norms-over-windows": ("AutoencoderKLMagvit", {**BLOCKS, "spatial_group_norm": False}),
    "ltx": ("AutoencoderKLLTXVideo", LTX),
    "ltx-causal": ("AutoencoderKLLTXVideo", {**LTX, "decoder_causal": True}),
    "ltx-noisy": (
        "AutoencoderKLLTXVideo",
        {**LTX, "timestep_conditioning": True, "decoder_inject_noise": (True, True, False, False, False)},
    ),
    "cogvideox": ("AutoencoderKLCogVideoX", BLOCKS),
    "wan": ("AutoencoderKLWan", WAN),
    "wan-patches": (
        "AutoencoderKLWan",
        {**WAN, "is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12},
    ),
    "hunyuan": ("AutoencoderKLHunyuanVideo", BLOCKS),
}

ENCODEC = {"num_filters": 4, "hidden_size": 8, "upsampling_ratios": [4, 2], "codebook_size": 16, "num_lstm_layers": 1}
DAC = {"encoder_hidden_size": 4, "decoder_hidden_size": 16, "codebook_size": 16, "codebook_dim": 4, "n_codebooks": 3}
MIMI = {
    "sampling_rate": 1600,
    "num_filters": 4,
    "hidden_size": 16,
    "upsampling_ratios": [4, 2],
    "codebook_size": 16,
    "codebook_dim": 8,
    "vector_quantization_hidden_dimension": 8,
    "num_quantizers": 4,
    "num_hidden_layers": 1,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "upsample_groups": 16,
}
AUDIO = {
    "encodec": ("Encodec", ENCODEC),
    "encodec-zeros": ("Encodec", {**ENCODEC, "pad_mode": "constant"}),
    "encodec-48k": (
        "Encodec",
        {
            **ENCODEC,
            "sampling_rate": 48000,
            "audio_channels": 2,
            "normalize": True,
            "chunk_length_s": 1.0,
            "overlap": 0.01,
            "use_causal_conv": False,
            "norm_type": "time_group_norm",
        },
    ),
    "dac": ("Dac", {**DAC, "downsampling_ratios": [2, 4]}),
    "dac-odd": ("Dac", {**DAC, "downsampling_ratios": [2, 5]}),
    "mimi": ("Mimi", MIMI),
}


def video_model(name):
    """An autoencoder of diffusers in which no gain is one and no bias zero."""
    import diffusers

    kind, parameters = VIDEO[name]
    return _stirred(lambda: getattr(diffusers, kind)(**parameters))


def audio_model(name):
    """A codec of transformers, its codebooks filled."""
    import transformers

    kind, parameters = AUDIO[name]
    config = getattr(transformers, f"{kind}Config")(**parameters)
    return _stirred(lambda: getattr(transformers, f"{kind}Model")(config))


@torch.no_grad()
def _stirred(build):
    torch.manual_seed(0)
    model = build().eval()
    for weight in model.parameters():
        weight += 0.05 * torch.randn_like(weight)
    for path, buffer in model.named_buffers():
        if path.endswith(("embed", "embed_sum")):
            buffer.normal_()
    return model


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Name → the folder of that model, made when it is first asked for."""
    folders = {}

    def folder(name):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            (video_model if name in VIDEO else audio_model)(name).save_pretrained(folders[name])
        return folders[name]

    return folder


@pytest.fixture(scope="session")
def host(host):
    """A host with this plugin too, where it is not installed."""
    import mmseqdiff_huggingface

    if "diffusers_video" not in host.names("codec"):
        host.add_plugin(mmseqdiff_huggingface, "huggingface", "mmseqdiff-huggingface", "0.1.0")
    return host


@pytest.fixture(scope="session")
def failures():
    """What a codec or modality does not keep of its contract, tried with the codec's signals of one shape."""
    from mmseqdiff.modality import Modality
    from mmseqdiff.testing import CodecContract, ModalityContract
    from mmseqdiff.testing.verdicts import FAILS, verdict_of

    def failures(plugin, *, examples=2, laws=None, **attributes):
        contract = (ModalityContract if isinstance(plugin, Modality) else CodecContract).of(
            lambda: plugin, **attributes
        )()
        chosen = [law for law in contract.laws() if laws is None or law.name in laws]
        verdicts = [verdict_of(contract, law, examples * law.cost, shrink=False) for law in chosen]
        return [verdict.message for verdict in verdicts if verdict.outcome == FAILS]

    return failures
