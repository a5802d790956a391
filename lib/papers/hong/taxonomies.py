"""Tables 1 and 2 of Hong et al.: the attacks and the defences that the paper sorts."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

BOTH = "collision and insertion"
# attack: goal, poisons, injected while, task, model, mechanism
ATTACKS = {
    "Barreno et al., indiscriminate": ("indiscriminate", "many", "training", "two classes",
                                       "naive Bayes", "–"),
    "Biggio et al.": ("indiscriminate", "many", "training", "two classes", "SVM", "collision"),
    "Zhao et al.": ("indiscriminate", "many", "training", "two or more", "SVM", "collision"),
    "Steinhardt et al.": ("indiscriminate", "many", "training", "two classes", "SVM", "collision"),
    "Muñoz-González et al.": ("indiscriminate", "many", "training", "two or more",
                              "logistic regression", "collision"),
    "Jagielski et al.": ("indiscriminate", "many", "training", "two classes",
                         "logistic regression", "collision"),
    "Ma et al.": ("indiscriminate", "many", "training", "two classes", "linear", "collision"),
    "Barreno et al., targeted": ("targeted", "many", "training", "two classes", "naive Bayes", "–"),
    "Suciu et al.": ("targeted", "many", "both", "more classes", "deep network", BOTH),
    "Shafahi et al. (Poison Frogs)": ("targeted", "one or many", "both", "more classes",
                                      "deep network", BOTH),
    "Zhu et al. (convex polytope)": ("targeted", "one or many", "both", "more classes",
                                     "deep network", BOTH),
}
# defence: how, against, must know the training data, the algorithm and model, the targets, cost
DEFENCES = {
    "RONI": ("removes outliers", "indiscriminate", True, False, False, True),
    "certified defence (Steinhardt et al.)": ("removes outliers", "indiscriminate", True, True,
                                              False, True),
    "TRIM": ("removes outliers", "indiscriminate", True, True, False, True),
    "SEVER": ("removes outliers", "indiscriminate", True, True, False, True),
    "tRONI": ("removes outliers", "targeted", True, False, True, True),
    "DP optimizers": ("clips, adds noise", "both", False, False, False, False),
}


def attacks() -> "DataFrame":
    """Table 1, without what each attacker knows; norms and angles are high in all but Barreno's."""
    import pandas as pd

    names = ["goal", "poisons", "injected while", "task", "model", "mechanism"]
    lines = [dict(zip(["attack", *names], (name, *facts), strict=True))
             for name, facts in ATTACKS.items()]
    return pd.DataFrame(lines).replace({"injected while": {"both": "training or re-training"}})


def defences() -> "DataFrame":
    """Table 2."""
    import pandas as pd

    names = ["how", "against", "knows the data", "knows the model", "knows the targets",
             "costs computation"]
    return pd.DataFrame([dict(zip(["defence", *names], (name, *facts), strict=True))
                         for name, facts in DEFENCES.items()])
