"""The trace store of the embedded lab: Zipkin and OTLP in, Jaeger's query API out, SQLite between.

A program of its own (`python -m meshlib.lab.tracestore`); the kubelet runs it for Jaeger's images.

Reading order: `model` (one span), `zipkin` and `otlp` (the wire → spans), `tagsets` (tags that spans share),
`store` (SQLite), `query` (what a search asks), `search` (which spans), `jaeger` and `v3` (spans → answers),
`app` (HTTP), `__main__` (the process).
"""
