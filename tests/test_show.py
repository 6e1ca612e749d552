"""What a notebook shows is escaped, accessible and free of secrets."""

import pandas as pd

from meshlib import show


def test_tables_are_escaped_and_have_scopes() -> None:
    shown = show.table(pd.DataFrame({"Name": ["<b>"]}), caption="Pods")
    markup = shown._repr_html_()
    assert "&lt;b&gt;" in markup
    assert '<th scope="col">Name</th>' in markup
    assert "<caption>Pods</caption>" in markup
    assert "<b>" in repr(shown)


def test_secrets_are_masked() -> None:
    secret = {"kind": "Secret", "data": {"tls.key": "c2VjcmV0"}}
    text = repr(show.manifest(secret))
    assert "tls.key: (not shown)" in text
    assert "c2VjcmV0" not in text


def test_diff_marks_both_sides() -> None:
    shown = show.diff("a: 1\nb: 2", "a: 1\nb: 3")
    assert "-b: 2" in repr(shown)
    assert "<ins" in shown._repr_html_()
    assert repr(show.diff("a", "a")) == "no difference"


def test_side_by_side_titles_each_table() -> None:
    shown = show.side_by_side(
        {"pods": pd.DataFrame({"Name": ["a"]}), "services": pd.DataFrame({"Name": ["b"]})}
    )
    assert shown._repr_html_().count("<caption>") == 2
