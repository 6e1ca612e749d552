"""What `validation.istio.io` checks in Istio's objects, a module a family of kinds; `istio_rules` is the
way in.

The rules and their texts are those of istiod (pkg/config/validation), read from its sources.
"""
