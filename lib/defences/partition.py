"""What a vote of models trained on disjoint parts of the data certifies: how many samples cannot change its outcome.

Levine and Feizi 2021 (Deep Partition Aggregation), Theorem 1. No noise and no differential privacy: the certificate is
exact and holds image by image, for any poisoned samples.
"""

import numpy as np
import torch

from lib.privacy.pate import vote_counts


def certificate(votes):
    """Return (prediction [samples], radius [samples]): the plurality vote and how many changed votes it withstands.

    votes: counts [samples, classes]; ties go to the lower class. A changed vote moves from any class to any other. The
    radius is the largest number of them that cannot change the prediction: with n_c votes for the prediction c the
    smallest floor((n_c - n_c' - [c' < c]) / 2) over the other classes c'; with one class only, all votes.

    Under a partition by a hash of the sample it is the number of training samples inserted plus deleted (an image
    changed in place: 2). Under a partition by index it is the number of samples changed in place; an inserted one
    would move all later samples, which no radius covers. The models must be deterministic: equal parts, equal votes.

    numpy or torch in, the same out (int64, on the same device). ValueError: counts that are not whole and non-negative.
    """
    counts = vote_counts(votes, rows="samples").astype(np.int64)
    prediction = counts.argmax(axis=1)  # the first of equal counts
    lower = np.arange(counts.shape[1]) < prediction[:, None]
    gaps = counts.max(axis=1, keepdims=True) - counts - lower
    # No rival of itself: no radius is larger than the number of votes.
    np.put_along_axis(gaps, prediction[:, None], 2 * counts.sum(axis=1, keepdims=True), axis=1)
    radius = gaps.min(axis=1) // 2
    if isinstance(votes, torch.Tensor):
        return torch.from_numpy(prediction).to(votes.device), torch.from_numpy(radius).to(votes.device)
    return prediction, radius
