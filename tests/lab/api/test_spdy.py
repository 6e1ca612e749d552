"""SPDY/3.1 frames, without any connection."""

from __future__ import annotations

import zlib

import pytest

from meshlib.lab.api import spdy


def test_frames_are_read_however_they_are_cut() -> None:
    sender, receiver = spdy.Session(), spdy.Session()
    headers = {"streamtype": "data", "port": "80", "requestid": "0"}
    sent = (
        sender.open(1, headers)
        + sender.open(3, {"streamtype": "error"})
        + spdy.data(1, b"abc")
        + spdy.data(1, b"", end=True)
        + spdy.reset(3)
        + spdy.ping(9)
    )
    seen = [frame for at in range(len(sent)) for frame in receiver.receive(sent[at : at + 1])]
    assert seen == [
        spdy.Opened(1, headers),
        spdy.Opened(3, {"streamtype": "error"}),
        spdy.Data(1, b"abc", end=False),
        spdy.Data(1, b"", end=True),
        spdy.Reset(3),
        spdy.Ping(9),
    ]


def test_the_dictionary_is_the_drafts() -> None:
    assert len(spdy.DICTIONARY) == 1423
    assert zlib.adler32(spdy.DICTIONARY) == 0xE3C6A7C2


@pytest.mark.parametrize(
    "sent",
    [b"\x80\x02\0\x01\0\0\0\0", b"\x80\x03\0\x06\0\0\0\x01x", b"\x80\x03\0\x01\0\0\0\x0c" + b"\xff" * 12],
)
def test_what_is_no_spdy_is_refused(sent: bytes) -> None:
    with pytest.raises(spdy.ProtocolError):
        list(spdy.Session().receive(sent))
