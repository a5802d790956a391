"""Mutants of the privacy code: each changes a piece of text so that a guarantee becomes false, and
names the tests that must notice.

The named tests run in a copy of lib/ and tests/ with the change. A new process for each would wait
4 s for torch, so one process imports the packages (nothing of the project) and forks for every
mutant.
"""

import gc
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve()
ROOT = HERE.parent.parent
HEAVY = ("torch.func", "scipy.stats", "scipy.optimize", "hypothesis.strategies",
         "dp_accounting.pld.pld_pmf", "opacus.optimizers", "pandas", "mpmath")
# Seconds for the tests of one mutant; a mutant that makes them run for ever was not caught.
TIME_LIMIT = 400
CAUGHT = 1  # pytest's exit code for failed tests; 2 to 5 are tests that did not run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that can fork a process")
]


@dataclass(frozen=True)
class Mutant:
    """What goes wrong in words, the file in lib/, its text, the text to put in its place, and the
    tests in tests/ that must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def __str__(self):
        return self.name.replace(" ", "-")


def mutant(name, file, old, new, *tests):
    return Mutant(name, file, old, new, tests)


STEP, DRAWS, BATCHES = (f"training/{name}.py" for name in ("fit", "draws", "batches"))
LAYERS, FALLBACK, GRAM, FACTORS = (f"training/steps/{name}.py" for name in (
    "closed_form", "per_sample", "coefficients", "factors"))
DPSGD, PATE, LPMST, ALIBI, NOISE = (f"defences/{name}.py" for name in ("dpsgd", "pate", "lpmst",
                                                                       "alibi", "label_noise"))
PARTITION, SMOOTHING, TEACHERS = (f"defences/{name}.py" for name in ("partition", "smoothing",
                                                                     "teachers"))
ACCOUNT, BOUNDS, TABLE, VOTES, MIXING, AUDIT = (
    f"privacy/{name}.py" for name in ("dpsgd", "bounds", "summary", "pate", "laplace_mixing",
                                      "audit"))

LOOP = "test_training.py::test_clipped_sums_equal_a_loop_over_samples"
AHEAD = "test_draws.py::test_the_noise_has_its_deviation_and_its_own_seed"
DEEP = "test_training_deep.py::test_closed_forms_equal_every_samples_own_gradient"
OTHER = "test_training_modules.py::test_none_of_them_takes_a_closed_form"
OPACUS = "test_training.py::test_private_training_equals_opacus[sgd-False-head]"
ON_THE_SUM = "test_training.py::test_noise_is_on_the_sum_and_is_divided_by_the_expected_batch_size"
OF_A_MEMBER = "test_training.py::test_batches_of_a_member_are_what_the_accountants_assume"
FOLLOWS = "test_study.py::test_a_guarantee_follows_sampler_clipping_and_steps"
POWER = "test_privacy.py::test_one_step_cap_is_the_best_tests_power"
TABLED = "test_privacy.py::test_table_of_epsilons_holds_what_its_columns_say"
TRANSCRIPT = (
    "test_pate_privacy.py::test_selection_is_paid_by_every_query_and_results_by_the_answered"
)
PROMISE = "test_pate.py::test_the_promise_takes_every_query_as_answered_and_looks_at_no_vote"
VALUES = "test_pate_privacy.py::test_certificate_values"
IN_PLACE = ("test_certificates.py::"
            "test_an_image_changed_in_place_is_two_changes_by_content_and_one_by_index")

MUTANTS = [
    # the private step: noise
    mutant(
        "noise over the batch size",
        DRAWS,
        "addcmul_(self.draw, scales)",
        "addcmul_(self.draw, scales / len(self.drawn[0]))",
        ON_THE_SUM,
    ),
    mutant(
        "half the noise",
        DRAWS,
        "[[members[place].noise] for",
        "[[members[place].noise / 2] for",
        ON_THE_SUM,
    ),
    mutant(
        "noise without the clipping norm",
        DPSGD,
        '"noise": self._noise_multiplier() * self.max_grad_norm',
        '"noise": self._noise_multiplier()',
        "test_golden.py::test_dpsgd_version_1",
    ),
    mutant(
        "the same noise in every step",
        DRAWS,
        "part.normal_(generator=random)",
        "part.normal_(generator=random.clone_state())",
        OPACUS,
    ),
    mutant(
        "no noise on the last layer",
        DRAWS,
        "self.draw.split(sizes), [",
        "self.draw.split(sizes)[:-1], [",
        OPACUS,
    ),
    mutant(
        "one noise for all models of a group",
        DRAWS,
        'generator("noise", seed, device), index',
        'generator("noise", noisy.seeds[0], device), index',
        "test_training.py::test_a_run_alone_and_in_a_group_agree[head-True]",
    ),
    # the same drawn ahead
    mutant(
        "one noise for all models of a group, ahead",
        DRAWS,
        'generator("noise", seed, device) for seed in noisy.seeds',
        'generator("noise", noisy.seeds[0], device) for seed in noisy.seeds',
        AHEAD,
    ),
    mutant(
        "the same noise in every step of a block",
        DRAWS,
        "else self.noise[self.of, at]",
        "else self.noise[self.of, 0]",
        AHEAD,
    ),
    mutant(
        "records sampled twice as often, ahead",
        DRAWS,
        "generator=random, device=device) < sample_rate",
        "generator=random, device=device) < 2 * sample_rate",
        "test_draws.py::test_poisson_blocks_have_the_distribution_of_independent_draws",
    ),
    mutant(
        "a batch cut to the width it usually has",
        DRAWS,
        "_present(sizes, indices.shape[1])",
        "_present(sizes.clamp_max(int(n * sample_rate)), indices.shape[1])",
        "test_draws.py::test_poisson_blocks_have_the_distribution_of_independent_draws",
    ),
    # clipping
    mutant(
        "clipped per batch",
        LAYERS,
        "norms = torch.stack([part.squared_norms for part in found]).sum(0).sqrt()",
        "norms = torch.cat([g.flatten(1) for part in found for g in part.sums(present)],"
        " 1).norm(dim=1, keepdim=True).expand_as(present)",
        f"{LOOP}[0.05-linear]",
    ),
    mutant(
        "clipped layer by layer",
        LAYERS,
        "part in found]).sum(0).sqrt()",
        "part in found]).amax(0).sqrt()",
        f"{LOOP}[0.05-head]",
    ),
    mutant(
        "small gradients made longer",
        LAYERS,
        "(bounds[:, None] / norms.clamp_min(1e-30)).clamp_max(1.0)",
        "(bounds[:, None] / norms.clamp_min(1e-30))",
        f"{LOOP}[1000000.0-linear]",
    ),
    mutant(
        "not clipped",
        LAYERS,
        "present * (bounds[:, None] / norms.clamp_min(1e-30)).clamp_max(1.0)",
        "present * 1.0",
        f"{LOOP}[0.05-linear]",
    ),
    mutant(
        "a norm without the bias of a linear layer",
        FACTORS,
        "(_squared_norms(self.inputs) + 1.0)",
        "_squared_norms(self.inputs)",
        f"{LOOP}[0.05-linear]",
    ),
    mutant(
        "a norm without the bias of a convolution",
        FACTORS,
        "_squared_norms(self.weights.flatten(2)) + _squared_norms(self.biases)",
        "_squared_norms(self.weights.flatten(2))",
        f"{LOOP}[0.05-cnn]",
    ),
    mutant(
        "a norm without the shift of a normalisation",
        FACTORS,
        "return _squared_norms(self.weights) + _squared_norms(self.biases)",
        "return _squared_norms(self.weights)",
        f"{DEEP}[plain-0.3-False]",
    ),
    mutant(
        "a norm by positions without the bias",
        FACTORS,
        "ROUNDING * factors + _squared_norms(self.errors.sum(3))",
        "ROUNDING * factors",
        f"{DEEP}[plain-0.3-False]",
    ),
    mutant(
        "a norm by positions that rounding makes too short",
        FACTORS,
        "ROUNDING = 2.0**-20",
        "ROUNDING = 0.0",
        "test_training_deep.py::test_rounding_makes_no_norm_too_short",
    ),
    mutant(
        "a norm by positions of rounded factors",
        FACTORS,
        "if exact and positions**2",
        "if positions**2",
        "test_training_deep.py::test_rounded_factors_take_the_gradient_of_each_sample",
    ),
    mutant(
        "a residual unit of another type",
        LAYERS,
        "if type(layer) is Residual:\n        return list",
        "if isinstance(layer, Residual):\n        return list",
        "test_training_deep.py::test_what_only_looks_like_a_known_layer_takes_the_slow_path",
    ),
    mutant(
        "small gradients made longer by vmap",
        FALLBACK,
        "clamp_min(1e-30)).clamp_max(1.0)",
        "clamp_min(1e-30))",
        f"{LOOP}[1000000.0-linear]",
    ),
    mutant(
        "an infinite gradient counts",
        LAYERS,
        "if branchless or not norms.isfinite().all():",
        "if False:",
        "test_training.py::test_a_record_without_a_finite_gradient_counts_for_nothing[head]",
    ),
    mutant(
        "rounded products without slack",
        STEP,
        'return 1 - 2**-7 if precision == "fast" else 1.0',
        "return 1.0",
        "test_training.py::test_fast_precision_never_exceeds_the_clipping_norm",
    ),
    mutant(
        "the Gram form with clipping",
        GRAM,
        "any(member.private or member.noise or",
        "any(member.noise or",
        "test_training.py::test_the_gram_form_is_not_taken_where_it_is_wrong[change0]",
    ),
    # batches
    mutant(
        "divided by the batch as it came",
        STEP,
        "expected = self.expected if given else present.sum(1) * self.shares",
        "expected = present.sum(1).clamp_min(1)",
        OPACUS,
    ),
    mutant(
        "shuffled where Poisson was asked",
        BATCHES,
        'if how == "poisson":',
        'if how == "never":',
        OF_A_MEMBER,
    ),
    mutant(
        "twice the sampling rate",
        BATCHES,
        "member.batch_size / member.nominal, random)",
        "min(1, 2 * member.batch_size / member.nominal), random)",
        OF_A_MEMBER,
    ),
    mutant(
        "appended records at the rate of the grown set",
        BATCHES,
        "member.batch_size / member.nominal, random)",
        "member.batch_size / n, random)",
        "test_training_transforms.py::test_appended_records_keep_the_nominal_rate",
    ),
    # modules that the closed forms do not fit
    mutant(
        "a closed form for a subclass",
        LAYERS,
        "if type(layer) is nn.Sequential:",
        "if isinstance(layer, nn.Sequential):",
        f"{OTHER}[a Sequential with its own forward]",
    ),
    mutant(
        "hooks that are not called",
        LAYERS,
        "return not any(own) and not everywhere",
        "return not everywhere",
        f"{OTHER}[a forward hook]",
    ),
    mutant(
        "noise on frozen parameters",
        DRAWS,
        "[parameter.requires_grad for parameter in parameters]",
        "[True for parameter in parameters]",
        "test_training_modules.py::test_frozen_parameters_are_those_of_opacus",
    ),
    # the epsilon of DP-SGD
    mutant(
        "an epsilon where a transform mixes records",
        DPSGD,
        "mixed = mixing_a_batch(training.transforms)",
        "mixed = []",
        "test_training_transforms.py::test_mixing_private_records_has_no_epsilon[poisson]",
    ),
    mutant(
        "partners from the private batch in place of public images",
        "training/transforms/public_mixup.py",
        "self.images.index_select(0, places.flatten())",
        "x.flatten(0, 1).index_select(0, places.flatten() % x.shape[1])",
        "test_public_mixup.py::test_a_record_moves_the_sum_by_one_clipped_gradient",
    ),
    mutant(
        "a record perturbed by the statistics of its batch",
        "training/steps/per_input.py",
        "duplicate(module).eval()",
        "duplicate(module).train()",
        "test_adaptive_transforms.py::test_what_is_chosen_for_a_record_depends_on_no_other"
        "[transform0-normalised]",
    ),
    mutant(
        "the view that is worst for the whole batch",
        "training/transforms/maxup.py",
        "found.argmax(0)",
        "found.sum(2, keepdim=True).expand_as(found).argmax(0)",
        "test_adaptive_transforms.py::test_what_is_chosen_for_a_record_depends_on_no_other"
        "[transform1-convolution]",
    ),
    mutant(
        "a step along the gradient of the whole batch",
        "training/ascent.py",
        "moved + step * ball.steepest(gradient, dims=dims)",
        "moved + step * ball.steepest(gradient.mean(-dims - 1, keepdim=True), dims=dims)",
        "test_adaptive_transforms.py::test_what_is_chosen_for_a_record_depends_on_no_other"
        "[transform0-convolution]",
    ),
    mutant(
        "shuffled batches accounted as Poisson",
        DPSGD,
        'if training.sampling == "poisson":',
        "if True:",
        FOLLOWS,
    ),
    mutant(
        "a guarantee without clipping", DPSGD, "if not self.clip or z == 0:", "if z == 0:", FOLLOWS
    ),
    mutant(
        "epochs accounted as steps",
        DPSGD,
        "dpsgd_epsilon(z, training.batch_size / n, training.steps(n),",
        "dpsgd_epsilon(z, training.batch_size / n, math.ceil(training.epochs),",
        FOLLOWS,
    ),
    mutant(
        "full batches replace-one as add-remove",
        ACCOUNT,
        'return 2 if adjacency == "replace-one" else 1',
        "return 1",
        "test_privacy.py::test_full_batch_composes_exactly[5-100]",
    ),
    mutant(
        "sampled replace-one as add-remove",
        ACCOUNT,
        "else relation.REPLACE_ONE",
        "else relation.ADD_OR_REMOVE_ONE",
        "test_privacy.py::test_replace_one_matches_reference_and_costs_more[1.0-0.01-1000-2.8434]",
    ),
    mutant(
        "shuffled epochs for one",
        ACCOUNT,
        "_gaussian_epsilon(noise_multiplier, epochs, delta, adjacency)",
        "_gaussian_epsilon(noise_multiplier, 1, delta, adjacency)",
        "test_privacy.py::test_shuffled_batches_get_no_amplification",
    ),
    mutant("tuning that costs nothing", TABLE, "(1 + tuning_runs) * steps", "steps", TABLED),
    # groups and caps
    mutant(
        "a cost bound with the printed sign",
        BOUNDS,
        "grown = cost * math.exp(min(of_group, 700.0)) if cost else 0.0",
        "grown = cost * math.exp(-of_group)",
        "test_privacy_audit.py::test_a_training_without_poison_meets_its_own_bound",
    ),
    mutant(
        "an audit by rates without limits",
        AUDIT,
        'least, _ = _limits("in", hits_in, trials_in, confidence)',
        "least = hits_in / trials_in",
        "test_privacy_audit.py::test_it_stays_below_a_true_epsilon_as_often_as_it_says",
    ),
    # mixed images with Laplace noise
    mutant(
        "labels without noise for nothing",
        MIXING,
        "return size / scale if scale else math.inf * (size > 0) if size else 0.0",
        "return size / scale if scale else 0.0",
        "test_privacy_mixing.py::test_labels_without_noise_are_no_guarantee",
    ),
    mutant(
        "shuffled passes with amplification",
        MIXING,
        "return losses[0].self_compose(epochs)",
        "return losses[0]",
        "test_privacy_mixing.py::test_mixup_as_run_against_exact_inversion[4-1.0-40]",
    ),
    mutant(
        "places that never coincide",
        MIXING,
        "if len(counts) <= places:",
        "if len(counts) == width:",
        "test_privacy_mixing.py::test_places_coincide_as_often_as_counted",
    ),
    mutant(
        "one side of add-remove",
        MIXING,
        'else ("removed", "added")',
        'else ("added",)',
        "test_privacy_mixing.py::test_one_draw_of_few_records_keeps_its_epsilon",
    ),
    mutant(
        "replaced as added",
        MIXING,
        'sides = ("replaced",) if',
        'sides = ("added",) if',
        "test_privacy_mixing.py::test_one_draw_of_few_records_keeps_its_epsilon",
    ),
    mutant(
        "delta of a group is that of one",
        BOUNDS,
        "math.exp(min(0.0, math.log(delta) + growth))",
        "delta",
        "test_privacy.py::test_group_privacy_values",
    ),
    mutant(
        "a cap without delta",
        BOUNDS,
        "rate * math.exp(min(epsilon, 700.0)) + delta",
        "rate * math.exp(min(epsilon, 700.0))",
        "test_privacy.py::test_cap_of_one_step_by_hand",
    ),
    mutant(
        "a cap without its second branch",
        BOUNDS,
        "max(rate, min(1.0, grown, left))",
        "max(rate, min(1.0, grown))",
        "test_privacy.py::test_cap_of_one_step_by_hand",
    ),
    mutant(
        "a profile's cap without its second branch",
        BOUNDS,
        "return min(grown, left)",
        "return grown",
        f"{POWER}[0.6-0.6-0.05-4]",
    ),
    mutant(
        "k in place of 2k in full batches",
        BOUNDS,
        'mu = k * (2 if adjacency == "replace-one" else 1)',
        "mu = k",
        "test_privacy.py::test_full_batch_cap_is_exact_and_close_to_nearly_full_batches",
    ),
    mutant(
        "k in place of 2k in sampled batches",
        BOUNDS,
        'sides = ((k, k),) if adjacency == "replace-one" else ((k, 0), (0, k))',
        "sides = ((k, 0), (0, k))",
        f"{POWER}[0.05-1.0-0.3-1]",
    ),
    mutant(
        "k in place of 2k in the table",
        TABLE,
        'clean_rate, z, rate, steps, adjacency="replace-one")',
        "clean_rate, z, rate, steps)",
        TABLED,
    ),
    mutant(
        "a cap from one direction",
        BOUNDS,
        "((k, 0), (0, k))",
        "((0, k),)",
        f"{POWER}[0.05-1.0-0.3-1]",
    ),
    mutant(
        "one record's chance to be sampled for k",
        BOUNDS,
        "-math.expm1(k * steps * math",
        "-math.expm1(steps * math",
        "test_privacy.py::test_cap_limits_of_dpsgd",
    ),
    # PATE
    mutant(
        "the variance of the selection",
        VOTES,
        "* selections) / selection_noise",
        "* selections) / math.sqrt(selection_noise)",
        TRANSCRIPT,
    ),
    mutant(
        "the variance of the votes",
        PATE,
        "result = self.result_noise * torch.randn",
        "result = math.sqrt(self.result_noise) * torch.randn",
        "test_pate.py::test_the_answer_is_the_largest_noisy_count",
    ),
    mutant(
        "selection paid by the answered",
        VOTES,
        "selections = 0 if threshold is None else len(votes)",
        "selections = 0 if threshold is None else len(votes) if answered is None else"
        " int(numpy.sum(answered))",
        TRANSCRIPT,
    ),
    mutant(
        "answers unpaid",
        VOTES,
        "math.hypot(mu, math.sqrt(2 * answers) / result_noise)",
        "math.hypot(mu, 0.0)",
        TRANSCRIPT,
    ),
    mutant(
        "a vote that moves one count",
        VOTES,
        "math.sqrt(2 * answers)",
        "math.sqrt(answers)",
        TRANSCRIPT,
    ),
    mutant(
        "the released selection at half its cost",
        VOTES,
        "math.sqrt((2 if as_released else 1) * selections)",
        "math.sqrt(selections)",
        "test_pate_privacy.py::test_released_selection_costs_twice_as_much",
    ),
    mutant(
        "one noise selects and answers",
        PATE,
        "selection = self.selection_noise * torch.randn(shape, generator=random, dtype=kind)",
        "selection = result * (self.selection_noise / max(self.result_noise, 1e-9))",
        "test_pate.py::test_whether_a_query_is_answered_says_nothing_of_the_noise_in_its_answer",
    ),
    mutant(
        "a promise for the answers given",
        PATE,
        "epsilon=self._epsilon(answers), delta",
        "epsilon=self._epsilon(answers, answered=int(answers.answered.sum())), delta",
        PROMISE,
    ),
    mutant(
        "a data-dependent promise",
        PATE,
        "epsilon=self._epsilon(answers), delta",
        "epsilon=self._epsilon(answers, data_dependent=True), delta",
        PROMISE,
    ),
    mutant(
        "teachers that share records",
        TEACHERS,
        "torch.arange(nominal).tensor_split(teachers)",
        "[torch.arange(nominal)] * teachers",
        "test_pate.py::test_replacing_one_record_changes_one_teacher",
    ),
    # labels
    mutant(
        "a label kept with e^eps over e^eps + K",
        LPMST,
        "keep = 1 / (1 + (k - 1) * math.exp(-epsilon))",
        "keep = 1 / (1 + k * math.exp(-epsilon))",
        "test_label_dp.py::test_randomised_response_with_prior",
    ),
    mutant(
        "labels drawn with twice epsilon",
        LPMST,
        "torch.full_like(prior, math.exp(-epsilon))",
        "torch.full_like(prior, math.exp(-2 * epsilon))",
        "test_label_dp.py::test_likelihood_ratios_never_exceed_e_to_epsilon[1.0-settings0]",
    ),
    mutant(
        "labels drawn in every stage",
        LPMST,
        "[part.to(where) for part in order",
        "[order.to(where) for part in order",
        "test_label_dp.py::test_every_label_is_drawn_once_in_its_own_stage",
    ),
    mutant(
        "one noise for all stages",
        LPMST,
        'generator(f"labels {stage}", self.seed)',
        'generator("labels", self.seed)',
        "test_label_dp.py::test_stages_draw_their_labels_apart",
    ),
    mutant(
        "randomised response that forgets lucky draws",
        NOISE,
        "math.log1p(classes * (1 - self.flip) / self.flip)",
        "math.log1p((1 - self.flip) / self.flip)",
        FOLLOWS,
    ),
    mutant(
        "ALIBI with half its scale",
        ALIBI,
        "* (2 / epsilon)",
        "* (1 / epsilon)",
        "test_label_dp.py::test_laplace_noise_has_the_scale_that_epsilon_needs",
    ),
    # RAB
    mutant(
        "a radius without its bound on chance",
        SMOOTHING,
        "np.minimum(top, 1.0) - shift, runner_up + shift",
        "np.minimum(top, 1.0), runner_up",
        "test_certificates.py::test_radius_by_hand",
    ),
    mutant(
        "a radius without the union correction",
        SMOOTHING,
        '(2 * classes if correction == "union" else 1)',
        "1",
        "test_certificates.py::test_the_union_over_ten_classes_certifies_less",
    ),
    mutant(
        "votes without the union correction",
        SMOOTHING,
        "(1 - confidence) / (2 * counts.shape[1])",
        "(1 - confidence) / 2",
        "test_certificates.py::test_vote_radius_by_clopper_pearson",
    ),
    mutant(
        "half the noise on the inputs",
        BATCHES,
        "member.input_noise,",
        "member.input_noise / 2,",
        "test_certificates.py::test_every_model_has_noise_of_its_own_on_the_training_inputs",
    ),
    mutant(
        "one noise on the inputs of all models",
        SMOOTHING,
        "input_noise=self.noise, input_seed=noise)",
        "input_noise=self.noise, input_seed=run.noise_seed)",
        "test_certificates.py::test_members_and_twins_draw_apart",
    ),
    mutant(
        "the epsilon of one model for all",
        SMOOTHING,
        "for count in (steps, steps * self.models))",
        "for count in (steps, steps))",
        "test_certificates.py::test_every_record_is_in_every_model",
    ),
    # DPA
    mutant(
        "a radius of one vote more",
        PARTITION,
        "radius = gaps.min(axis=1) // 2",
        "radius = (gaps.min(axis=1) + 1) // 2",
        VALUES,
    ),
    mutant(
        "ties to the higher class",
        PARTITION,
        "prediction = counts.argmax(axis=1)",
        "prediction = counts.shape[1] - 1 - counts[:, ::-1].argmax(axis=1)",
        VALUES,
    ),
    mutant(
        "a radius that forgets ties",
        PARTITION,
        "gaps = counts.max(axis=1, keepdims=True) - counts - lower",
        "gaps = counts.max(axis=1, keepdims=True) - counts",
        VALUES,
    ),
    mutant(
        "k in place of 2k changes",
        PARTITION,
        "((Counter(new) - Counter(old)) + (Counter(old) - Counter(new)))",
        "(Counter(new) - Counter(old))",
        IN_PLACE,
    ),
    mutant(
        "one image too many withstood",
        PARTITION,
        "_cheapest(*image, classes) - 1 for image",
        "_cheapest(*image, classes) for image",
        "test_certificates.py::test_a_part_inside_its_radius_keeps_its_vote_for_several_images",
    ),
]


# One of each kind, which run without --all too: those that are the easiest to overlook.
SAMPLE = {
    "noise over the batch size", "the same noise in every step",  # the private step
    "clipped layer by layer", "the Gram form with clipping",
    "shuffled where Poisson was asked",
    "shuffled batches accounted as Poisson", "full batches replace-one as add-remove",
    "k in place of 2k in sampled batches",  # groups and caps
    "answers unpaid", "teachers that share records",  # PATE
    "labels drawn with twice epsilon",
    "a radius without the union correction", "half the noise on the inputs",  # RAB
    "a radius of one vote more",  # DPA
}
OTHERS = [one for one in MUTANTS if one.name not in SAMPLE]

# ---------------------------------------------------------------- copies, pytest in each of them

def copy(folder):
    """What the tests of the privacy code need of the checkout."""
    for name in ("lib", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def occurrences(one):
    return (ROOT / "lib" / one.file).read_text("utf-8").count(one.old)


def mutated(one, folder):
    """A copy with the mutant's change."""
    file = copy(folder) / "lib" / one.file
    file.write_text(file.read_text("utf-8").replace(one.old, one.new), "utf-8")
    return folder


def run_tests(jobs):
    """Run pytest as {folder: tests} says, several at a time.

    Returns {folder: (exit code, output)}.
    """
    from lib import processes

    width = min(processes.cores(), 4, len(jobs))
    # A plugin is imported anew in every fork, and these tests need none.
    settings = processes.thread_settings(
        processes.cores()) | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHONPATH", "PYTEST_", "COV"))
    } | settings
    command = [
        sys.executable,
        str(HERE),
        json.dumps({str(folder): tests for folder, tests in jobs.items()})
    ]
    started = [
        subprocess.Popen(command, env=environment, cwd=tempfile.gettempdir(),
                         stdout=subprocess.PIPE, text=True) for _ in range(width)
    ]
    codes = {}
    for one in started:
        codes |= json.loads(one.communicate()[0] or "{}")
    return {
        folder: (codes.get(str(folder), "no exit code"), (folder / "output").read_text(
            "utf-8", "replace")) for folder in jobs
    }


def fork_and_test(jobs):
    """In a separate process, import the packages, then fork and run pytest for every folder that no
    other process has taken."""
    for name in HEAVY:
        importlib.import_module(name)
    gc.freeze()  # collecting the imported objects in every fork would cost more than the tests
    codes = {}
    for folder, tests in jobs.items():
        try:
            output = os.open(Path(folder, "output"), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            continue
        child = os.fork()
        if not child:
            os.dup2(output, 1)
            os.dup2(output, 2)
            signal.alarm(TIME_LIMIT)
            os.chdir(folder)
            sys.path[0] = os.environ["PYTHONPATH"] = os.environ["TMPDIR"] = folder
            tempfile.tempdir = None
            code = pytest.main([
                "-x", "-q", "--tb=short", "-p", "no:cacheprovider", "--rootdir", folder,
                *(f"tests/{test}" for test in tests)
            ])
            sys.stdout.flush()
            # to end as Python does, torch and all, would take longer than most of the tests
            os._exit(code)
        os.close(output)
        codes[folder] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return codes


@pytest.fixture(scope="module")
def outcomes(request):
    """(exit code, pytest's output) of the mutants that this session tests, by name, and of the
    unchanged code: None.
    """
    skipped = () if request.config.getoption("--all") else OTHERS
    asked = [item.callspec.params["one"] for item in request.session.items
             if item.path == HERE and hasattr(item, "callspec")
             and item.callspec.params["one"] not in skipped]
    tests = {None: sorted({test for one in asked or MUTANTS
                           for test in one.tests})} | {one.name: one.tests for one in asked}
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        places = {None: copy(Path(folder, "unchanged"))} | {
            one.name: mutated(one, Path(folder, str(place))) for place, one in enumerate(asked)
        }
        ended = run_tests({places[name]: tests[name] for name in places})
    return {name: ended[place] for name, place in places.items()}


def test_the_named_tests_pass_on_the_code_as_it_is(outcomes):
    code, said = outcomes[None]
    assert code == 0 and "skipped" not in said, said[-3000:]


@pytest.mark.parametrize("one", [
    pytest.param(one, id=str(one), marks=[pytest.mark.thorough] if one in OTHERS else [])
    for one in MUTANTS])
def test_a_mutant_is_caught(one, outcomes):
    # Report rewritten code, or a change that changes nothing would count as a mutant not caught.
    assert occurrences(one) == 1, (
        f"lib/{one.file} holds {one.old!r} {occurrences(one)} times, expected once: bring this"
        " mutant up to date"
    )
    code, said = outcomes[one.name]
    assert (
        code == CAUGHT
    ), f"{one.name}: pytest ended with {code}, expected {CAUGHT}: tests that fail\n{said[-3000:]}"
    why = re.search(r"^E +(\w+)", said, re.MULTILINE)
    assert why and why[1] in (
        "assert", "AssertionError"
    ), f"{one.name}: expected a value that is wrong, not code that breaks\n{said[-3000:]}"


def test_mutants_have_names_of_their_own():
    names = {one.name for one in MUTANTS}
    assert len(names) == len(MUTANTS) and names >= SAMPLE


if __name__ == "__main__":
    ended = fork_and_test(json.loads(sys.argv[1]))
    print(json.dumps(ended))
