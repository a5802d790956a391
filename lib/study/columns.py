"""The columns of the tables that `lib.study` makes: the only list of them.

A column of the run itself has the run's name for it, nested ones with a dot ("training.lr"); a
fact that a defence adds begins with "facts.".
"""

from collections.abc import Iterable

ROW = {
    "key": "the run's key",
    "twin": "the key of the same run in the attacked world",
    "status": '"ok", "failed" or "not measured"',
    "source": '"store", "published" or ""',
    "goal": "what the attacker wants (lib.goals)",
    "world": "the training world: P attacked, C clean, others by attack",
    "weights": '"last", or averaged ones of the same training: "tail", "ema"',
    "distance": "L2 norm of the last weights minus averaged ones, at the end of the training",
}
METRICS = {
    "accuracy": "share of clean test images classified correctly",
    "floor": "share of the attacked population called target without a trigger",
    "success": "share of the cases called what the attacker wants",
    "lift": "success - floor",
    "trigger_auc": "chance that a stamped image looks more like the target than an unstamped one",
    "base_recall": "share of the attacked population classified correctly without a trigger",
    "margin": "mean logit of the wanted label minus the largest other one",
    "probability": "mean softmax of the wanted label",
    "best_accuracy": "largest accuracy along the recorded path and at its end",
    "loss": "mean cross-entropy on clean test images, nats",
    "population": "images behind success",
    "tested": "images behind accuracy",
    "collapsed": "whether the model predicts one class, or nothing finite",
}
PRIVACY = {
    "epsilon": "of the whole training; inf: no guarantee",
    "epsilon_given_start": "of the last stage alone, given the weights that it started with",
    "delta": "",
    "adjacency": "who is a neighbour of whom",
    "noise_multiplier": "used, also where it was calibrated from an epsilon",
    "accountant": "",
}
COST = {
    "seconds": "this run's share of its group's time",
    "group_size": "models trained together",
}
PATH = {
    "step": "updates so far",
    "epoch": "passes over the records so far",
    "loss_poison": "mean cross-entropy of attacked training samples",
    "loss_base": "of untouched ones of the attacked class",
    "loss_clean": "of untouched ones of the other classes",
    "trigger_signal": "mean change of target minus base logit when the trigger is stamped",
    "trigger_noise": "sd over uninvolved classes of the mean change of their logits",
    "gap": "mean target minus base logit of the cases without their trigger",
    "gap_sd": "standard deviation of the same",
}
CERTIFIED = {
    "images": '"clean" or "triggered"',
    "rule": "which radius: nominal, union, votes ...",
    "radius": "in the unit of the certificate",
    "correct": "share certified with at least this radius, and correct",
    "called target": "share certified with at least this radius, and called target",
}
TWINS = {
    "natural": "success (floor, for a backdoor) of the clean twin",
    "collateral": "floor - natural",
    "effect": "lift minus that of the twin with labels changed alone",
    "blind": "success of the twin with labels changed alone",
    "auc_clean": "trigger AUC of the clean twin",
    "excess": "success - natural",
    "rad": "relative accuracy drop against the clean twin, last epoch",
    "rad_best": "the same at the best epoch of each, never negative",
}
SHARES = (
    "accuracy", "floor", "success", "trigger_auc", "base_recall", "probability", "best_accuracy",
    "correct", "called target", "natural", "blind", "auc_clean", "rad_best",
)
DIFFERENCES = ("lift", "collateral", "excess")  # of two shares
BOUNDS = {
    **dict.fromkeys(SHARES, (0.0, 1.0)),
    **dict.fromkeys(DIFFERENCES, (-1.0, 1.0)),
    "effect": (-2.0, 2.0),
}
FACT = "facts."
KNOWN = {*ROW, *METRICS, *PRIVACY, *COST, *PATH, *CERTIFIED, *TWINS}


def of_run(names: Iterable[str]) -> list[str]:
    """Those that say what was run, and not how it came out."""
    return [name for name in names if name not in KNOWN and not name.startswith(FACT)]


def bounds(name: str) -> tuple[float, float] | None:
    """The least and the largest value that a column can have; None where it has no such ends."""
    return BOUNDS.get(name)
