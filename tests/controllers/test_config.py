"""What is refused says what would have been right."""

import re
from enum import StrEnum
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.config import Config, InputError, choices, explain, not_finite, read_file


class Colour(StrEnum):
    """A choice as an enumeration."""

    RED = "red"
    GREEN = "green"


class Inner(Config):
    """A part."""

    kind: Literal["uniform", "prioritised"] = "uniform"
    colour: Colour | None = None
    size_m: float = 1.0


class Needy(Config):
    """Something must be said."""

    url: str
    urn: str = ""


class Outer(Config):
    """Parts alone, of several, by name, and absent."""

    part: Inner = Inner()
    absent: Inner | None = None
    several: tuple[Inner, ...] = ()
    named: dict[str, Inner] = {}


PLACES = [
    ("part", lambda inner: {"part": inner}),
    ("absent", lambda inner: {"absent": inner}),
    ("several[0]", lambda inner: {"several": [inner]}),
    ("named[...]", lambda inner: {"named": {"left": inner}}),
]


def refusal(plain: object) -> msgspec.ValidationError:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(plain, Outer, strict=False)
    return caught.value


@pytest.mark.parametrize(("place", "put"), PLACES)
@pytest.mark.parametrize(
    ("inner", "word", "allowed"),
    [
        ({"size": 2}, "known are", ("colour", "kind", "size_m")),
        ({"kind": "prioritized"}, "choose from", ("uniform", "prioritised")),
        ({"colour": "rod"}, "choose from", ("red", "green")),
    ],
)
def test_choices_are_those_of_the_place_that_was_wrong(place, put, inner, word, allowed):
    error = refusal(put(inner))
    assert choices(error, Outer) == allowed
    said = explain(error, Outer)
    assert f"at `{place}" in said
    assert f"; {word} {', '.join(allowed)}. Did you mean" in said
    assert said.endswith("?")


def test_a_key_that_is_missing_is_told_with_the_others_and_no_guess():
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({}, Needy)
    assert explain(caught.value, Needy) == "Object missing required field `url`; known are url, urn."


def test_what_cannot_be_listed_is_a_plain_sentence():
    error = refusal({"part": {"size_m": "long"}})
    assert choices(error, Outer) == ()
    assert explain(error, Outer) == "Expected `float`, got `str` at `part.size_m`."


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        ({"part": {"size_m": "long"}}, "'long'"),
        ({"several": [{"size_m": "wide"}]}, "'wide'"),
        ({"several": {"size_m": 3}}, ""),
    ],
)
def test_a_value_of_the_wrong_type_is_told(plain, value):
    said = explain(refusal(plain), Outer, plain)
    assert f"`{value and ' '}{value} at `" in said


def test_a_key_at_the_top_is_refused_with_those_of_the_top():
    said = explain(refusal({"prt": {}}), Outer)
    assert said == (
        "Object contains unknown field `prt`; known are absent, named, part, several. Did you mean 'part'?"
    )


PLAIN = st.recursive(
    st.none() | st.text("ab", max_size=3) | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=3),
)


@given(PLAIN)
def test_a_number_that_is_not_finite_is_found_wherever_it_is(plain):
    text = repr(plain).replace("'", "")
    assert bool(not_finite(plain, "x")) == bool(re.search(r"\b(nan|inf)\b", text)), text


@pytest.mark.parametrize(
    ("plain", "where"),
    [
        ({"gripper": {"scale": float("nan")}}, "gripper.scale"),
        ({"dh": [[0.0, 1], [2.0, float("-inf")]]}, "dh[1][1]"),
        ({"name": "nan", "n": 3}, ""),
    ],
)
def test_the_place_of_a_number_that_is_not_finite_is_told(plain, where):
    assert not_finite(plain) == where


def test_a_number_in_a_file_that_is_none_is_refused_by_its_key(tmp_path):
    path = tmp_path / "outer.yaml"
    path.write_text("part: {size_m: .nan}")
    with pytest.raises(InputError, match=rf"^{path} is not a thing: part\.size_m must be a finite number\.$"):
        read_file(Outer, path, "thing")
    path.write_text("part: {size_m: 0.5}")
    assert read_file(Outer, path, "thing").part.size_m == 0.5
