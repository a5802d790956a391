"""The columns of the tables that `lib.study` makes; there is no other list of them.

Further columns are the fields of `Run`, nested ones with a dot ("training.lr"), and the facts that
an attack or a defence adds, with the prefix "facts.".
"""

from collections.abc import Iterable

ROW = {
    "key": "the run's key",
    "twin": "the key of the same run in the attacked world",
    "status": '"ok", "failed" or "not measured"',
    "source": '"store", "published" or ""',
    "goal": "what the attacker wants (lib.goals)",
    "world": "the training world: P attacked, C clean, others by attack",
    "weights": '"last", or an average over the same training: "tail", "ema"',
    "distance": "L2 norm of the last weights minus averaged ones, at the end of the training",
}
METRICS = {
    "accuracy": "share of clean test images classified correctly",
    "floor": "share of the attacked population classified as the target without a trigger",
    "success": "share of the cases classified as the attacker wants",
    "lift": "success - floor",
    "turned": "share of the attacked population called the target with the trigger, of those that "
              "are not without it",
    "trigger_auc": "chance that a stamped image looks more like the target than an unstamped one",
    "base_recall": "share of the attacked population classified correctly without a trigger",
    "target_recall": "share of the target class classified correctly without a trigger",
    "margin": "mean logit of the wanted label minus the largest other logit",
    "probability": "mean softmax of the wanted label",
    "best_accuracy": "largest accuracy along the recorded path, its end included",
    "loss": "mean cross-entropy on clean test images, nats",
    "population": "number of images that success counts",
    "tested": "number of images that accuracy counts",
    "collapsed": "whether the model predicts a single class, or logits that are not finite",
}
PRIVACY = {
    "epsilon": "of the whole training; inf: no guarantee",
    "epsilon_given_start": "of the last stage alone, given the weights that it started from",
    "delta": "of the same guarantee",
    "adjacency": "which data sets count as neighbours",
    "noise_multiplier": "as used, whether set or calibrated from an epsilon",
    "accountant": "that computed epsilon",
}
COST = {
    "seconds": "this run's share of its group's time",
    "group_size": "models trained together",
}
PATH = {
    "step": "updates so far",
    "epoch": "passes over the records so far",
    "loss_poison": "mean cross-entropy of attacked training samples",
    "loss_base": "mean cross-entropy of untouched training samples of the base class",
    "loss_clean": "mean cross-entropy of untouched training samples of the other classes",
    "accuracy_poison": "share of attacked training samples classified as they are labelled",
    "accuracy_clean": "the same of the untouched samples of loss_clean",
    "trigger_signal": "mean change of target minus base logit when the trigger is stamped",
    "trigger_noise": "sd over uninvolved classes of the mean change of their logits",
    "gap": "mean target minus base logit of the cases without their trigger",
    "gap_sd": "standard deviation of target minus base logit over these cases",
}
_QUANTILES = (5, 25, 50, 75, 95)
_OF_RECORDS = {
    "poison_norm": "per cent quantile of the gradient norms of single poison records",
    "clean_norm": "the same of clean records",
    "poison_cosine": "per cent quantile of the cosines of single poison records' gradients with the"
                     " mean clean gradient, over all parameters",
    "clean_cosine": "the same of clean records",
}
ANATOMY = {
    "ratio": "norm of the mean poison gradient over the clean one's, kernel of the last layer",
    "cosine": "cosine between these two mean gradients",
    "ratio_all": "the ratio over all parameters",
    "cosine_all": "the cosine over all parameters",
    "poison_records": "number of poison records that the means are over",
    "clean_records": "number of clean records that the means are over",
    "poison_mean": "norm of the mean poison gradient, kernel of the last layer",
    "clean_mean": "norm of the mean clean gradient, kernel of the last layer",
    "share": "norm of poison's part of the sum of gradients over this norm plus the clean part's",
    "opposition": "projection of poison's part on the negative clean part, in its lengths",
    "share_clipped": "share, with every gradient clipped at the run's norm",
    "opposition_clipped": "opposition, with every gradient clipped at the run's norm",
    "poison_clipped": "share of the poison records whose gradient is longer than the run's norm",
    "clean_clipped": "the same of the clean records",
    **{f"{name}_{at}": f"{at} {words}" for name, words in _OF_RECORDS.items()
       for at in _QUANTILES},
}
_OF_LOSSES = {
    "clean": "untouched training samples",
    "poison": "attacked training samples",
    "bare": "attacked training samples without their trigger, with the labels of the attack",
}
LOSSES = {f"loss_{name}_{at}": f"{at} per cent quantile of the cross-entropy of {words}"
          for name, words in _OF_LOSSES.items() for at in (25, 50, 75)}
CERTIFIED = {
    "images": '"clean" or "triggered"',
    "rule": "which radius: nominal, union, votes ...",
    "radius": "in the unit of the certificate",
    "correct": "share certified with at least this radius, and correct",
    "called target": "share certified with at least this radius, and classified as the target",
}
TWINS = {
    "natural": "success (floor, for a backdoor) of the clean twin",
    "collateral": "floor - natural",
    "effect": "lift minus the lift of the twin without stamps, relabelled or hardened only",
    "blind": "success of this twin",
    "lost_recall": "target recall of the clean twin minus this one's",
    "auc_clean": "trigger AUC of the clean twin",
    "excess": "success - natural",
    "rad": "relative accuracy drop against the clean twin, last epoch",
    "rad_best": "the same at the best epoch of each, at least 0",
}
SHARES = (
    "accuracy", "floor", "success", "turned", "trigger_auc", "base_recall", "target_recall",
    "probability", "best_accuracy", "correct", "called target", "natural", "blind", "auc_clean",
    "rad_best", "accuracy_poison", "accuracy_clean",
)
DIFFERENCES = ("lift", "collateral", "excess", "lost_recall")  # of two shares
BOUNDS = {
    **dict.fromkeys(SHARES, (0.0, 1.0)),
    **dict.fromkeys(DIFFERENCES, (-1.0, 1.0)),
    "effect": (-2.0, 2.0),
}
FACT = "facts."
KNOWN = {*ROW, *METRICS, *PRIVACY, *COST, *PATH, *ANATOMY, *LOSSES, *CERTIFIED, *TWINS}


def of_run(names: Iterable[str]) -> list[str]:
    """The columns that say what was run, without those of results."""
    return [name for name in names if name not in KNOWN and not name.startswith(FACT)]


def bounds(name: str) -> tuple[float, float] | None:
    """The least and the largest value that a column can have; None where it has no such ends."""
    return BOUNDS.get(name)
