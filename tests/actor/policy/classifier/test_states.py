"""The classifier on states."""

import torch

from actor.policy.classifier.states import StateClassifier
from tests.support.second_device import second_device


def test_a_classifier_on_another_device_judges_observations_of_the_host() -> None:
    classifier, observation = StateClassifier(3, (), (4,), 2), torch.randn(5, 3)
    expected = classifier.probability(observation)
    with second_device() as device:
        found = classifier.to(device).probability(observation)
    assert found.device == observation.device and torch.equal(found, expected)
