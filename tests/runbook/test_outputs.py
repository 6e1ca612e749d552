"""What is kept of a cell's outputs."""

import time

from nbformat import v4

from meshlib.runbook.masking import MASK, Masker
from meshlib.runbook.outputs import KEEP, tidy


def stream(text: str, name: str = "stdout") -> object:
    return v4.new_output("stream", name=name, text=text)


def test_streams_are_joined_and_only_the_last_write_of_a_line_stays() -> None:
    (out, err) = tidy([stream("10%\r50%"), stream("\r100%\nnext\r\n"), stream("x", "stderr")], Masker())
    assert (out["text"], err["text"]) == ("100%\nnext\n", "x")


def test_a_secret_in_two_pieces_is_masked() -> None:
    (out,) = tidy([stream("pass s3cr"), stream("3t-value\n")], Masker(["s3cr3t-value"]))
    assert out["text"] == f"pass {MASK}\n"


def test_megabytes_on_one_line_cost_no_minutes_and_little_room() -> None:
    start = time.process_time()
    (out,) = tidy([stream("x" * 5_000_000)], Masker(["s3cr3t-value"]))
    assert time.process_time() - start < 5
    assert len(out["text"]) < 2 * KEEP + 100
    assert "4800000 characters left out" in out["text"]
