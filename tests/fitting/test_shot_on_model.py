"""What a photo and a model say together, before anything is fitted."""

from __future__ import annotations

import torch
from made_shots import made_shot, on_model

from nextface.fitting.terms.shot_on_model import JAW, JAW_SPREAD, SCORE_SHARE
from nextface.models import create as create_model


def test_a_detectors_scores_move_the_expressions_prior_and_the_jaws_holds_it() -> None:
    model = create_model("open")
    jaw, smile = (model.expression_names.index(name) for name in (JAW, "mouthSmileLeft"))
    picture, mask = torch.zeros(8, 8, 3), torch.ones(8, 8, dtype=torch.bool)
    silent = on_model(made_shot(picture, mask), model).expression_prior
    assert torch.equal(silent.mean, model.expression_prior.mean)
    assert torch.equal(silent.spread, model.expression_prior.spread), "without a score, mouths may open"
    scores = {JAW: 0.1, "mouthSmileLeft": 0.8, "no such shape": 1.0}
    told = on_model(made_shot(picture, mask, blendshapes=scores), model).expression_prior
    assert float(told.mean[jaw]) == torch.tensor(0.1) and float(told.spread[jaw]) == torch.tensor(JAW_SPREAD)
    assert torch.isclose(told.mean[smile], torch.tensor(SCORE_SHARE * 0.8))
    assert told.spread[smile] == model.expression_prior.spread[smile]
    others = [number for number in range(len(told.mean)) if number not in (jaw, smile)]
    assert torch.equal(told.mean[others], model.expression_prior.mean[others])
    assert torch.equal(told.high, model.expression_prior.high)
