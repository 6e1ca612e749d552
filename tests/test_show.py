"""What a notebook shows is escaped, accessible and free of secrets."""

import pandas as pd

from meshlib import show


def test_tables_are_escaped_and_have_scopes() -> None:
    shown = show.table(pd.DataFrame({"Name": ["<b>"]}), caption="Pods")
    markup = shown._repr_html_()
    assert "&lt;b&gt;" in markup
    assert '<th scope="col" style="text-align: left">Name</th>' in markup
    assert '<caption style="text-align: left">Pods</caption>' in markup
    assert "<b>" in repr(shown)


def test_a_text_of_two_lines_is_two_lines_and_a_quoted_break_stays_quoted() -> None:
    frame = pd.DataFrame({"Warnings": ["one <\ntwo", None], "Body": [r"'ok\n'", "ok\n"]})
    frame["Flags"] = pd.Categorical(["UF", "a\nb"])
    markup = show.table(frame)._repr_html_()
    assert "one &lt;<br>two" in markup
    assert r"'ok\n'" in markup
    assert ">ok</td>" in markup
    assert "a<br>b" in markup


def test_numbers_stand_on_the_right_and_rows_have_headers() -> None:
    frame = pd.DataFrame({"Way": ["a"], "Failed": [0], "Good": [True]}, index=["first"])
    markup = show.table(frame, "gateway-overhead", index=True)._repr_html_()
    assert '<th scope="col" style="text-align: right">Failed</th>' in markup
    assert '<th scope="row" style="text-align: left">first</th>' in markup
    assert '<td style="text-align: right">0</td>' in markup
    assert '<td style="text-align: left">True</td>' in markup
    assert ">Gateway overhead</caption>" in markup


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
    assert shown._repr_html_().count("<caption ") == 2


def test_a_column_of_one_category_is_shown() -> None:
    shown = show.table(pd.DataFrame({"kind": pd.Categorical(["client", "client"]), "ms": [1.0, 2.0]}))
    assert shown._repr_html_().count("client") == 2


def test_a_manifest_reads_as_people_write_it() -> None:
    shared = {"app": "shop"}
    obj = {"kind": "ConfigMap", "data": {"greeting": "Welcome\nto the shop\n"}, "a": shared, "b": shared}
    text = repr(show.manifest(obj))
    assert "  greeting: |\n    Welcome\n    to the shop\n" in text
    assert "&" not in text
    assert "*" not in text


def test_an_empty_table_says_so() -> None:
    empty = show.table(show.frame([], "Finding", "Fix"), "findings")
    assert ">Findings: none</caption>" in empty._repr_html_()


def test_only_a_long_word_may_be_broken() -> None:
    words = {"Value": ["AB:" * 31 + "AB"], "Verdict": ["pass"], "Prose": ["many short words " * 9]}
    markup = show.table(pd.DataFrame(words))._repr_html_()
    assert markup.count("overflow-wrap: anywhere") == 1
    assert 'overflow-wrap: anywhere; min-width: 12em">AB:<wbr>AB' in markup
