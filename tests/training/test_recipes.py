from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from edgeseg.contract import OutputContract
from edgeseg.errors import UnknownNameError, UsageError
from edgeseg.models import ModelSpec, find_model, list_models
from edgeseg.training.recipes import Recipe, find_recipe


def test_published_recipe_is_that_of_the_paper() -> None:
    recipe = find_recipe(find_model("egeunet"), "published")
    assert recipe.loss == "deep_supervised_bce_dice"
    assert (recipe.epochs, recipe.batch_size) == (300, 8)
    assert (recipe.learning_rate, recipe.weight_decay) == (1e-3, 1e-2)
    assert (recipe.schedule, recipe.cosine_period) == ("cosine", 50)
    assert recipe.min_learning_rate == 1e-5


@pytest.mark.parametrize("model", ["msnet", "m2snet"])
def test_polyp_networks_have_the_whole_loss_of_the_paper_and_a_light_one(model: str) -> None:
    published, short = find_recipe(find_model(model), None), find_recipe(find_model(model), "short")
    assert published.name == "published"
    assert (published.loss, published.epochs) == ("weighted_bce_iou_lossnet", 50)
    assert short.loss == "weighted_bce_iou"
    assert (short.optimizer, short.learning_rate, short.schedule) == ("adamw", 1e-3, "one_cycle")
    assert (short.rotation, short.batch_size, short.channels_last) == ("quarter", 8, True)
    assert short.epochs < published.epochs


@pytest.mark.parametrize("spec", list_models(), ids=lambda spec: spec.name)
def test_every_model_states_recipes_that_know_their_names(spec: ModelSpec) -> None:
    assert spec.recipes
    assert [recipe.name for recipe in spec.recipes.values()] == list(spec.recipes)


@pytest.mark.parametrize("spec", list_models(), ids=lambda spec: spec.name)
def test_recipes_survive_json(spec: ModelSpec) -> None:
    for recipe in spec.recipes.values():
        assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_unknown_recipe_names_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"egeunet has no recipe 'shrt'\. .* mean short\?"):
        find_recipe(find_model("egeunet"), "shrt")


@pytest.mark.parametrize("name", ["mynet", "egeunet"])
def test_a_network_of_the_users_gets_a_generic_recipe_whatever_its_name(name: str) -> None:
    own = replace(find_model("egeunet"), name=name, import_path="mypackage:Net", recipes={})
    assert find_recipe(own, None).loss == "bce_dice"
    three = replace(own, outputs=OutputContract(("a", "b", "c"), 3))
    assert find_recipe(three, None).loss == "cross_entropy_dice"
    with pytest.raises(UnknownNameError, match="Available: generic"):
        find_recipe(own, "short")


def test_no_name_gives_the_published_recipe() -> None:
    spec = find_model("egeunet")
    assert find_recipe(spec, None) == find_recipe(spec, "published")


def test_misspelt_setting_names_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"'epoch'\. Did you mean epochs\?"):
        Recipe.from_json({"name": "mine", "epoch": 3})


@pytest.mark.parametrize("setting", ["schedule", "rotation", "precision"])
def test_unknown_choice_is_refused(setting: str) -> None:
    with pytest.raises(UnknownNameError, match=f"Unknown {setting} 'sideways'.*Available"):
        Recipe("mine", **{setting: "sideways"})


@pytest.mark.parametrize("setting", ["epochs", "batch_size", "learning_rate", "cosine_period"])
@pytest.mark.parametrize("value", [0, -1])
def test_settings_above_zero(setting: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"{setting} is {value}; it must be above zero"):
        Recipe("mine", **{setting: value})


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_probability_lies_in_its_range(share: float) -> None:
    with pytest.raises(UsageError, match=rf"flip_probability is {share}; it lies in 0\.\.1"):
        Recipe("mine", flip_probability=share)


def test_changed_replaces_what_is_given() -> None:
    recipe = Recipe("mine", epochs=5)
    assert recipe.changed(epochs=None, batch_size=2) == Recipe("mine", epochs=5, batch_size=2)
    with pytest.raises(UsageError, match="epochs is 0"):
        recipe.changed(epochs=0)


def test_recipe_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Recipe("mine").epochs = 2
