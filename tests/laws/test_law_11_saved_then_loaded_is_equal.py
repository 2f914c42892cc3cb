"""Saved then loaded is equal, bit for bit.

That a run which is killed (SIGKILL) and resumed is the same run, bit for bit, is tested where runs are:
``tests/train/test_denoiser.py``, ``tests/train/test_loop.py`` and ``tests/train/test_codec.py``.
"""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff.recipe import Recipe
from mmseqdiff.train import checkpoint

DTYPES = [
    torch.float32,
    torch.float64,
    torch.bfloat16,
    torch.float16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
]
NAMES = st.from_regex(r"[a-z][a-z0-9_.]{0,8}", fullmatch=True)


@st.composite
def tensors(draw):
    """Tensors of any bits: NaN, infinities, −0 and denormal numbers among them; some not contiguous."""
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(st.lists(st.integers(0, 3), max_size=3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    if dtype == torch.bool:
        return torch.randint(2, shape, generator=generator).bool()
    size = torch.empty((), dtype=dtype).element_size()
    raw = torch.randint(256, (*shape, size), dtype=torch.uint8, generator=generator)
    made = raw.view(dtype).squeeze(-1) if size > 1 else raw.squeeze(-1)
    return made.transpose(0, -1) if made.ndim > 1 and draw(st.booleans()) else made


def same_bits(one, other):
    raw = [x.contiguous().reshape(-1).view(torch.uint8) for x in (one, other)]
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(*raw)


@given(
    groups=st.dictionaries(
        NAMES.filter(lambda name: name != "manifest"),
        st.dictionaries(NAMES, tensors(), max_size=3),
        min_size=1,
        max_size=2,
    ),
    step=st.integers(0, 10**9),
    share=st.booleans(),
)
def test_law_11_a_checkpoint_gives_back_every_bit(tmp_path_factory, groups, step, share):
    folder = tmp_path_factory.mktemp("law-11")
    for group in groups.values():
        if share and group:
            group["shared"] = next(iter(group.values()))  # tied weights lie in the same memory
    path = checkpoint.save(folder, step, groups, {"what": "a probe"})
    assert checkpoint.newest(folder) == path
    assert checkpoint.read_manifest(path)["step"] == step
    for name, group in groups.items():
        loaded = checkpoint.load_group(path, name)
        assert loaded.keys() == group.keys()
        assert all(same_bits(loaded[key], group[key]) for key in group)
    again = checkpoint.save(folder / "again", step, groups, {"what": "a probe"})
    for file in path.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), "equal states make equal files"


def test_law_11_every_recipe_is_equal_after_toml(host):
    for name in host.names("recipe"):
        recipe = host.build("recipe", name)
        assert Recipe.from_toml(recipe.to_toml()) == recipe
