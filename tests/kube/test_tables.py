"""A server's Table becomes the DataFrame that `kubectl get` prints."""

from meshlib.kube import tables

TABLE = {
    "columnDefinitions": [
        {"name": "Name", "priority": 0},
        {"name": "Ready", "priority": 0},
        {"name": "IP", "priority": 1},
    ],
    "rows": [
        {
            "cells": ["gohttpserver-1", "2/2", "127.3.1.4"],
            "object": {"metadata": {"namespace": "httpserver-istio"}},
        }
    ],
}


def test_wide_columns_only_when_asked() -> None:
    assert list(tables.frame(TABLE).columns) == ["Name", "Ready"]
    assert tables.frame(TABLE, wide=True).iloc[0].tolist() == ["gohttpserver-1", "2/2", "127.3.1.4"]


def test_all_namespaces_come_first() -> None:
    assert tables.frame(TABLE, with_namespace=True).iloc[0].tolist() == [
        "httpserver-istio",
        "gohttpserver-1",
        "2/2",
    ]


def test_no_rows() -> None:
    assert tables.frame({**TABLE, "rows": None}).empty
