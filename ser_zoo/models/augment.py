"""What training changes in features: mixup, differences within a class, and SpecAugment.

They act on what an encoder and a front end give, kept or computed live, so they cost no run of the encoder. They are drawn
once a step and stand in the batch (``Batch.change``): every feature of a clip changes alike, the labels are mixed in the same
shares, and two passes over a batch see the same.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ser_zoo.data.batch import Batch, FeatureChange
from ser_zoo.errors import SERZooError
from ser_zoo.features import frame_mask


def change_batch(
    batch: Batch,
    classes: int,
    mixup: float,
    time: tuple[int, float],
    channels: tuple[int, float],
    delta: float = 0.0,
) -> Batch:
    """Draw what is to be changed by torch's generator, and mix the labels.

    Args:
        batch: of training rows.
        classes: number of classes, C.
        mixup: alpha of Beta(alpha, alpha), of which each clip's share is drawn; 0 mixes nothing.
        time: number of masks over time per clip, and the longest as a share of the clip.
        channels: number of masks over channels per clip, and the widest as a share of the width.
        delta: scale of the differences within a class; 0 adds nothing.

    Returns:
        The batch with ``change``, and with (B, C) labels where clips are mixed.
    """
    rows, device = len(batch.ids), batch.lengths.device
    partner, share = None, torch.ones(rows, device=device)
    pairs = _alike(batch.labels, rows) if delta else None  # before the labels are mixed
    if mixup:
        alpha = torch.tensor(float(mixup), device=device)
        partner, share = torch.randperm(rows, device=device), torch.distributions.Beta(alpha, alpha).sample((rows,))
        targets = batch.labels if batch.labels.dim() == 2 else F.one_hot(batch.labels, classes).to(share.dtype)
        batch = batch._replace(labels=torch.lerp(targets[partner], targets, share[:, None]))
    spans = _spans(rows, *time, device), _spans(rows, *channels, device)
    return batch._replace(change=FeatureChange(partner, share, *spans, pairs, delta))


def change_features(values: Tensor, lengths: Tensor, change: FeatureChange) -> tuple[Tensor, Tensor]:
    """One feature of a batch with the change that was drawn for the batch.

    Differences: every frame of clip i gets ``scale * (mean of clip j - mean of clip k)``, where j and k are two clips of one
    class, whichever, and means are over time: how utterances of one class differ, by speaker above all, is what a new speaker
    may bring to any class (the linear delta of Kumar et al. 2019, arXiv 1910.04176, there with a scale of 1 and with clips of
    the class of i only).
    Mixup (Zhang et al. 2018): clip i becomes ``share * clip i + (1 - share) * partner of i``. The shorter of the two is
    repeated up to the length of the longer, because zeros in its place would be mixed in as if they were signal.
    SpecAugment (Park et al. 2019): what is hidden takes the mean of its channel over the valid frames of the batch. That is
    the zero of Park et al., whose features have zero mean; these need not have it. torchaudio's masks know neither lengths
    nor means.

    Args:
        values: (B, ..., T, D), zero beyond each length.
        lengths: (B,) frames.
        change: what was drawn.

    Returns:
        (B, ..., T, D) values, zero beyond each length, and (B,) lengths.

    Raises:
        SERZooError: the feature has not one row per clip.
    """
    if len(values) != len(change.share):
        raise SERZooError(
            f"Mixup, differences and masks change whole clips, but here {len(change.share)} clips are read as {len(values)} "
            "pieces. Leave --model.optim.mixup, linear_delta, time_masks and channel_masks out, or take a form of the model "
            "that reads clips whole."
        )
    if change.delta is not None:
        values = _shift(values, lengths, change.delta, change.scale)
    if change.partner is not None:
        values, lengths = _mix(values, lengths, change.partner, change.share)
    if change.time.shape[1] or change.channels.shape[1]:
        values = _hide(values, lengths, change.time, change.channels)
    return values, lengths


def _alike(labels: Tensor, rows: int) -> Tensor:
    """(B, 2): for each row two different ones of a random class, or the same twice where no class has two."""
    names = labels.argmax(1) if labels.dim() == 2 else labels
    same = (names[:, None] == names) & ~torch.eye(rows, dtype=torch.bool, device=labels.device)
    first, second = same.nonzero(as_tuple=True)
    if len(first) == 0:
        return torch.arange(rows, device=labels.device)[:, None].expand(rows, 2)
    chosen = torch.randint(len(first), (rows,), device=labels.device)
    return torch.stack([first[chosen], second[chosen]], dim=1)


def _shift(values: Tensor, lengths: Tensor, pairs: Tensor, scale: float) -> Tensor:
    counts = lengths.clamp(min=1).view(-1, *[1] * (values.dim() - 2))
    means = values.sum(-2) / counts  # what lies beyond a clip is zero
    shift = scale * (means[pairs[:, 0]] - means[pairs[:, 1]])
    return values + shift[..., None, :] * _over(frame_mask(lengths, values.shape[-2])[..., None], values)


def _mix(values: Tensor, lengths: Tensor, partner: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    own = torch.arange(len(lengths), device=lengths.device)
    mixed_lengths = torch.maximum(lengths, lengths[partner])
    weights = share.to(values.dtype).view(-1, *[1] * (values.dim() - 1))
    mixed = torch.lerp(_repeated(values, lengths, partner), _repeated(values, lengths, own), weights)
    return mixed * _over(frame_mask(mixed_lengths, values.shape[-2])[..., None], values), mixed_lengths


def _repeated(values: Tensor, lengths: Tensor, rows: Tensor) -> Tensor:
    """(B, ..., T, D): the clips ``rows`` of ``values``, each beginning anew where it ends."""
    frames = values.shape[-2]
    steps = torch.arange(frames, device=lengths.device) % lengths[rows].clamp(min=1)[:, None]
    by_frame = values.movedim(-2, 1)
    repeated = by_frame.flatten(0, 1).index_select(0, (rows[:, None] * frames + steps).flatten())
    return repeated.view(by_frame.shape).movedim(1, -2)


def _hide(values: Tensor, lengths: Tensor, time: Tensor, channels: Tensor) -> Tensor:
    mean = values.detach().sum((0, -2), keepdim=True) / lengths.sum().clamp(min=1)
    width = torch.full_like(lengths, values.shape[-1])
    hidden = _covered(time, lengths, values.shape[-2])[..., None] | _covered(channels, width, values.shape[-1])[:, None]
    hidden = hidden & frame_mask(lengths, values.shape[-2])[..., None]
    return torch.where(_over(hidden, values), mean, values)


def _over(mask: Tensor, values: Tensor) -> Tensor:
    """A (B, T, ...) mask with the inner dimensions of (B, ..., T, D) values."""
    return mask.view(len(mask), *[1] * (values.dim() - 3), *mask.shape[1:])


def _spans(rows: int, masks: int, widest: float, device: torch.device) -> Tensor:
    """(rows, masks, 2) start and end as shares of an axis; widths and places are uniform."""
    widths = widest * torch.rand(rows, masks, device=device)
    starts = (1 - widths) * torch.rand(rows, masks, device=device)
    return torch.stack([starts, starts + widths], dim=-1)


def _covered(spans: Tensor, sizes: Tensor, size: int) -> Tensor:
    """(B, size) bool, True where one of the (B, M, 2) spans of an axis of (B,) ``sizes`` lies."""
    edges = spans[:, None] * sizes[:, None, None, None]
    steps = torch.arange(size, device=spans.device)[:, None]
    return ((steps >= edges[..., 0]) & (steps < edges[..., 1])).any(-1)
