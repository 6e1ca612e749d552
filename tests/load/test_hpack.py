"""Fields without tables, held to an implementation of others."""

from __future__ import annotations

import hpack as others
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.load import hpack

NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=300)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20_000)


@given(fields=st.lists(st.tuples(NAMES, VALUES), max_size=3))
def test_others_read_what_is_written(fields: list[tuple[str, str]]) -> None:
    decoder = others.Decoder(max_header_list_size=10**6)
    block = b"".join(hpack.field(name, value) for name, value in fields)
    assert list(decoder.decode(block)) == fields
    assert len(decoder.header_table.dynamic_entries) == 0


@pytest.mark.parametrize("huffman", [False, True])
@pytest.mark.parametrize("sensitive", [False, True])
def test_every_status_that_others_write(huffman: bool, sensitive: bool) -> None:
    for status in range(100, 1000):
        encoder = others.Encoder()
        encoder.header_table_size = 0
        field = (others.NeverIndexedHeaderTuple if sensitive else others.HeaderTuple)(":status", str(status))
        block = encoder.encode([field, ("server", "x")], huffman=huffman)
        assert hpack.status(block) == status
        assert (
            hpack.status(b"\x3f\xe1\x1f" + block.lstrip(b"\x20")) == status
        )  # the table's size as three bytes


@pytest.mark.parametrize(
    "block",
    [b"", b"\x20", b"\x3f\xff", b"\x82", b"\x40\x01a\x01b", b"\x08", b"\x08\x03", b"\x08\x03ABC", b"\xbe"],
)
def test_what_is_no_status(block: bytes) -> None:
    assert hpack.status(block) == 0


@given(st.binary(max_size=40))
def test_any_bytes_have_a_status_or_none(block: bytes) -> None:
    assert 0 <= hpack.status(block) < 1000
