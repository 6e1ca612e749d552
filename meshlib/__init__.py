"""meshlib: an Istio ingress lab and a runbook, on a cluster of its own or on a real one."""

__version__ = "0.1.0"
