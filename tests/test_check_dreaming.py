"""The checks of notebook 14: what needs more than a line in the tables of right and wrong answers."""

from __future__ import annotations

import pytest
import torch

import csd_edu as csd
from csd_edu import check
from tests.answers import RIGHT, checked, edited, passes

pytestmark = pytest.mark.usefixtures("progress_file", "one_thread")


@pytest.mark.parametrize("kind", ["real", "fake"])
def test_a_discriminator_learns_from_real_images_and_from_dreams(kind):
    verdict = checked(
        "discriminator_loss", edited(RIGHT["discriminator_loss"], f"for s in {kind}", f"for s in {kind}.detach()")
    )
    assert verdict.mistake == "detached"
    assert f"no gradient reaches '{kind}'" in verdict.message


def test_logarithms_of_sigmoids_are_refused_where_they_are_infinite():
    def written_out(real, fake):
        return -(torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(fake)).log().mean())

    verdict = checked("discriminator_loss", written_out)
    assert verdict.mistake == "exp overflows"
    assert "whose logarithm is −∞" in verdict.message


def test_maps_are_held_by_a_gradient_and_those_of_the_teacher_get_none():
    maps = checked("replay_terms", edited(RIGHT["replay_terms"], "gap = maps[i]", "gap = maps[i].detach()"))
    assert maps.mistake == "detached"
    assert "no gradient reaches 'maps'" in maps.message
    teacher = checked("replay_terms", edited(RIGHT["replay_terms"], "old_maps[i].detach()", "old_maps[i]"))
    assert teacher.mistake == "teacher gradient"
    assert "'old_maps'" in teacher.message
    answers = checked("replay_terms", edited(RIGHT["replay_terms"], "old_logits[i].detach()", "old_logits[i]"))
    assert answers.mistake == "teacher gradient"
    assert "'old_logits'" in answers.message


def test_the_terms_are_those_of_the_method():
    """What the exercise asks for is what `Genifer` computes in a step, but for the triplet loss."""

    def terms(logits, old_logits, maps, old_maps, drawn, labels, feature):
        n = len(drawn)
        method = csd.methods.Genifer(feature=feature)
        method.generator = csd.generator.Generator((1, 16, 16), 10)
        method.n_drawn = old_logits.shape[1]
        images = torch.zeros(n, 1, 16, 16, dtype=torch.uint8)
        student = csd.methods.View(logits[:, :1], logits, {"stage2": maps})
        teacher = csd.methods.View(old_logits[:n, :1], old_logits[:n], {"stage2": old_maps[:n]})
        step = csd.methods.Step(
            images=images,
            labels=labels,
            task=1,
            view=lambda *_: student,
            teacher_view=lambda *_: teacher,
            index=torch.arange(n),
            raw=images,
            augment=lambda x: x,
        )
        return {name: term for name, term in method(step).items() if name != "triplet"}

    passes("replay_terms", terms)


def test_a_missing_term_is_named():
    verdict = checked("replay_terms", edited(RIGHT["replay_terms"], '"dreamt kd"', '"kd"'))
    assert verdict.mistake == "unknown term"
    assert "'dreamt maps'" in verdict.message


def test_whole_numbers_of_any_kind_will_do():
    for kind in (int, float, torch.tensor):
        assert check.worth_in_images(
            lambda n, shape, kind=kind: kind(csd.generator.worth_in_images(4 * n, shape))
        ).passed
