"""The kubelet: pods as supervised processes of this machine."""
