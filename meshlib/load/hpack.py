"""Header fields without tables (RFC 7541; pure): literals to write, and the status to read.

A client that allows its server a table of size 0 is sent every field in full. So the status of an answer,
which comes first in its block, can be read without the fields and the blocks that came before.
"""

from __future__ import annotations

# Fields 8 to 14 of the static table, as a reference to them begins (appendix A)
INDEXED = {0x80 | 8 + place: status for place, status in enumerate((200, 204, 206, 304, 400, 404, 500))}
# How a literal with the name of one of them begins: to be indexed, not to be, never to be
_NAMED = frozenset(how | place for how in (0x40, 0x00, 0x10) for place in range(8, 15))


def field(name: str, value: str) -> bytes:
    """A literal that no table takes up, without Huffman's code."""
    return b"\0" + _integer(len(name)) + name.encode("ascii") + _integer(len(value)) + value.encode("ascii")


def _integer(value: int) -> bytes:
    """The length of a string, in a prefix of seven bits (5.1)."""
    if value < 127:
        return bytes((value,))
    value -= 127
    found = bytearray((127,))
    while value >= 128:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def _huffman(digits: str) -> bytes:
    """Digits in the code of appendix B: five bits for 0, 1 and 2, six for the others; padded with ones."""
    bits = "".join(f"{int(each):05b}" if each < "3" else f"{int(each) + 22:06b}" for each in digits)
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _ways(status: int) -> tuple[bytes, bytes]:
    """Both ways to write a status as a string: as it is, and in Huffman's code."""
    short = _huffman(str(status))
    return b"\3%d" % status, bytes((0x80 | len(short),)) + short


_STATUSES = {written: status for status in range(100, 1000) for written in _ways(status)}


def status(block: bytes) -> int:
    """The status that begins an answer's header block; 0 where none does."""
    at = 0
    while at < len(block) and block[at] & 0xE0 == 0x20:  # the table's new size, an integer
        more = block[at] & 0x1F == 0x1F
        at += 1
        while more and at < len(block):
            more = block[at] > 0x7F
            at += 1
    if at >= len(block):
        return 0
    if block[at] in _NAMED and at + 1 < len(block):
        return _STATUSES.get(block[at + 1 : at + 2 + (block[at + 1] & 0x7F)], 0)
    return INDEXED.get(block[at], 0)
