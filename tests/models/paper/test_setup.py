"""The config of a new `paper` stack."""

from __future__ import annotations

import pytest

from models.base.encoder import SentenceEncoder
from models.base.lm import BaseLM
from models.errors import WeightsError
from models.paper.setup import PaperOptions, describe


def test_a_name_that_is_too_long_for_a_file_is_one_line(
    lm: BaseLM, encoder: SentenceEncoder
) -> None:
    with pytest.raises(WeightsError, match="no readable config of xxx.*File name too long"):
        describe(PaperOptions(model="x" * 300), lm, encoder)
