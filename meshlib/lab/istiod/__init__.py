"""What istiod does in the lab: watch the API, translate for each proxy, sign, inject, validate, report."""
