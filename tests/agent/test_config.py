"""What is said of a configuration that cannot be: the value, its key, and what may stand there."""

from typing import Literal

import msgspec
import pytest

from agent.algorithm_config import AlgorithmConfig, load_algorithm
from agent.config import Config, InputError, explain


class Part(Config):
    bins: int = 101
    weights: tuple[float, float] = (0.1, 10.0)
    table: dict[str, int] = {}
    kind: Literal["whole", "half"] = "whole"


class Whole(Config):
    sizes: tuple[int, ...] = ()
    rate: float = 1.0
    part: Part = Part()


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        ({"sizes": [1, "a"]}, "Expected `int`, got `str` 'a' at `sizes[1]`."),
        ({"sizes": 3}, "Expected `array`, got `int` 3 at `sizes`."),
        ({"sizes": {"a": 3}}, "Expected `array`, got `object` at `sizes`."),
        ({"rate": [0.5]}, "Expected `float`, got `array` [0.5] at `rate`."),
        ({"rate": None}, "Expected `float`, got `null` at `rate`."),
        ({"rate": "x" * 99}, "Expected `float`, got `str` at `rate`."),
        ({"part": {"bins": "x"}}, "Expected `int`, got `str` 'x' at `part.bins`."),
        ({"part": {"weights": [0.1, "b"]}}, "Expected `float`, got `str` 'b' at `part.weights[1]`."),
        ({"part": {"table": {"a": "x"}}}, "Expected `int`, got `str` at `part.table[...]`."),
        ({"part": {"kind": "third"}}, "Invalid enum value 'third' at `part.kind`; choose from whole, half."),
        ({"part": {"bin": 1}},
         "Object contains unknown field `bin` at `part`; part knows bins, kind, table, weights. Did you mean 'bins'?"),
        ({"rates": 1}, "Object contains unknown field `rates`; it knows part, rate, sizes. Did you mean 'rate'?"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_told_with_what_would(plain, said):
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(plain, Whole, strict=False)
    assert explain(refused.value, Whole, plain, "it") == said


def test_so_are_the_parameters_of_an_algorithm():
    choice = AlgorithmConfig(
        name="sac", algorithm="agent.sac.SAC", config={"hl_gauss": {"bins": "many"}, "critics": 3}
    )
    with pytest.raises(InputError, match=r"^algorithm.config: .* got `str` 'many' at `hl_gauss.bins`\.$"):
        load_algorithm(choice)
