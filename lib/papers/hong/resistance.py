"""What the figures and tables of the targeted attacks show: shares of targets by setting, twins at
equal accuracy, and what a proper epsilon allows."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lib.papers.hong import search
from lib.papers.hong.bases import NOISE_NORM
from lib.papers.hong.search import (
    ACCURACY,
    ARM,
    CASE,
    CHOSEN,
    NEEDED,
    PAPER,
    RULES,
    TARGET,
    TRIES,
    natural,
)
from lib.papers.hong.targeted import TABLE_NOISE, VANILLA, Setting
from lib.verdicts import contrasts, judgement

if TYPE_CHECKING:
    from pandas import DataFrame, Series

ATTACKED, UNTOUCHED, ALONE = "attack, paper's rule", "natural, same rule", CHOSEN
EPSILON, SLOWER, CROSSED = "ε", "rate ", "then"  # in the names of arms
DIFFERENCES = ("than", TARGET, "difference", "instead")


def settings(found: "DataFrame") -> "DataFrame":
    """The arms of figures 5 and 6: base and re-training alike, at the usual rate."""
    names = found[ARM].astype(str)
    return found[~(names.str.startswith((EPSILON, SLOWER)) | names.str.contains(CROSSED))]


def panels(found: "DataFrame", *, alone: bool = True) -> "list[dict]":
    """Specs of `figures.proportions`: success by the paper's rule, its natural rate, and one poison
    at the last epoch (`alone`); a panel a model, with RAD and poisons needed as notes."""
    kinds = {PAPER: ATTACKED, natural(PAPER): UNTOUCHED} | ({CHOSEN: ALONE} if alone else {})
    specs = []
    for case, group in found.groupby(CASE, sort=False):
        lines = search.shares(group, list(kinds)).replace({"rule": kinds})
        notes = _notes(group)
        lines = lines.assign(note=lines[ARM].map(notes))
        specs.append({"frame": lines, "title": f"{case}: {_denominators(lines)} targets"})
    return specs or [{"frame": search.shares(found, list(kinds))}]


def _denominators(lines: "DataFrame") -> str:
    least, most = lines["n"].min(), lines["n"].max()
    return f"{least}" if least == most else f"{least} to {most}"


def _notes(group: "DataFrame") -> "dict[str, str]":
    """By arm: RAD, and for growing numbers the mean poisons needed."""
    lost, needed = search.rad(group).mean(), group.groupby(ARM)[NEEDED].mean()
    several = bool(group[search.MULTI].any())
    told = {name: f"RAD {round(lost.get(name, math.nan), 2) + 0.0:.2f}"
            for name in group[ARM].unique()}
    return {name: told[name].replace("-", "−").replace("nan", "–")
            + (f", {needed[name]:.1f} poisons" if several and needed[name] == needed[name] else "")
            for name in told}


def table(found: "DataFrame") -> "DataFrame":
    """A line per model and arm: targets, and by each rule success and its natural rate in per cent,
    with Clopper-Pearson intervals; clean accuracy and RAD."""
    import pandas as pd

    lines = []
    for case, own in found.groupby(CASE, sort=False):
        lost = search.rad(own).mean()
        for name, group in own.groupby(ARM, sort=False):
            usable = search.usable(group)
            lines.append({
                "model": case, "arm": name, "targets": f"{len(usable)} of {len(group)}",
                **{rule: _share(usable, rule) for rule in (PAPER, natural(PAPER), CHOSEN,
                                                           natural(CHOSEN))},
                RULES[2]: 100 * usable[RULES[2]].mean(), "clean accuracy, %":
                    100 * group[ACCURACY].mean(), "RAD": lost.get(name, math.nan)})
    return pd.DataFrame(lines)


def _share(usable: "DataFrame", rule: str) -> str:
    from lib import metrics

    hits, n = int(usable[rule].sum()), len(usable)
    if not n:
        return "–"
    low, high = metrics.clopper_pearson(hits, n)
    return f"{100 * hits / n:.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def finding(found: "DataFrame") -> str:
    """In words: the vanilla model, and the setting that leaves least, by the paper's rule."""
    said = []
    for case, group in settings(found).groupby(CASE, sort=False):
        rates = search.shares(group, [PAPER, natural(PAPER)]).pivot_table(
            index=ARM, columns="rule", values=["hits", "n"], sort=False)
        if VANILLA not in rates.index:
            continue
        least = (rates["hits"][PAPER] / rates["n"][PAPER]).idxmin()
        hits, n, none = rates["hits"][PAPER], rates["n"][PAPER], rates["hits"][natural(PAPER)]
        parts = [f"{name} {hits[name]:.0f} of {n[name]:.0f} targets (natural {none[name]:.0f})"
                 for name in dict.fromkeys([VANILLA, least])]
        said.append(f"{case}: {', '.join(parts)}.")
    return " ".join(said)


# ---------------------------------------------------------------- twins at equal accuracy

def twins(found: "DataFrame", rule: str = PAPER) -> "DataFrame":
    """Each DP arm minus plain training at a smaller rate that is as accurate on clean data: a line
    an arm and target.

    Of several plain arms, the one with the least success on the *other* targets (`instead`: the
    ones taken). Arms that no plain one matches are left out. found: of one model.
    """
    import pandas as pd

    wide, clean = search.table(search.usable(found), rule), found.groupby(ARM)[ACCURACY].mean()
    plain = [name for name in wide if name == VANILLA or str(name).startswith(SLOWER)]
    parts = []
    for arm in [name for name in wide if name not in plain and CROSSED not in name]:
        able = [name for name in plain if clean[name] >= clean[arm]]
        other = contrasts.least_elsewhere(wide, able)
        if other is None:
            continue
        apart = (wide[arm] - other).dropna()
        parts.append(pd.DataFrame({"than": arm, TARGET: apart.index, "difference": apart.values,
                                   "instead": _least(wide, able)}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*DIFFERENCES])


def _least(wide: "DataFrame", names: "list[str]") -> str:
    return str(wide[names].mean().idxmin())


def twins_finding(apart: "DataFrame") -> str:
    """In words: how many DP arms are attacked less often than their twin, and the best of them."""
    if apart.empty:
        return ""
    means = apart.groupby("than", sort=False)["difference"].mean()
    best = str(means.idxmin())
    values = apart.loc[apart["than"].eq(best), "difference"].to_numpy(float)
    return (f"{int((means < 0).sum())} of {len(means)} DP settings are attacked on fewer targets"
            f" than plain training at a smaller rate that is at least as accurate; the best,"
            f" {best}, differs from it by {judgement.points(values, bounds=(-1.0, 1.0))} points.")


# ---------------------------------------------------------------- what an epsilon allows

def caps(found: "DataFrame") -> "DataFrame":
    """A line per proper epsilon and rule: success, its natural rate, and for one poison chosen
    beforehand the most that DP allows (`cap`): from the upper limit of the natural rate."""
    import pandas as pd

    from lib import privacy

    lines = []
    for arm, group in found[found[ARM].astype(str).str.startswith(EPSILON)].groupby(
            ARM, sort=False):
        lines += _cap_lines(arm, search.usable(group), privacy.dpsgd_attack_success_cap)
    return pd.DataFrame(lines, columns=["row", "rule", "hits", "n", "share", "low", "high", "cap"])


def _cap_lines(arm: str, group: "DataFrame", bound) -> "list[dict]":
    if group.empty:
        return []
    found = search.shares(group, [CHOSEN, natural(CHOSEN), PAPER, natural(PAPER)])
    clean = found.set_index("rule").at[natural(CHOSEN), "high"]
    noise, rate, steps = (group[name].iloc[0] for name in
                          (search.NOISE, search.SAMPLED, search.STEPS))
    cap = bound(clean, noise, rate, int(steps), k=1)
    return [dict(line, row=f"{arm}: {rule}", rule=kind,
                 cap=cap if line["rule"] == CHOSEN else math.nan)
            for _, line in found.iterrows()
            for rule, kind in [_told(line["rule"])]]


def _told(column: str) -> tuple[str, str]:
    """A column as (rule, attacked or natural)."""
    rule = next(rule for rule in RULES if column.startswith(rule))
    return rule, "natural" if column == natural(rule) else "attack"


def caps_finding(lines: "DataFrame") -> str:
    """In words: measured success against the cap, and the paper's rule beside its natural rate."""
    said = []
    for row, group in lines.groupby("row", sort=False):
        by = group.set_index("rule")
        text = f"{row}: {by.at['attack', 'hits']} of {by.at['attack', 'n']} targets"
        text += f", natural {by.at['natural', 'hits']}"
        cap = by.at["attack", "cap"]
        said.append(text + (f", at most {100 * cap:.0f}% allowed" if cap == cap else ""))
    return "; ".join(said) + "." if said else ""


# ---------------------------------------------------------------- many poisons, table 3

def scenario_names() -> list[str]:
    """The arms of table 3; the last one, DP throughout, is ours."""
    private = Setting(NOISE_NORM, TABLE_NOISE).name
    return [VANILLA, f"{VANILLA}, {CROSSED} {private}", f"{private}, {CROSSED} {VANILLA}", private]


def scenarios(found: "DataFrame", names: "Iterable[str]") -> "DataFrame":
    """Table 3: a line per base and re-training, one-shot and many poisons by the paper's rule."""
    import pandas as pd

    lines = []
    for name in names:
        one, more = (search.usable(group[group[ARM].eq(name)]) for group in
                     (search.of(found), search.of(found, multi=True)))
        lines.append({"base, then re-training": name, "one-shot, %": _share(one, PAPER),
                      "natural, %": _share(one, natural(PAPER)),
                      "one poison, last epoch, %": _share(one, CHOSEN), "targets": len(one),
                      "many poisons, %": _share(more, PAPER),
                      "natural (many), %": _share(more, natural(PAPER)),
                      "targets (many)": len(more), NEEDED: _mean(more[NEEDED])})
    return pd.DataFrame(lines)


def _mean(values: "Series") -> str:
    found = judgement.estimate(values.to_numpy(float))
    if not found.n:
        return "–"
    limits = "" if math.isnan(found.low) else f" [{found.low:.1f}, {found.high:.1f}]"
    return f"{found.mean:.1f}{limits} of {found.n}"


def needed(found: "DataFrame") -> "DataFrame":
    """Powers of ten between the poisons that a setting needs and those that vanilla needs: a line
    an arm and target on which both attacks succeed. found: of one model."""
    import numpy as np
    import pandas as pd

    wide = search.table(search.usable(found), NEEDED)
    if VANILLA not in wide:
        return pd.DataFrame(columns=["than", TARGET, "difference"])
    apart = np.log10(wide.drop(columns=VANILLA).div(wide[VANILLA], axis=0))
    told = apart.rename_axis(columns="than").melt(ignore_index=False, value_name="difference")
    return told.reset_index().dropna(subset="difference")[["than", TARGET, "difference"]]


def needed_finding(apart: "DataFrame") -> str:
    """In words: how many times the poisons each setting needs."""
    parts = []
    for name, group in apart.groupby("than", sort=False):
        found = judgement.estimate(group["difference"].to_numpy(float))
        limits = "" if math.isnan(found.low) else f" [{10**found.low:.1f}, {10**found.high:.1f}]"
        parts.append(f"{name} {10**found.mean:.1f}{limits}")
    return f"Poisons needed, times those of the vanilla model: {', '.join(parts)}." if parts else ""


def needs_poison(found: "DataFrame") -> int:
    """Targets that no usable poison was found for."""
    return int((found[TRIES] == 0).sum())


# ---------------------------------------------------------------- figure 7

def shaped(frame: "DataFrame") -> "DataFrame":
    """The anatomy of figure 7's runs by epoch, with `series`: without and with DP."""
    from lib import study

    found = study.anatomy(frame[frame["anatomy"].astype(bool)], by_epoch=True)
    clip = found["defence.clip"].astype(bool)
    return found.assign(series=clip.map({False: "no defence", True: "DP-SGD"}),
                        ratio=found["ratio"].astype(float), cosine=found["cosine"].astype(float))


def shaped_panels(points: "DataFrame") -> "list[dict]":
    """Specs of `figures.panels`."""
    shared = {"frame": points, "x": "epoch", "series": "series", "spread": "none"}
    return [shared | {"y": "ratio", "ylabel": "norm, poison over clean gradient",
                      "title": "ratio of norms"},
            shared | {"y": "cosine", "ylabel": "cosine, poison and clean gradient",
                      "title": "orientation"}]


def shaped_finding(points: "DataFrame", frame: "DataFrame") -> str:
    """In words: mean ratio and spread of the cosine, and whether the target was hit at the end."""
    hit = frame.set_index("key")["success"]
    said = [f"{name}: mean ratio {group['ratio'].mean():.1f}, deviation of the cosine"
            f" {group['cosine'].std():.2f}, target"
            f" {'hit' if hit[group['key'].iloc[0]] > 0.5 else 'missed'}"
            for name, group in points.dropna(subset="ratio").groupby("series", sort=False)]
    return f"Last epoch and means over epochs. {'; '.join(said)}." if said else ""
