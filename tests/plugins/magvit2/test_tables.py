"""The codec against a second, straight-line statement of the paper's Fig. 8 and the official code's layers, in float64.

It shares nothing with the codec but the weights: channels come first here, borders are taken by index, norms are written
out frame by frame, and upsampling copies pixels one by one.
"""

import torch
from mmseqdiff_magvit2.codec import Magvit2


def conv(x, weights, name, stride=(1, 1, 1)):
    """``x``: (channels, frames, rows, columns). The padded index of every tap is clamped to the picture."""
    weight = weights[f"{name}.weight"]
    sizes = [(size + step - 1) // step for size, step in zip(x.shape[1:], stride)]
    out = torch.zeros(weight.shape[0], *sizes, dtype=x.dtype)
    for t in range(weight.shape[2]):
        for r in range(weight.shape[3]):
            for c in range(weight.shape[4]):
                before = (weight.shape[2] - 1, (weight.shape[3] - 1) // 2, (weight.shape[4] - 1) // 2)
                places = [
                    (torch.arange(size) * step - pad + tap).clamp(0, extent - 1)
                    for size, step, pad, tap, extent in zip(sizes, stride, before, (t, r, c), x.shape[1:])
                ]
                seen = x[:, places[0]][:, :, places[1]][:, :, :, places[2]]
                out += torch.einsum("oi,itrc->otrc", weight[:, :, t, r, c], seen)
    bias = weights.get(f"{name}.bias")
    return out if bias is None else out + bias[:, None, None, None]


def norm(x, groups):
    out = torch.empty_like(x)
    for frame in range(x.shape[1]):
        for channels in torch.arange(len(x)).chunk(groups):
            part = x[channels, frame]
            out[channels, frame] = (part - part.mean()) / ((part - part.mean()).square().mean() + 1e-6).sqrt()
    return out


def affine_norm(x, weights, name, groups):
    gain, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return norm(x, groups) * gain[:, None, None, None] + bias[:, None, None, None]


def swish(x):
    return x / (1 + (-x).exp())


def block(x, weights, name):
    """GN - Swish - Conv3 - GN - Swish - Conv3, plus the input (through a 1 x 1 x 1 convolution where widths differ)."""
    wide = weights[f"{name}.norm2.weight"].numel()
    y = conv(swish(affine_norm(x, weights, f"{name}.norm1", len(x) // 4)), weights, f"{name}.conv1")
    y = conv(swish(affine_norm(y, weights, f"{name}.norm2", wide // 4)), weights, f"{name}.conv2")
    return y + (conv(x, weights, f"{name}.shortcut") if len(x) != wide else x)


def spread(x, weights, name, frames):
    """Convolution, depth to space with channels as (t, h, w, c), the first ``frames`` − 1 frames dropped."""
    x = conv(x, weights, name)
    channels = len(x) // (4 * frames)
    out = torch.empty(channels, frames * x.shape[1], 2 * x.shape[2], 2 * x.shape[3], dtype=x.dtype)
    for t in range(frames):
        for h in range(2):
            for w in range(2):
                first = ((t * 2 + h) * 2 + w) * channels
                out[:, t::frames, h::2, w::2] = x[first : first + channels]
    return out[:, frames - 1 :]


def conditioned(x, z, weights, name):
    """GN(x) · (1 + Linear(z)) + Linear(z), z the latent of the same place and time."""
    per_latent = (x.shape[1] - 1) // (z.shape[1] - 1)
    t = (torch.arange(x.shape[1]) + per_latent - 1) // per_latent
    r, c = (torch.arange(n) * m // n for n, m in zip(x.shape[2:], z.shape[2:]))
    seen = z[:, t][:, :, r][:, :, :, c]
    gain, bias = (
        torch.einsum("oi,itrc->otrc", weights[f"{name}.{part}.weight"], seen)
        + weights[f"{name}.{part}.bias"][:, None, None, None]
        for part in ("gain", "bias")
    )
    return norm(x, len(x) // 4) * (1 + gain) + bias


def stack(x, weights, name, blocks):
    for n in range(blocks):
        x = block(x, weights, f"{name}.{n}")
    return x


def encoder(x, weights, blocks):
    x = conv(x, weights, "encoder.input")
    x = conv(stack(x, weights, "encoder.stacks.0", blocks), weights, "encoder.downs.0", (1, 2, 2))
    x = conv(stack(x, weights, "encoder.stacks.1", blocks), weights, "encoder.downs.1", (2, 2, 2))
    x = conv(stack(x, weights, "encoder.stacks.2", blocks), weights, "encoder.downs.2", (2, 2, 2))
    x = stack(stack(x, weights, "encoder.stacks.3", blocks), weights, "encoder.middle", blocks)
    return conv(swish(affine_norm(x, weights, "encoder.norm", len(x) // 4)), weights, "encoder.output")


def decoder(z, weights, blocks):
    x = stack(conv(z, weights, "decoder.input"), weights, "decoder.middle", blocks)
    for n, frames in enumerate((2, 2, 1)):
        x = stack(conditioned(x, z, weights, f"decoder.norms.{n}"), weights, f"decoder.stacks.{n}", blocks)
        x = spread(x, weights, f"decoder.ups.{n}.conv", frames)
    x = stack(conditioned(x, z, weights, "decoder.norms.3"), weights, "decoder.stacks.3", blocks)
    return conv(swish(affine_norm(x, weights, "decoder.norm", len(x) // 4)), weights, "decoder.output")


def test_the_codec_is_the_tables_to_rounding_and_only_theirs():
    torch.manual_seed(0)
    made = Magvit2(channels=8, blocks=2, latent_channels=5).double().requires_grad_(False)
    for weight in made.parameters():
        weight += 0.1 * torch.randn_like(weight)
    weights = made.state_dict()
    x = torch.rand(1, 9, 16, 8, 3, dtype=torch.float64)
    z = made.encode(x)
    found = encoder(x[0].movedim(-1, 0), weights, 2)
    assert found.shape == (5, 3, 2, 1)
    torch.testing.assert_close(z[0].movedim(-1, 0), found, rtol=0, atol=1e-10)
    y = made.decoder(z)[0].movedim(-1, 0)
    torch.testing.assert_close(y, decoder(found, weights, 2), rtol=0, atol=1e-10)
    name = "decoder.stacks.3.1.conv2.weight"  # one tap of one weight among many shows
    odd = weights[name].clone()
    odd[0, 0, 0, 1, 1] += 1e-3
    assert (y - decoder(found, {**weights, name: odd}, 2)).abs().max() > 1e-7
