"""Idempotency keys: what is one, in plain and in quoted form, and what makes two requests the same."""

import itertools
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.app.domain.idempotency import IdempotencyKeyRequired, parse_key, request_hash
from backend.app.domain.money import Money
from backend.tests.factories import Player, deposit_command, withdrawal

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("abc", "abc"),
        ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ('"abc"', "abc"),
        ("  abc\t", "abc"),
        (' "abc" ', "abc"),
        ('"a\\"b"', 'a"b'),
        ('"a\\\\b"', "a\\b"),
        ('a"b', 'a"b'),
        ('abc"', 'abc"'),
        ("a,b", "a,b"),
        ("x" * 255, "x" * 255),
        (f'"{"x" * 255}"', "x" * 255),
        ("!", "!"),
        ("~", "~"),
    ],
)
def test_key_is_taken_from_the_header(header: str, key: str) -> None:
    assert parse_key(header) == key


@pytest.mark.parametrize(
    "header",
    [
        None, "", " ", '""', '"', '"abc', '"a"b"', '"a b"', "a b", "a\tb", "a\nb", "a\0b", "\x7f", "ü", "ключ", "🔑",
        "x" * 256, f'"{"x" * 256}"', '"a\\b"', '"a\\"', "a\r\nX-Injected: 1", "\u00a0abc", "abc\u200b",
    ],
    ids=ascii,
)  # fmt: skip
def test_header_without_a_usable_key_is_refused(header: str | None) -> None:
    with pytest.raises(IdempotencyKeyRequired) as caught:
        parse_key(header)
    assert (caught.value.status, caught.value.error_code) == (400, "IDEMPOTENCY_KEY_REQUIRED")


@given(key=st.text(VISIBLE, min_size=1, max_size=255))
def test_quoted_and_plain_form_are_the_same_key(key: str) -> None:
    quoted = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert parse_key(quoted) == key
    if not key.startswith('"'):
        assert parse_key(key) == key


@given(header=st.text(max_size=60))
def test_no_header_breaks_the_parser(header: str) -> None:
    try:
        key = parse_key(header)
    except IdempotencyKeyRequired:
        return
    assert 1 <= len(key) <= 255
    assert set(key) <= set(VISIBLE)


@given(left=st.lists(st.text(max_size=6), max_size=4), right=st.lists(st.text(max_size=6), max_size=4))
def test_only_equal_parts_have_equal_hashes(left: list[str], right: list[str]) -> None:
    assert (request_hash(*left) == request_hash(*right)) == (left == right)


def test_parts_cannot_be_shifted_into_one_another() -> None:
    requests = [("ab", "c"), ("a", "bc"), ("abc",), ("1:a",), ("a", ""), ("", "a"), ("a",)]
    for left, right in itertools.combinations(requests, 2):
        assert request_hash(*left) != request_hash(*right)


def test_request_is_told_apart_by_its_money_and_where_it_goes_not_by_its_own_id() -> None:
    player = Player(tenant_id=UUID(int=1), id=UUID(int=2))
    for command in (withdrawal(player, 100), deposit_command(player, 100)):
        same = replace(command, idempotency_key="other")
        assert same.request_hash == command.request_hash
        for money in (Money(amount_minor=101, currency="USD"), Money(amount_minor=100, currency="EUR")):
            assert replace(command, money=money).request_hash != command.request_hash
        assert replace(command, method="other").request_hash != command.request_hash
    assert replace(withdrawal(player, 1), address="x").request_hash != withdrawal(player, 1).request_hash
    assert withdrawal(player, 1).request_hash == withdrawal(player, 1).request_hash
    assert withdrawal(player, 1).request_hash != deposit_command(player, 1).request_hash
