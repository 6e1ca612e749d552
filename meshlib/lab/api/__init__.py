"""The API server of the embedded lab: Kubernetes' REST interface on one table of kinds and one file."""
