"""AVDiT, the audiovisual diffusion transformer (arXiv:2405.13762 §4 and App. B), for any number of modalities.

    (1) c = cell embedding of the timestep matrix and of time        embedding.py, a row for every valid cell
    (2) x = [tokens of track 1; tokens of track 2; …]                embedding.py, latents with their self-condition
    (3) x ← layer_l(x, c),  l = 1 … L                                blocks.py, full attention over all tokens
    (4) prediction of track m = output_m(its tokens, its rows of c)  embedding.py

Nothing here knows a modality by name: the layout says what there is. Weights are named after modalities and depend
neither on the order nor on the length of the tracks, so that they fit every layout with the same modalities, grids
and channels.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Latents
from mmseqdiff_avdit.blocks import Block, Spans
from mmseqdiff_avdit.embedding import CellEmbedding, TrackInput, TrackOutput
from mmseqdiff_avdit.positions import AXIS_FEATURES, nearness, rotation, time_features

__all__ = ["AVDiT"]


class AVDiT(nn.Module):
    """The joint transformer over all modalities' tokens, modulated per cell of the timestep matrix.

    With the defaults and AVDiT's layout (5 x 16 x 16 x 8 and 106 x 1024 latents) it has 419 million parameters; the
    paper says 420. Before training it returns zeros. Initial weights are drawn from torch's global generator.

    Args:
        layout: the tracks; their order is the order of the tokens.
        layers: L.
        dimension: d, of a token.
        heads: of the attention; they divide ``dimension``.
        mlp_ratio: hidden width of a layer's MLP, in ``dimension``.
        gates: gate every layer's branches by the condition as well (adaLN-Zero, 470 million parameters). The paper
            has scales and shifts alone.
        self_condition: whether the network reads an estimate of the clean latents; without, it ignores one.
        patch: side of the square of latents that makes one token, for modalities whose grid has two axes; the paper's
            is 1. It divides the grid.
        rotary: rotate queries and keys by their cells' moments, so that attention sees the time between two tokens. The
            paper's model has no such thing; small models learn what belongs together in time many times faster with it.
        alibi: lower the logits of tokens by the time between them, head by head (arXiv:2108.12409), so that attention
            begins with what is near. The paper's model has no such thing. It costs a bias for every pair of tokens.

    Raises:
        ValueError: if a size is not positive, or does not divide what it should.
    """

    angles: Tensor | None
    nearness: Tensor | None

    def __init__(
        self,
        layout: Layout,
        layers: int = 24,
        dimension: int = 1024,
        heads: int = 16,
        mlp_ratio: float = 4.0,
        gates: bool = False,
        self_condition: bool = True,
        patch: int = 1,
        rotary: bool = False,
        alibi: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"layers": layers, "dimension": dimension, "heads": heads, "mlp_ratio": mlp_ratio, "patch": patch}
        for name, size in sizes.items():
            if not size > 0:
                raise ValueError(f"{name} must be positive, got {size}")
        if dimension % heads:
            raise ValueError(f"heads {heads} must divide dimension {dimension}")
        if rotary and dimension // heads % 2:
            raise ValueError(f"a rotary head needs an even width: dimension {dimension} / heads {heads} is odd")
        if alibi and heads == 1:
            raise ValueError("alibi needs at least two heads: the last one sees all moments alike")
        self.layout = layout
        tracks = {track.modality: track for track in layout.tracks}
        self.cells = CellEmbedding(layout, dimension)
        # One map for all modalities: the same moment is the same vector in each of them.
        self.time = nn.Linear(AXIS_FEATURES, dimension, bias=False)
        self.inputs = nn.ModuleDict(
            {name: TrackInput(track, patch, dimension, self_condition) for name, track in tracks.items()}
        )
        self.blocks = nn.ModuleList(Block(dimension, heads, int(mlp_ratio * dimension), gates) for _ in range(layers))
        self.outputs = nn.ModuleDict({name: TrackOutput(track, patch, dimension) for name, track in tracks.items()})
        self.spans = Spans(
            segments=tuple(track.segments for track in layout.tracks),
            tokens=tuple(self.inputs[name].tokens for name in layout.modalities),
        )
        self.register_buffer("time_features", time_features(layout), persistent=False)
        angles = rotation(layout, self.spans.tokens, dimension // heads) if rotary else None
        self.register_buffer("angles", angles, persistent=False)
        bias = nearness(layout, self.spans.tokens, heads) if alibi else None
        self.register_buffer("nearness", bias, persistent=False)
        self.initialise()

    def initialise(self) -> None:
        """Draws the weights anew, as DiT does (arXiv:2212.09748); modulation and output start at zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for weight in (*self.cells.modality.values(), self.cells.mlp[0].weight, self.cells.mlp[2].weight):
            nn.init.normal_(weight, std=0.02)
        for block in self.blocks:
            nn.init.zeros_(block.modulation.weight)
        for output in self.outputs.values():
            nn.init.zeros_(output.modulation.weight)
            nn.init.zeros_(output.project.weight)

    def forward(
        self,
        z: Latents,
        t: Float[Tensor, "batch modality segment"],
        *,
        self_condition: Latents | None = None,
    ) -> dict[str, Tensor]:
        """Predicts from noisy latents at the levels ``t``.

        Args:
            z: noisy latents, modality → ``(B, N_m, *grid, channels)``.
            t: the level of every cell, in [0, 1000] for the resolution that the embedding is made for; padding is not
                read.
            self_condition: an estimate of the clean latents, shaped as ``z``; None is the same as zeros.

        Returns:
            modality → a tensor shaped as ``z``.

        Raises:
            ValueError: if a modality is missing or too many, or a shape is not the layout's.
        """
        self._check(z, t, self_condition)
        names = self.layout.modalities
        rows = self.cells(torch.cat(list(self.layout.split(t).values()), dim=-1), self.time_features)
        times = self.time(self.time_features).split(self.spans.segments)
        estimates = self_condition or dict.fromkeys(names)
        tokens = [self.inputs[name](z[name], estimates[name], time).flatten(1, 2) for name, time in zip(names, times)]
        x = torch.cat(tokens, dim=1).to(z[names[0]].dtype)  # under autocast the residual stream keeps full precision
        for block in self.blocks:
            x = block(x, rows, self.spans, self.angles, self.nearness)
        parts = zip(names, self.spans.split_tokens(x), self.spans.split_rows(rows))
        return {name: self.outputs[name](part, own).to(z[name].dtype) for name, part, own in parts}

    def _check(self, z: Latents, t: Tensor, self_condition: Latents | None) -> None:
        """Refuses what does not have the layout's shapes."""
        batch = len(t)
        if t.shape[1:] != (self.layout.M, self.layout.N):
            expected = f"(B, {self.layout.M}, {self.layout.N})"
            raise ValueError(f"the timestep matrix has shape {tuple(t.shape)}, but the layout's is {expected}")
        for what, latents in (("latents", z), ("self-condition", self_condition)):
            if latents is None:
                continue
            if set(latents) != set(self.layout.modalities):
                raise ValueError(f"{what} of {sorted(latents)}, but the layout has {sorted(self.layout.modalities)}")
            for track in self.layout.tracks:
                found, expected = tuple(latents[track.modality].shape), (batch, *track.shape)
                if found != expected:
                    raise ValueError(
                        f"{what} of {track.modality!r} have shape {found}, expected {expected}: {batch} examples as "
                        "in the timestep matrix, segments, grid and channels as in the layout"
                    )
