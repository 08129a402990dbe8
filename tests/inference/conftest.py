"""Models on both backends: all tests of predictions hold for each of them."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Small


@pytest.fixture(scope="session", params=["numpy", "torch"])
def tagger(request: pytest.FixtureRequest, small: Small) -> Any:
    """The small run's model, loaded."""
    import nlp_app

    return nlp_app.load(small.run, backend=request.param)


@pytest.fixture(scope="session")
def torch_tagger(small: Small) -> Any:
    """The small run's model, with a network in torch."""
    import nlp_app

    return nlp_app.load(small.run, backend="torch")


@pytest.fixture(scope="session", params=["numpy", "torch"])
def classifier(request: pytest.FixtureRequest, small_classes: Small) -> Any:
    """The small classification run's model, loaded."""
    import nlp_app

    return nlp_app.load(small_classes.run, backend=request.param)
