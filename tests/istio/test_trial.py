"""A trial's label, and the watcher that has nothing to do when the notebook tidied up itself."""

from meshlib.istio import afterwards, objects, trial


def test_labelled_leaves_the_original_alone() -> None:
    given = objects.service("till", "shop", port=80)
    marked = trial.labelled(given, "edge-security")
    assert marked["metadata"]["labels"] == {"app": "till", trial.LABEL: "edge-security"}
    assert given["metadata"]["labels"] == {"app": "till"}


def test_a_watcher_that_is_told_so_ends_without_touching_a_cluster() -> None:
    watcher = afterwards.start("edge-security", {"kubeconfig": "/nowhere"})
    assert watcher.poll() is None
    afterwards.stop(watcher)
    assert watcher.returncode == 0


def test_a_watcher_whose_notebook_is_gone_goes_to_the_cluster() -> None:
    watcher = afterwards.start("edge-security", {"kubeconfig": "/nowhere"})
    assert watcher.stdin is not None
    watcher.stdin.close()
    assert watcher.wait(30) == 1  # it got as far as the parameters, which name no cluster
