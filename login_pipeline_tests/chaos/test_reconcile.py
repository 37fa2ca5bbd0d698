"""The account of the chaos tests says what is wrong."""

import pytest

from login_pipeline_tests.chaos.messages import Draft
from login_pipeline_tests.chaos.reconcile import Account, account

TWIN = Draft("", "ben", valid=True)
SENT = {"1": Draft("", "ann", valid=True), "2": TWIN, "3": TWIN, "4": Draft("", "cy", valid=False)}
ROWS, LETTERS = {"ann": 1, "ben": 2}, {"4": 1}


def figures(account: Account) -> dict[str, int]:
    return {name: value for name, value in vars(account).items() if name != "examples" and value}


@pytest.mark.parametrize(
    ("rows", "letters", "waiting", "different"),
    [
        (ROWS, LETTERS, set(), {}),
        (ROWS, LETTERS, {"1"}, {}),
        ({"ben": 2}, LETTERS, {"1"}, {"loaded": 2, "waiting": 1}),
        (ROWS, {}, {"4"}, {"quarantined": 0, "waiting": 1}),
        (ROWS, {"4": 3}, set(), {"copies": 2}),
        ({"ben": 2}, LETTERS, set(), {"loaded": 2, "lost": 1}),
        ({"ann": 1, "ben": 1}, LETTERS, set(), {"loaded": 2, "lost": 1}),
        (ROWS, {}, set(), {"quarantined": 0, "lost": 1}),
        ({"ann": 2, "ben": 2}, LETTERS, set(), {"loaded": 4, "twice": 1}),
        ({"ann": 1, "ben": 3}, LETTERS, set(), {"loaded": 4, "twice": 1}),
        (ROWS, {"1": 1, "4": 1}, set(), {"quarantined": 2, "twice": 1, "wrong": 1}),
        ({"ben": 2}, {"1": 1, "4": 1}, set(), {"loaded": 2, "quarantined": 2, "wrong": 1}),
        ({**ROWS, "cy": 1}, {}, set(), {"loaded": 4, "quarantined": 0, "wrong": 1}),
        ({**ROWS, "nobody": 1}, {"4": 1, "5": 1}, set(), {"wrong": 2}),
    ],
)
def test_every_message_is_counted_where_it_is(
    rows: dict[str, int], letters: dict[str, int], waiting: set[str], different: dict[str, int]
) -> None:
    counted = account(SENT, rows=rows, letters=letters, on_queue=waiting)
    expected = {"sent": 4, "loaded": 3, "quarantined": 1, **different}
    assert figures(counted) == {name: value for name, value in expected.items() if value}
    assert counted.balanced == (not {"lost", "twice", "wrong"} & different.keys())
    assert counted.sent == counted.loaded + counted.quarantined + counted.waiting + counted.lost - counted.twice


def test_example_names_the_message() -> None:
    assert account(SENT, rows={"ben": 2}, letters=LETTERS, on_queue=set()).examples == {"lost": ["1"]}
