"""Several parts as one verdict, with the p of each word that it can say.

| claim | holds | fails |
|---|---|---|
| `worst`: every part must meet it | largest p | smallest p times the number of parts |
| `best`: one part must meet it | smallest p times the number of parts | largest p |

The largest p is that of the intersection-union test (all parts must show it), the smallest times
the number of parts is Holm's over the parts.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from lib.verdicts.family import holm, undecided
from lib.verdicts.verdict import FINDINGS, LEVEL, NOT_MEASURED, Verdict


def worst(verdicts: Mapping[str, Verdict], *, corrected: bool = False) -> Verdict:
    """A claim that every part must meet: the verdict of the part that decides, named in `path`.

    A part that is not testable here is left out unless there is no other; one not measured, or not
    testable and essential, blocks "holds". What is arithmetic decides nothing beside other parts.
    `corrected`: the parts' words stand as they are (they went through Holm's correction already).
    """
    parts = {name: v for name, v in verdicts.items() if v.outcome != "not testable here"}
    if not parts:
        return next(iter(verdicts.values()), NOT_MEASURED)
    untestable = {name: v for name, v in verdicts.items() if v.essential and name not in parts}
    measured = {name: v for name, v in parts.items() if v.outcome != "not measured"}
    missing = sorted(set(parts) - set(measured))
    tested = [v for v in measured.values() if v.outcome != "arithmetic"]
    if not corrected:
        measured = {name: _after_parts(v, len(tested)) for name, v in measured.items()}
    name = min(measured or parts, key=lambda key: _decides_first((measured or parts)[key]))
    chosen = _with_p((measured or parts)[name], tested, blocked=bool(missing or untestable))
    chosen = _named(chosen, name, measured.values(), of=len(parts))
    if chosen.outcome in ("holds", "arithmetic") and missing:
        return replace(chosen, outcome="inconclusive", reason=_missing(parts, missing))
    return _without(chosen, name, untestable) if untestable else chosen


def _missing(parts: Mapping[str, Verdict], missing: list[str]) -> str:
    """Which parts were not measured; why, where that is known."""
    bare = [name for name in missing if not parts[name].reason]
    why = dict.fromkeys(parts[name].reason for name in missing if parts[name].reason)
    return "; ".join([*why, *([f"not measured: {', '.join(bare)}"] if bare else [])])


def _after_parts(one: Verdict, parts: int) -> Verdict:
    """To fail, one of several parts must stand the correction over the parts."""
    if one.outcome != "fails" or math.isnan(one.p) or one.p_against * parts < LEVEL:
        return one
    return undecided(one, factor=parts, after=f"correction for {parts} parts")


def _with_p(chosen: Verdict, tested: list[Verdict], *, blocked: bool) -> Verdict:
    """The p of "holds" and of "fails" of all parts together; a part without a test has none."""
    fails = [v.p_against for v in tested if not math.isnan(v.p_against)]
    holds = [v.p_for for v in tested]
    if not fails:
        return replace(chosen, p_for=math.nan, p_against=math.nan, p_holm=math.nan)
    blocked = blocked or any(math.isnan(p) for p in holds)
    return replace(chosen, p_for=1.0 if blocked else max(holds),
                   p_against=min(1.0, min(fails) * len(fails)), p_holm=math.nan)


def _without(chosen: Verdict, name: str, untestable: Mapping[str, Verdict]) -> Verdict:
    """A claim with essential parts that cannot be tested: it can fail by the others, not hold."""
    why = "; ".join(dict.fromkeys(v.reason for v in untestable.values()))
    if chosen.outcome == "inconclusive" and chosen.p_for < chosen.p_against:
        wide = chosen.reason.rpartition(";")[0] if chosen.n_needed else chosen.reason
        return replace(chosen, n_needed=None, reason=f"{wide}; no number would decide: {why}")
    if chosen.outcome not in ("holds", "arithmetic"):
        return chosen
    return replace(chosen, outcome="not testable here", reason=f"{name} alone holds; {why}")


def signs(verdicts: Mapping[str, Verdict]) -> Verdict:
    """Two-sided parts as one verdict: one sign if all show it, "depends" if two show opposite ones.

    One sign of all parts has the largest of their p. Opposite signs are each looked for among the
    parts, so that Holm's correction over the parts decides which show one. The numbers are those of
    the part with the largest p, which shows the least.
    """
    measured = {name: v for name, v in verdicts.items() if not math.isnan(v.p)}
    if not measured:
        return next(iter(verdicts.values()), NOT_MEASURED)
    name = max(measured, key=lambda key: measured[key].p)
    chosen, whole = measured[name], len(measured) == len(verdicts)
    more, less = (max(ps) if whole else 1.0 for ps in (
        [v.p_for for v in measured.values()], [v.p_against for v in measured.values()]))
    parts = dict(zip(measured, holm(list(measured.values()))))
    shown = {v.outcome for v in parts.values()}
    alike = {v.outcome for v in measured.values()}
    if {"more", "less"} <= shown:
        both = max(min(v.p_holm for v in parts.values() if v.outcome == sign)
                   for sign in ("more", "less"))
        chosen = replace(chosen, outcome="depends", p_for=both, p_against=both)
    else:
        outcome = alike.pop() if whole and len(alike) == 1 else "inconclusive"
        chosen = replace(chosen, outcome=outcome, p_for=more, p_against=less)
    return _signed(_named(replace(chosen, p_holm=math.nan), name, measured.values(),
                          of=len(verdicts)), verdicts)


def _signed(chosen: Verdict, verdicts: Mapping[str, Verdict]) -> Verdict:
    """With the word of every part, where they are not one."""
    if len(verdicts) == 1 or chosen.outcome in ("more", "less"):
        return chosen
    listed = ", ".join(f"{part}: {v.outcome}" for part, v in verdicts.items())
    return replace(chosen, reason=listed)


def best(verdicts: Mapping[str, Verdict]) -> Verdict:
    """A claim that one part at least must meet: the verdict of the part nearest to it."""
    measured = {k: v for k, v in verdicts.items() if not math.isnan(v.p)}
    if not measured:
        return next(iter(verdicts.values()), NOT_MEASURED)
    parts, whole = len(measured), len(measured) == len(verdicts)
    name = min(measured, key=lambda key: (measured[key].p_for, -measured[key].p_against))
    chosen = measured[name]
    if chosen.outcome == "holds" and chosen.p_for * parts >= LEVEL:
        chosen = undecided(chosen, factor=parts, after=f"choosing among {parts}")
    if chosen.outcome == "fails" and not (
        whole and all(v.outcome == "fails" for v in measured.values())
    ):
        chosen = replace(
            chosen,
            outcome="inconclusive",
            reason="not every part fails, or not every part was measured",
        )
    chosen = replace(
        chosen,
        p_for=min(1.0, min(v.p_for for v in measured.values()) * parts),
        p_against=max(v.p_against for v in measured.values()) if whole else 1.0,
        p_holm=math.nan,
    )
    return _named(chosen, name, measured.values(), of=len(verdicts))


def _named(one: Verdict, name: str, measured: Iterable[Verdict], *, of: int) -> Verdict:
    """With the part's name, and the fewest instances that any part has."""
    fewest = min((v.fewest for v in measured), default=one.fewest)
    return replace(one, fewest=fewest, path=one.path if of == 1 else (name, *one.path))


def _decides_first(one: Verdict) -> tuple[int, float]:
    """Sort key: the clearest failure, else the undecided part that is most on the wrong side, else
    what needs the most instances, else the narrowest success.
    """
    if one.outcome == "fails":
        return 0, 0.0 if math.isnan(one.p_against) else one.p_against
    if one.outcome in ("inconclusive", *FINDINGS):
        if one.p_against < one.p_for:
            return 1, one.p_against
        return 2, -math.inf if one.n_needed is None else -one.n_needed
    if one.outcome == "holds":
        return 3, 0.0 if math.isnan(one.p_for) else -one.p_for
    return 4, 0.0
