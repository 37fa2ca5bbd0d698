"""COPY's text says what the rows say, with any characters in them."""

from hypothesis import example, given
from hypothesis import strategies as st

from login_pipeline.postgres.copy import copy_lines

ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
texts = st.text(st.sampled_from("aü\\N\t\n\r\v\f\x85") | st.characters(exclude_categories=["Cs"]), max_size=6)
values = st.none() | texts | st.integers() | st.dates() | st.booleans() | st.floats()


@given(st.integers(1, 4).flatmap(lambda columns: st.lists(st.tuples(*[values] * columns), max_size=6)))
@example([])
@example([(1, True), (True, 1)])
@example([("a", 0.0), ("b", -0.0)])
def test_each_value_is_in_its_place(rows: list[tuple[object, ...]]) -> None:
    written = ["\t".join(_written(value) for value in row) + "\n" for row in rows]
    assert copy_lines(rows).getvalue().decode() == "".join(written)


def _written(value: object) -> str:
    return "\\N" if value is None else "".join(ESCAPES.get(character, character) for character in str(value))
