"""A video codec that was inflated from a codec of pictures codes pictures, and still video, as that one does."""

import pytest
import torch
from mmseqdiff_magvit2.codec import Magvit2


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    video = Magvit2(channels=8, blocks=1, latent_channels=3).double().requires_grad_(False)
    image = video.image_codec().double().requires_grad_(False)
    for weight in image.parameters():
        weight += 0.1 * torch.randn_like(weight)
    video.inflate_from(image)
    return image, video


@pytest.fixture(scope="module")
def picture():
    return torch.rand(2, 1, 16, 8, 3, generator=torch.Generator().manual_seed(1)).double()


def test_one_frame_is_coded_exactly_as_a_picture(pair, picture):
    image, video = pair
    z = image.encode(picture)
    torch.testing.assert_close(video.encode(picture), z, rtol=0, atol=1e-12)
    torch.testing.assert_close(video.decoder(z), image.decoder(z), rtol=0, atol=1e-12)
    video.encoder.input.weight[:, :, 0] += 0.1  # an older slice than the last sees the frame too
    assert not torch.allclose(video.encode(picture), z)
    video.encoder.input.weight[:, :, 0] = 0


def test_still_video_is_reconstructed_frame_by_frame_as_the_picture(pair, picture):
    image, video = pair
    reconstruction = video.decoder(video.encode(picture.expand(-1, 9, -1, -1, -1)))
    expected = image.decoder(image.encode(picture)).expand(-1, 9, -1, -1, -1)
    torch.testing.assert_close(reconstruction, expected, rtol=0, atol=1e-12)


def test_a_codec_of_pictures_takes_every_frame_by_itself(pair):
    image, _ = pair
    frames = torch.rand(1, 6, 16, 8, 3, generator=torch.Generator().manual_seed(2)).double()
    z = image.encode(frames)
    assert image.segments(6) == z.shape[1] == 6
    torch.testing.assert_close(image.encode(frames[:, 3:4]), z[:, 3:4], rtol=0, atol=1e-12)


@pytest.mark.parametrize("other", [{"channels": 16}, {"blocks": 2}, {"kernel": 3}, {"latent_channels": 4}])
def test_a_codec_of_other_widths_is_refused(other):
    small = {"channels": 8, "blocks": 1, "latent_channels": 3}
    with pytest.raises(ValueError, match="cannot inflate"):
        Magvit2(**small).inflate_from(Magvit2(**{**small, **other}, temporal=False))


def test_a_quantisers_annealing_goes_on_where_it_was():
    small = {"channels": 4, "blocks": 1, "multipliers": (1, 1), "temporal_downsample": (True,), "quantized": True}
    video = Magvit2(**small)
    images = video.image_codec()
    for _ in range(3):
        images.training_loss(torch.rand(2, 1, 8, 8, 3), torch.arange(2))
    video.inflate_from(images)
    assert int(video.quantizer.updates) == 3
