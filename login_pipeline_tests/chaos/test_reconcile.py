"""The account of the chaos tests says what is wrong."""

import pytest

from login_pipeline_tests.chaos.reconcile import Account, Found, Sent, account

VALID, TWIN, MALFORMED = Sent("ann", valid=True), Sent("ben", valid=True), Sent("cy", valid=False)
SENT = {"1": VALID, "2": TWIN, "3": TWIN, "4": MALFORMED}
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
    counted = account(SENT, Found(rows, letters, waiting))
    expected = {"sent": 4, "loaded": 3, "quarantined": 1, **different}
    assert figures(counted) == {name: value for name, value in expected.items() if value}
    assert counted.balanced == (not {"lost", "twice", "wrong"} & different.keys())
    assert counted.sent == counted.loaded + counted.quarantined + counted.waiting + counted.lost - counted.twice


def test_example_names_the_message() -> None:
    assert account(SENT, Found({"ben": 2}, LETTERS, set())).examples == {"lost": ["1"]}
