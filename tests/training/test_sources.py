"""The data of a recipe, and what is said of it before training."""

import pytest
from tests.training.conftest import model_values

from prost.training.recipe import Recipe
from prost.training.sources import FEW_VIDEOS, open_data


@pytest.mark.parametrize(("videos", "few"), [(4, True), (FEW_VIDEOS, False)])
def test_a_best_step_that_few_videos_choose_is_warned_of(videos: int, few: bool) -> None:
    recipe = Recipe.parse(
        {
            "model": model_values("prost"),
            "toybox": {"workers": 0},
            "clip": {"steps": 0, "batch_size": 4},
            "prost": {"steps": 1, "batch_size": 4},
            "validation": f"toybox-{videos}",
        }
    )
    assert recipe.model is not None
    warnings = open_data(recipe, recipe.model).warnings
    assert any(f"chosen on {videos} videos" in warning for warning in warnings) == few
